"""Thinking before an answer: its tags, its own limit of tokens, and sampling that depends on no batch."""

from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LogitsProcessor

from anymal_eval.generation import Row, TextGenerator, left_padded
from anymal_eval.generation.sampling import SamplingProcessor
from anymal_eval.generation.thinking import FAMILIES, closed_by, opened_by, split, switch_of, thinks
from anymal_eval.records import Decoding
from tests.generation.conftest import llama

WORDS = ("<pad>", "<s>", "</s>", "◁think▷", "◁/think▷", "<think>", "</think>", "so", "hm", "a", "dog", ".", "cat")


@pytest.mark.parametrize("tags", FAMILIES, ids=lambda tags: tags.opening)
def test_every_family(tags: Any) -> None:
    thought = split(f"\n{tags.opening} It barks.\nIs it a dog? {tags.closing}\n\nYes, a dog.")
    assert thought is not None
    assert thought.answer == "Yes, a dog."
    assert "It barks.\nIs it a dog?" in thought.thinking
    without_opening = split(f"It barks. {tags.closing} dog")
    assert without_opening is not None
    assert (without_opening.thinking, without_opening.answer) == ("It barks.", "dog")
    unclosed = split(f"{tags.opening} It barks")
    assert unclosed is not None
    assert unclosed.answer is None
    assert opened_by(f"ASSISTANT: {tags.opening}\n") == tags.opening
    assert closed_by(f"ASSISTANT: {tags.opening}\n\n{tags.closing}\n\n")


@pytest.mark.parametrize(
    "text",
    ["a dog", "", "I think <b>it</b> is a dog", "[INST] think", "5 < 6", "a sign: <thinker>", "the ◁ sign", "think>"],
)
def test_no_thinking(text: str) -> None:
    assert split(text) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<THINK>x</Think>B", "B"),
        ("<think>x</think><answer>B</answer>", "B"),
        ("<think>x</think>\n<|begin_of_box|>B<|end_of_box|>", "B"),
        ("<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>B", "B"),
        ("<think></think>", ""),
    ],
)
def test_what_families_put_around_it(text: str, answer: str) -> None:
    thought = split(text)
    assert thought is not None
    assert thought.answer == answer


def test_templates() -> None:
    qwen = "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>{% endif %}"
    assert switch_of(qwen) == "enable_thinking"
    assert switch_of("You are thinking. {{ messages }}") == ""
    assert thinks(qwen, "ASSISTANT:")
    assert not thinks(qwen, "ASSISTANT:<think>\n\n</think>\n\n")
    assert not thinks("{{ messages }}", "ASSISTANT:")
    assert thinks("{{ messages }}", "ASSISTANT:<think>\n")


class Forced(LogitsProcessor):
    """Makes the model write a text of ours, so that what stops it is seen."""

    def __init__(self, rows: list[list[int]], start: int) -> None:
        self.rows, self.start, self.steps = rows, start, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.steps = step = input_ids.shape[1] - self.start
        forced = torch.full_like(scores, -1e4)
        for row, tokens in enumerate(self.rows):
            forced[row, tokens[step] if step < len(tokens) else 2] = 0.0
        return forced


def tokenizer() -> Any:
    plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, WORDS[0]))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks: dict[str, Any] = dict(zip(("pad_token", "bos_token", "eos_token"), WORDS, strict=False))
    library: Any = transformers
    return library.PreTrainedTokenizerFast(tokenizer_object=plain, extra_special_tokens=list(WORDS[3:5]), **marks)


def written(texts: list[str], decoding: Decoding, opened: str = "") -> tuple[list[Any], int]:
    """What comes of a model that writes these words, and how many steps it took."""
    model = llama()
    words = tokenizer()
    rows = [[WORDS.index(word) for word in text.split()] for text in texts]
    inputs = left_padded(
        [{"input_ids": torch.tensor([[1, 9]]), "attention_mask": torch.ones(1, 2).long()} for _ in rows], 0, model
    )
    forced = Forced(rows, 2)
    generate = model.generate

    def scripted(**given: Any) -> Any:
        given["logits_processor"].insert(1, forced)
        return generate(**given)

    model.generate = scripted
    with torch.no_grad():
        found = TextGenerator(model, words).generate(
            inputs, decoding, None, [Row(name=str(n), opened=opened) for n in range(len(rows))]
        )
    return found, forced.steps


