"""The network's answers do not depend on neighbours in a batch, on batch sizes, or on what was computed before."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anymal_eval.anymal.config import MEDIA
from anymal_eval.anymal.conversation import Prompt, Slot, Turn
from anymal_eval.anymal.encoders import Medium
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.anymal.splice import Batch
from anymal_eval.errors import BadData, BadLogits, ContextTooLong, MediaError, OutOfMemory
from anymal_eval.generation import BatchedPrefix, Completion, PrefixKV, concatenated, memory_guard, padded_embeddings
from anymal_eval.records import Decoding

WORDS = ["what", "is", "the", "color", "of", "a", "dog", "man", "riding", "wave", "video", "sound"]
Item = tuple[Prompt, list[torch.Tensor]]
Draw = Callable[..., NDArray[Any]]


def tokens_of(network: AnyMAL, medium: Medium, array: NDArray[Any]) -> torch.Tensor:
    rate = 48_000 if medium == "audio" else None
    features = network.encode(medium, [network.preprocess(medium, array, rate)])
    return network.project(medium, features)[0].detach()


@pytest.fixture
def items(network: AnyMAL, rng: np.random.Generator, draw: Draw) -> list[Item]:
    """Sixteen prompts of many lengths and of several media, interleaved."""
    made: list[Item] = []
    tokens = {medium: tokens_of(network, medium, draw(medium)) for medium in MEDIA}
    kinds: list[list[Medium]] = [["image"], ["image", "imu"], [], ["audio"], ["video", "image", "video"]]
    for index in range(16):
        own = kinds[index % len(kinds)]
        words = " ".join(rng.choice(WORDS, int(rng.integers(1, 14))))
        parts: list[str | Slot] = ["Here: "]
        for medium in own:
            parts += [Slot(medium=medium), f" {rng.choice(WORDS)} "]
        turns = [Turn(role="system", parts=tuple(parts)), Turn(role="user", parts=(words,))]
        made.append((network.chat.prompt(turns), [tokens[medium] for medium in own]))
    return made


def rows(network: AnyMAL, chosen: Sequence[Item]) -> Batch:
    return network.rows([prompt for prompt, _ in chosen], [media for _, media in chosen])


@pytest.mark.parametrize("how", [Decoding(max_new_tokens=6), Decoding(max_new_tokens=4, beams=2, length_penalty=-1.0)])
def test_answers_do_not_depend_on_batch_order_or_neighbours(
    network: AnyMAL, rng: np.random.Generator, items: list[Item], how: Decoding
) -> None:
    made = items
    alone = [network.generate(rows(network, [item]), how)[0] for item in made]
    assert len({one.ids for one in alone}) > 8, "the prompts must matter for this test to mean something"
    for size in (4, 16):
        batched: list[Completion] = []
        for start in range(0, 16, size):
            batched += network.generate(rows(network, made[start : start + size]), how)
        assert batched == alone
    order = rng.permutation(16)
    shuffled = network.generate(rows(network, [made[i] for i in order]), how)
    assert [shuffled[list(order).index(i)] for i in range(16)] == alone
    again = network.generate(rows(network, made[:4]), how)
    assert again == network.generate(rows(network, made[:4]), how)


def test_logits_of_a_row_do_not_depend_on_its_neighbours(network: AnyMAL, items: list[Item]) -> None:
    made = items
    with torch.no_grad():
        together = network(rows(network, made))
        worst = 0.0
        for index, item in enumerate(made):
            alone = network(rows(network, [item]))[0]
            worst = max(worst, float((together[index, -len(alone) :] - alone).abs().max()))
    print(f"largest difference {worst:.1e}")
    assert worst < 1e-4


@pytest.mark.parametrize("penalty", [1.0, -1.0, 0.0])
def test_beam_search_is_transformers_own(network: AnyMAL, penalty: float) -> None:
    texts = ["what is the color", "a man riding a wave on top of a surfboard in the video", "yes", "the sound of"]
    tokenizer = network.chat.tokenizer
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    theirs = network.llm.model.generate(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], num_beams=4, do_sample=False,
        length_penalty=penalty, max_new_tokens=12, pad_token_id=0, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    prompts = [Prompt(pieces=(tuple(tokenizer(text)["input_ids"]),)) for text in texts]
    how = Decoding(max_new_tokens=12, beams=4, length_penalty=penalty)
    ours = network.generate(network.rows(prompts, [[]] * 4), how)
    for row, mine in zip(theirs[:, inputs["input_ids"].shape[1] :].tolist(), ours, strict=True):
        ended = row.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in row else len(row)
        assert list(mine.ids) == row[:ended]


def alone_score(network: AnyMAL, prompt: Prompt, media: list[torch.Tensor], option: tuple[int, ...]) -> float:
    """One option, its whole sequence in one forward, nothing shared."""
    whole = Prompt(pieces=(*prompt.pieces[:-1], prompt.pieces[-1] + option), media=prompt.media)
    with torch.no_grad():
        scores = network(network.rows([whole], [media]))[0].log_softmax(dim=-1)
    return sum(float(scores[-len(option) - 1 + i, token]) for i, token in enumerate(option))


def test_option_scores_equal_each_option_alone(network: AnyMAL, items: list[Item]) -> None:
    turns = [Turn(role="system", parts=("Here: ", Slot(medium="image"))), Turn(role="user", parts=("what is it?",))]
    texts = ["yes", "no", "a cat riding a wave", "the dog", "walking", "A"]
    _, media = items[0]
    prompt, options = network.chat.options(turns, texts)
    assert {len(option) for option in options} >= {1, 2, 5}
    other = items[1]
    batch = rows(network, [other, (prompt, media), other])
    scores = network.rank(batch, [[(7,), (8, 9)], options, []])
    assert [len(row) for row in scores] == [2, 6, 0]
    expected = [alone_score(network, prompt, media, option) for option in options]
    worst = np.abs(np.array(scores[1]) - expected).max()
    print(f"largest difference {worst:.1e}")
    assert worst < 1e-4
    assert network.rank(batch, [[(7,), (8, 9)], options, []]) == scores


def test_an_option_is_tokenised_as_in_the_template(network: AnyMAL) -> None:
    turns = [Turn(role="user", parts=("q",))]
    prompt, options = network.chat.options(turns, ["yes", "no way"])
    for option, text in zip(options, ["yes", "no way"], strict=True):
        whole = network.chat.tokenizer(f"<s><|user|> q\n<|answer|> {text}", add_special_tokens=False)["input_ids"]
        assert list(prompt.pieces[0] + option) == whole
    with pytest.raises(BadData, match="is empty"):
        network.chat.options(turns, ["yes", ""])


def test_an_answer_prefix_is_the_start_of_the_answer(network: AnyMAL) -> None:
    turns = [Turn(role="user", parts=("q",))]
    prompt = network.chat.prompt(turns, "the answer is")
    assert network.llm.generator.text(prompt.pieces[0]).endswith("<|answer|> the answer is")
    prefix, options = network.chat.options(turns, ["a", "b"], "the answer is")
    assert prefix == prompt
    assert [network.llm.generator.text(option) for option in options] == [" a", " b"]


def snapshot(prefix: PrefixKV) -> list[torch.Tensor]:
    return [part.clone() for layer in prefix.cache.layers for part in (layer.keys, layer.values)]


@pytest.mark.parametrize("beams", [1, 3])
def test_shared_prefix_gives_the_same_and_is_never_changed(network: AnyMAL, items: list[Item], beams: int) -> None:
    made = items[:2]
    heads = [(prompt.split()[0], media) for prompt, media in made]
    starts = rows(network, heads)
    shared = network.prefill(starts)
    before = snapshot(shared)
    how = Decoding(max_new_tokens=8, beams=beams)
    which = [0, 1, 0, 0, 1]
    questions = [network.chat.prompt([Turn(role="user", parts=(text,))]) for text in WORDS[:5]]
    questions[2] = Prompt(pieces=(questions[2].pieces[0] * 3,))
    for _ in range(2):
        suffixes = padded_embeddings([network.llm.embed(question.pieces[0]) for question in questions])
        joined = concatenated({name: part[which] for name, part in starts.inputs.items()}, suffixes)
        whole = Batch(embeds=joined["inputs_embeds"], mask=joined["attention_mask"])
        prefix = BatchedPrefix(prefixes=(shared,), rows=tuple(which))
        got = network.generate(whole, how, prefix)
        plain = [
            (Prompt(pieces=(*heads[row][0].pieces[:-1], question.pieces[0]), media=heads[row][0].media), heads[row][1])
            for row, question in zip(which, questions, strict=True)
        ]
        assert got == network.generate(rows(network, plain), how)
        options = [[(9,), (10, 11, 12)]] * 5
        ranked = network.rank(whole, options, prefix)
        np.testing.assert_allclose(ranked, network.rank(rows(network, plain), options), atol=1e-4)
        for old, new in zip(before, snapshot(shared), strict=True):
            assert torch.equal(old, new)


def test_interleaved_image_and_motion_each_in_its_place(network: AnyMAL, draw: Draw) -> None:
    parts = ("See ", Slot(medium="image"), " then feel ", Slot(medium="imu"), " now.")
    prompt = network.chat.prompt([Turn(role="user", parts=parts)])
    assert prompt.media == ("image", "imu")
    assert [network.llm.generator.text(piece).strip() for piece in prompt.pieces] == [
        "<|user|> See",
        "then feel",
        "now.\n<|answer|>",
    ]
    image = torch.full((8, 64), 2.0)
    imu = torch.full((5, 64), 3.0)
    row = network.rows([prompt], [[image, imu]]).embeds[0]
    first = len(prompt.pieces[0])
    assert torch.equal(row[first : first + 8], image)
    second = first + 8 + len(prompt.pieces[1])
    assert torch.equal(row[second : second + 5], imu)
    assert len(row) == prompt.text_tokens + 13
    real = [tokens_of(network, medium, draw(medium)) for medium in prompt.media]
    assert network.generate(network.rows([prompt], [real]), Decoding(max_new_tokens=4))[0].new_tokens > 0


def test_a_text_never_becomes_a_place(network: AnyMAL) -> None:
    prompt = network.chat.prompt([Turn(role="user", parts=("what does <img> or <image> mean?",))])
    assert prompt.media == ()
    marker = network.chat.prompt([Turn(role="user", parts=("<|anymal-image|>",))])
    assert marker.media == ()
    assert "<|anymal-image|>" in network.chat.tokenizer.decode(list(marker.pieces[0]))


def test_counts_of_places_are_checked(network: AnyMAL) -> None:
    prompt = network.chat.prompt([Turn(role="user", parts=(Slot(medium="image"), Slot(medium="imu")))])
    with pytest.raises(BadData, match=r"2 places for media \(image, imu\), 1 were given"):
        network.rows([prompt], [[torch.zeros(8, 64)]])
    with pytest.raises(BadData, match=r"image: expected tokens of shape \(k, 64\), got \(8, 63\)"):
        network.rows([prompt], [[torch.zeros(8, 63), torch.zeros(8, 64)]])


def test_a_prompt_longer_than_the_context_names_the_lengths(network: AnyMAL) -> None:
    long = Prompt(pieces=(tuple([5] * 1020),))
    short = Prompt(pieces=((5,),))
    batch = network.rows([short, long], [[], []])
    with pytest.raises(ContextTooLong, match=r"row 1: a prompt of 1020 tokens and 8 new ones make 1028, .* is 1024"):
        network.generate(batch, Decoding(max_new_tokens=8))
    with pytest.raises(ContextTooLong, match="1020"):
        network.rank(batch, [[(5,)], [(5,) * 9]])


@pytest.mark.parametrize("beams", [1, 3])
def test_nan_logits_are_an_error_and_name_the_row(network: AnyMAL, beams: int) -> None:
    prompt = Prompt(pieces=((5, 6),), media=())
    batch = network.rows([prompt, prompt, prompt], [[], [], []])
    batch.embeds[1] = float("nan")
    with pytest.raises(BadLogits, match=r"rows \[1\] of 3"):
        network.generate(batch, Decoding(max_new_tokens=4, beams=beams))
    with pytest.raises(BadLogits, match=r"rows \[1\] of 3"):
        network.rank(batch, [[(5,)]] * 3)


def test_a_medium_without_an_encoder(network: AnyMAL, draw: Draw) -> None:
    images = AnyMAL(network.config, network.llm, {"image": network.encoder("image")}, {})
    with pytest.raises(BadData, match="no encoder for audio; it takes image"):
        images.preprocess("audio", draw("audio"), 48_000)


def test_stop_strings_and_finish(network: AnyMAL, items: list[Item]) -> None:
    item = items[0]
    free = network.generate(rows(network, [item]), Decoding(max_new_tokens=10))[0]
    assert free.new_tokens <= 10
    stop = free.text[3]
    cut = network.generate(rows(network, [item]), Decoding(max_new_tokens=10, stop=(stop,)))[0]
    assert cut.text == free.text[: free.text.index(stop)]
    assert cut.finish == "stop"
    assert cut.new_tokens <= free.new_tokens


@pytest.mark.parametrize(
    ("medium", "array"),
    [
        ("image", np.zeros((4, 4), np.uint8)),
        ("image", np.zeros((4, 4, 3), np.float32)),
        ("audio", np.zeros((2, 100), np.float32)),
        ("audio", np.full(100, np.nan, np.float32)),
        ("imu", np.zeros((3, 100), np.float32)),
        ("video", np.zeros((0, 4, 4, 3), np.uint8)),
    ],
)
def test_arrays_of_another_form_are_refused(network: AnyMAL, medium: Medium, array: NDArray[Any]) -> None:
    with pytest.raises(MediaError, match=medium):
        network.preprocess(medium, array, 48_000)


def test_features_do_not_depend_on_neighbours(network: AnyMAL, draw: Draw) -> None:
    for medium in MEDIA:
        lengths = [1.0, 2.5, 1.0, 6.0] if medium in ("audio", "imu") else [1.0] * 4
        inputs = [network.preprocess(medium, draw(medium, seconds=seconds), 48_000) for seconds in lengths]
        together = network.project(medium, network.encode(medium, inputs))
        for windows, tokens in zip(inputs, together, strict=True):
            alone = network.project(medium, network.encode(medium, [windows]))[0]
            torch.testing.assert_close(tokens, alone, rtol=0, atol=1e-5)


def test_threads_prepare_what_one_thread_prepares(network: AnyMAL, draw: Draw) -> None:
    pictures = [draw("image") for _ in range(8)]
    texts = [" ".join(WORDS[: n % 12 + 1]) for n in range(64)]

    def prepare(index: int) -> tuple[Prompt, tuple[tuple[int, ...], ...], torch.Tensor]:
        turns = [Turn(role="user", parts=(Slot(medium="image"), texts[index]))]
        prompt, options = network.chat.options(turns, ["yes", "no way"])
        return prompt, options, network.preprocess("image", pictures[index % 8])

    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(prepare, range(64)))
    for index, (prompt, options, pixels) in enumerate(many):
        alone = prepare(index)
        assert (prompt, options) == alone[:2]
        assert torch.equal(pixels, alone[2])


def test_memory_that_runs_out_is_our_error() -> None:
    with pytest.raises(OutOfMemory, match="while doing it"), memory_guard("doing it"):
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="another"), memory_guard("doing it"):
        raise RuntimeError("another")
