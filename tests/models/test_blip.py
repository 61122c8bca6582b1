"""BLIP-2 and InstructBLIP answer as their transformers classes do when called by hand."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.models import choose_model
from anymal_eval.records import Decoding, Request
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import BEAMS, GREEDY, OPTIONS, answers, medium, ranked, request, requests, respond

BLIPS = [("blip2", "blip2-opt"), ("blip2", "blip2-t5"), ("instructblip", "instructblip-llama"),
         ("instructblip", "instructblip-t5")]  # fmt: skip
DECODERS = {"blip2-opt", "instructblip-llama"}


class Hand:
    """The classes, used as their documentation does."""

    def __init__(self, folder: Path, wrapper: str) -> None:
        import transformers

        found: Any = transformers
        cls = {"blip2": found.Blip2ForConditionalGeneration, "instructblip": found.InstructBlipForConditionalGeneration}
        self.model = cls[wrapper].from_pretrained(folder).eval()
        self.processor = found.AutoProcessor.from_pretrained(folder)
        self.processor.image_processor = found.AutoImageProcessor.from_pretrained(folder, backend="pil")

    def inputs(self, prompts: Sequence[Request], added: str = "") -> Any:
        from PIL import Image

        images = [Image.open(each.media[0].uri).convert("RGB") for each in prompts]
        words = [str(each.messages[-1].parts[-1]) + added for each in prompts]
        if self.model.config.use_decoder_only_language_model:
            self.processor.tokenizer.padding_side = "left"
        return self.processor(images=images, text=words, padding=True, return_tensors="pt")

    def generate(self, prompts: Sequence[Request], how: Decoding) -> list[str]:
        inputs = self.inputs(prompts)
        beams = {"num_beams": how.beams, "length_penalty": how.length_penalty} if how.beams > 1 else {}
        out = self.model.generate(
            **inputs, do_sample=False, max_new_tokens=how.max_new_tokens, min_new_tokens=how.min_new_tokens, **beams
        )
        if self.model.config.use_decoder_only_language_model:
            out = out[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(out, skip_special_tokens=True)]

    def scores(self, example: Request) -> list[float]:
        """A plain loop over ``forward``: sums of log p of each option's tokens."""
        import torch

        totals = []
        for option in example.candidates:
            with torch.no_grad():
                if self.model.config.use_decoder_only_language_model:
                    prompt = self.inputs([example])
                    bare = prompt["input_ids"][0]
                    whole = self.inputs([example], " " + option)
                    for key in prompt:
                        if key.startswith("qformer"):  # it reads the question, as in LAVIS, and not the answer
                            whole[key] = prompt[key]
                    ids = whole["input_ids"][0]
                    assert ids[: len(bare)].equal(bare)
                    logits = self.model(**whole).logits[0].log_softmax(-1)
                    totals.append(sum(float(logits[at - 1, ids[at]]) for at in range(len(bare), len(ids))))
                else:
                    labels = self.processor.tokenizer(option, return_tensors="pt")["input_ids"]
                    logits = self.model(**self.inputs([example]), labels=labels).logits[0].log_softmax(-1)
                    totals.append(sum(float(logits[at, token]) for at, token in enumerate(labels[0])))
        return totals


@pytest.mark.parametrize(("wrapper", "name"), BLIPS)
@pytest.mark.parametrize("how", [BEAMS, GREEDY], ids=["beams", "greedy"])
def test_answers_are_those_of_the_class(
    wrapper: str, name: str, how: Decoding, tiny: Tiny, opened: Open, pictures: list[Path]
) -> None:
    prompts = requests(pictures, how)
    hand = Hand(tiny(name), wrapper)
    expected = [hand.generate([each], how)[0] for each in prompts]
    model = opened(wrapper, name)
    assert answers(model, prompts, 1) == expected
    assert answers(model, prompts, 16) == expected
    assert hand.generate(prompts, how) == expected  # the class itself, batched and padded
    assert len(set(expected)) > 8, "equal answers prove nothing"