THINKS = Decoding(max_new_tokens=2, thinking="on", thinking_tokens=6)


def test_the_limit_is_the_answers() -> None:
    texts = [
        "<think> so hm so </think> a dog . cat",  # thinking of three words, and an answer that is too long
        "a dog . cat so hm",  # no thinking
        "<think> so hm so hm so hm so hm so hm",  # thinking that does not end
        "<think> so </think> dog </s>",
    ]
    found, steps = written(texts, THINKS)
    assert [(each.text, each.finish, each.new_tokens) for each in found] == [
        ("<think> so hm so </think> a dog", "length", 7),
        ("a dog", "length", 2),
        ("<think> so hm so hm so hm so", "length", 8),
        ("<think> so </think> dog", "stop", 5),
    ]
    assert steps == 7  # the last of eight


def test_rows_stop_by_themselves() -> None:
    found, steps = written(["a dog . cat so hm so hm", "<think> so </think> a dog . cat so"], THINKS)
    assert [each.text for each in found] == ["a dog", "<think> so </think> a dog"]
    assert steps == 4  # five tokens: neither row used its budget


def test_a_stop_string_inside_of_thinking_stops_nothing() -> None:
    decoding = Decoding(max_new_tokens=4, stop=(".",), thinking="on", thinking_tokens=6)
    [one], _ = written(["<think> so . hm </think> a dog . cat"], decoding)
    assert (one.text, one.finish) == ("<think> so . hm </think> a dog ", "stop")


def test_a_prompt_that_opens_the_thinking() -> None:
    found, _ = written(["so hm </think> a dog cat", "so hm so hm so hm so hm so hm"], THINKS, opened="<think>")
    assert [split(each.text).answer for each in found] == ["a dog", None]  # type: ignore[union-attr]


def test_tags_that_are_special_tokens_stay() -> None:
    [one], _ = written(["◁think▷ so hm ◁/think▷ a dog </s>"], THINKS)
    thought = split(one.text)
    assert thought is not None
    assert (thought.thinking, thought.answer) == ("so hm", "a dog")


def test_samples_have_the_probabilities_of_the_model() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -3.0])
    decoding = Decoding(temperature=0.8, seed=7)
    names = [str(number) for number in range(20_000)]
    sampled = SamplingProcessor(decoding, names)(torch.zeros(0), logits.expand(len(names), -1)).argmax(dim=-1)
    share = torch.bincount(sampled, minlength=5) / len(names)
    expected = torch.softmax(logits / 0.8, dim=-1)
    spread = (expected * (1 - expected) / len(names)).sqrt()
    assert ((share - expected).abs() < 4 * spread).all()

    top = Decoding(temperature=0.8, top_p=0.9, seed=7)
    sampled = SamplingProcessor(top, names)(torch.zeros(0), logits.expand(len(names), -1)).argmax(dim=-1)
    kept = expected.cumsum(dim=0) - expected < 0.9
    share = torch.bincount(sampled, minlength=5) / len(names)
    assert kept.tolist() == [True, True, False, False, False]
    torch.testing.assert_close(share, expected * kept / (expected * kept).sum(), rtol=0, atol=0.02)


@torch.no_grad()
def test_a_sample_depends_on_its_seed_and_request_alone() -> None:
    model = llama()
    generator = TextGenerator(model, tokenizer())
    prompts = {"a": [5, 6, 7], "b": [9, 10], "c": [11]}

    def sampled(names: str, seed: int = 0) -> dict[str, tuple[int, ...]]:
        rows = [
            {"input_ids": torch.tensor([prompts[name]]), "attention_mask": torch.ones(1, len(prompts[name])).long()}
            for name in names
        ]
        decoding = Decoding(max_new_tokens=6, temperature=5.0, seed=seed)
        found = generator.generate(left_padded(rows, 0, model), decoding, None, [Row(name=name) for name in names])
        return {name: one.ids for name, one in zip(names, found, strict=True)}

    whole = sampled("abc")
    assert sampled("cab") == whole
    assert sampled("b")["b"] == whole["b"]
    assert sampled("abc", seed=1) != whole
    prompts["d"] = prompts["a"]
    assert sampled("ad")["d"] != whole["a"]