@pytest.mark.parametrize(("wrapper", "name"), BLIPS)
def test_options_rank_as_in_a_plain_loop(
    wrapper: str, name: str, tiny: Tiny, opened: Open, pictures: list[Path]
) -> None:
    prompts = ranked(pictures)
    hand = Hand(tiny(name), wrapper)
    expected = [hand.scores(each) for each in prompts]
    for batch in (1, 16):
        found = respond(opened(wrapper, name), prompts, batch)
        for response, own in zip(found, expected, strict=True):
            assert response.option_scores == pytest.approx(own, abs=1e-4)
            assert response.finish == "ranked"
    assert max(map(len, OPTIONS)) == 4
    tokens = found[1].option_tokens
    assert tokens is not None
    assert max(tokens) > 1
    tops = {own.index(max(own)) for own in expected}
    assert len(tops) > 1, "a ranking that always takes the same place proves nothing"


@pytest.mark.parametrize(("wrapper", "name"), BLIPS)
def test_frames_are_concatenated(
    wrapper: str, name: str, tiny: Tiny, opened: Open, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: each frame's tokens, then the text, through the language model alone."""
    import torch
    from PIL import Image

    model = opened(wrapper, name)
    hand = Hand(tiny(name), wrapper)
    example = request("v", [medium(clip, "video")], "What is it? Answer:", frames=4, decoding=GREEDY)
    frames = model._reader.video(example.media[0], 4)
    assert len({frame.tobytes() for frame in frames}) == 4
    text = str(example.messages[0].parts[-1])
    each = [hand.processor(images=Image.fromarray(frame), text=text, return_tensors="pt") for frame in frames]
    with torch.no_grad():
        more = ("qformer_input_ids", "qformer_attention_mask") if wrapper == "instructblip" else ()
        seen = [
            hand.model.get_image_features(one["pixel_values"], **{key: one[key] for key in more}).pooler_output
            for one in each
        ]
        words = hand.processor.tokenizer(text, return_tensors="pt")["input_ids"]
        embeds = torch.cat([*seen, hand.model.get_input_embeddings()(words)], dim=1)
        out = hand.model.language_model.generate(
            inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long), do_sample=False,
            max_new_tokens=12,
        )  # fmt: skip
    [response] = respond(model, [example])
    assert response.answer == hand.processor.decode(out[0], skip_special_tokens=True).strip()
    assert response.prompt_tokens == embeds.shape[1] == 4 * 4 + words.shape[1]


@pytest.mark.parametrize(("wrapper", "name"), [BLIPS[0], BLIPS[2]])
def test_an_image_is_encoded_once(wrapper: str, name: str, tiny: Tiny, pictures: list[Path]) -> None:
    model: Any = choose_model(f"{wrapper}:{tiny(name)}", {}).load()
    prompts = requests(pictures[:2], GREEDY)
    first = respond(model, prompts, 4)
    assert model.features.made == 2
    assert respond(model, prompts, 16) == respond(model, prompts, 16)
    assert [response.answer for response in respond(model, prompts, 16)] == [response.answer for response in first]
    assert model.features.made == model._preprocessed.made == 2
    keys = [model.prepare(each).media_key for each in prompts[:3]]
    assert keys[0] == keys[2] != keys[1]
    model.close()


def test_only_blip2_shares_its_prefix_between_questions(opened: Open, pictures: list[Path]) -> None:
    one, other = (request(text, [medium(pictures[0])], text) for text in ("What?", "How many?"))
    blip2, instructblip = opened("blip2", "blip2-opt"), opened("instructblip", "instructblip-llama")
    assert blip2.prepare(one).prefix_key == blip2.prepare(other).prefix_key
    assert instructblip.prepare(one).prefix_key != instructblip.prepare(other).prefix_key
    assert instructblip.prepare(one).media_key == instructblip.prepare(other).media_key


def test_prompts_are_those_of_the_papers(opened: Open) -> None:
    assert opened("blip2", "blip2-opt").wording["short_answer"].user.endswith("Question: {question} Answer:")
    assert opened("blip2", "blip2-t5").wording["short_answer"].user.endswith("Question: {question} Short answer:")
    own = opened("instructblip", "instructblip-t5").wording
    assert own["caption"].user == "{question}"
    assert own["caption"].default_question == "A short image caption."
    assert {phrase.frames for phrase in own.values()} == {4}


@pytest.mark.filterwarnings("ignore:Passing `repetition_penalty` with `inputs_embeds`:UserWarning")
def test_the_penalty_of_the_released_code(tiny: Tiny, opened: Open, pictures: list[Path]) -> None:
    """LAVIS gives the language model embeddings alone, so that only generated tokens are penalised."""
    import torch

    folder = tiny("instructblip-llama")
    model: Any = choose_model(f"instructblip:{folder}", {"repetition_penalty": "1.5"}).load()
    assert model.remark == "repetition_penalty=1.5"
    assert model.fingerprint != opened("instructblip", "instructblip-llama").fingerprint
    hand = Hand(folder, "instructblip")
    prompts = requests(pictures, GREEDY, 4)
    expected = []
    for each in prompts:
        inputs = hand.inputs([each])
        reads = {key: inputs[key] for key in ("qformer_input_ids", "qformer_attention_mask")}
        with torch.no_grad():
            seen = hand.model.get_image_features(inputs["pixel_values"], **reads).pooler_output
            words = hand.model.get_input_embeddings()(inputs["input_ids"][:, 4:])
            out = hand.model.language_model.generate(
                inputs_embeds=torch.cat([seen, words], dim=1), attention_mask=inputs["attention_mask"],
                do_sample=False, max_new_tokens=12, repetition_penalty=1.5,
            )  # fmt: skip
        expected.append(hand.processor.decode(out[0], skip_special_tokens=True).strip())
    assert answers(model, prompts) == expected
    assert expected != answers(opened("instructblip", "instructblip-llama"), prompts)
    model.close()


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_quantised_language_model(kind: str, tiny: Tiny, pictures: list[Path]) -> None:
    from anymal_eval.checkpoints.quantization import weight_bytes

    model: Any = choose_model(f"blip2:{tiny('blip2-opt')}", {"quantize": kind}).load()
    assert kind in weight_bytes(model.network.language_model)
    assert kind not in weight_bytes(model.network.vision_model)
    assert kind not in weight_bytes(model.network.qformer)
    found = respond(model, [*requests(pictures, GREEDY, 4), *ranked(pictures, 3)], 4)
    assert all(response.failure is None for response in found)
    assert model.provenance["options"]["quantize"] == kind
    model.close()


def test_half_precision_answers(tiny: Tiny, pictures: list[Path]) -> None:
    for wrapper, name in BLIPS:
        model = choose_model(f"{wrapper}:{tiny(name)}", {"precision": "bf16"}).load()
        found = respond(model, [*requests(pictures, BEAMS, 3), *ranked(pictures, 3)])
        assert all(response.failure is None for response in found), name
        model.close()


def test_what_a_manifest_holds(tiny: Tiny, tmp_path: Path, opened: Open) -> None:
    model = opened("blip2", "blip2-opt")
    found = model.provenance
    assert found["class"] == "Blip2ForConditionalGeneration"
    assert found["revision"] is None
    assert found["processor"]["processor_config.json"]["num_query_tokens"] == 4
    assert found["options"]["precision"] == "fp32"
    assert found["new_weights"] == []
    assert model.remark == ""
    copied = tmp_path / "copy"
    shutil.copytree(tiny("blip2-opt"), copied)
    again = choose_model(f"blip2:{copied}", {}).load()
    assert again.fingerprint == model.fingerprint
    again.close()
    file = copied / "processor_config.json"
    file.write_text(file.read_text().replace("0.48145466", "0.5"))
    other = choose_model(f"blip2:{copied}", {}).load()
    assert other.fingerprint != model.fingerprint
    other.close()
