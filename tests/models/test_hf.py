"""``hf`` and ``hf_audio`` answer as processor and ``generate`` do when called by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.models import choose_model
from anymal_eval.records import Decoding, Media, Message, Request
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import GREEDY, OPTIONS, QUESTIONS, answers, medium, request, respond

CHATS = ["llava", "llava-next", "idefics3", "gemma3", "mllama"]
ALL = [*((("hf"), name) for name in CHATS), ("hf_audio", "qwen2-audio")]
BEAMS3 = Decoding(max_new_tokens=8, beams=3, length_penalty=-1.0)
SYSTEM = "You are a careful helper. Reply briefly."


class Hand:
    """Processor and class, used as their documentation does."""

    def __init__(self, folder: Path) -> None:
        import transformers

        found: Any = transformers
        self.processor = found.AutoProcessor.from_pretrained(folder)
        self.audio = "Audio" in type(self.processor).__name__
        auto = found.AutoModelForMultimodalLM if self.audio else found.AutoModelForImageTextToText
        self.model = auto.from_pretrained(folder).eval()

    def block(self, part: str | Media) -> dict[str, Any]:
        from PIL import Image

        if isinstance(part, str):
            return {"type": "text", "text": part}
        if part.kind == "audio":
            return {"type": "audio", "audio": part.uri}
        return {"type": "image", "image": Image.open(part.uri).convert("RGB")}

    def generate(self, example: Request) -> str:
        conversation = [
            {"role": message.role, "content": [self.block(part) for part in message.parts]}
            for message in example.messages
        ]
        inputs = self.processor.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        how = example.decoding
        beams = {"num_beams": how.beams, "length_penalty": how.length_penalty} if how.beams > 1 else {}
        out = self.model.generate(**inputs, do_sample=False, max_new_tokens=how.max_new_tokens, **beams)
        text: str = self.processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return text.strip()

    def scores(self, example: Request) -> list[float]:
        """A plain loop over ``forward``: the whole prompt with each option, sums of log p of the option's tokens."""
        import torch

        bare = self.forward_inputs(example, "")
        totals = []
        for option in example.candidates:
            whole = self.forward_inputs(example, option)
            start, ids = bare["input_ids"].shape[1], whole["input_ids"][0]
            assert ids[:start].equal(bare["input_ids"][0])
            with torch.no_grad():
                logits = self.model(**whole).logits[0].log_softmax(-1)
            totals.append(sum(float(logits[at - 1, ids[at]]) for at in range(start, len(ids))))
        return totals

    def forward_inputs(self, example: Request, option: str) -> Any:
        from PIL import Image

        conversation = [
            {"role": each.role, "content": [self.block(part) for part in each.parts]} for each in example.messages
        ]
        text = self.processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        if option:
            text += option if text[-1].isspace() else f" {option}"
        extra: dict[str, Any] = {}
        if not self.audio:
            extra = {"images": [[Image.open(item.uri).convert("RGB") for item in example.media]]}
        else:
            import soundfile

            extra = {"audio": [soundfile.read(item.uri, dtype="float32")[0] for item in example.media]}
            extra["sampling_rate"] = 16_000
        first = self.processor.tokenizer.bos_token
        return self.processor(text=[text], return_tensors="pt", add_special_tokens=not text.startswith(first), **extra)


def conversations(media: Sequence[Media], how: Decoding) -> list[Request]:
    """One and two media, before and between the words, with and without a system message."""
    prompts = []
    for place in range(10):
        own = [media[place % len(media)]] if place % 3 else [media[place % len(media)], media[(place + 1) % len(media)]]
        prompts.append(
            request(f"c{place}", own, f"{QUESTIONS[place % 8]} {place}", system=SYSTEM * (place % 2), decoding=how)
        )
    between = Message(role="user", parts=("The first ", media[0], " and the second ", media[1], " why?"))
    return [*prompts, Request(id="between", messages=(between,), decoding=how)]


@pytest.mark.parametrize(("wrapper", "name"), ALL)
@pytest.mark.parametrize("how", [GREEDY, BEAMS3], ids=["greedy", "beams"])
def test_answers_are_those_of_the_class(
    wrapper: str, name: str, how: Decoding, media: list[Media], tiny: Tiny, opened: Open
) -> None:
    prompts = conversations(media, how)
    hand = Hand(tiny(name))
    expected = [hand.generate(each) for each in prompts]
    model = opened(wrapper, name)
    assert answers(model, prompts, 1) == expected
    assert answers(model, prompts, 16) == expected
    assert len(set(expected)) > 6, "equal answers prove nothing"


@pytest.mark.parametrize(("wrapper", "name"), ALL)
def test_options_rank_as_in_a_plain_loop(wrapper: str, name: str, media: list[Media], tiny: Tiny, opened: Open) -> None:
    prompts = [
        request(f"r{n}", media[n % 4 : n % 4 + 1 + n % 2], QUESTIONS[n % 8], candidates=OPTIONS[n % 3])
        for n in range(8)
    ]
    hand = Hand(tiny(name))
    expected = [hand.scores(each) for each in prompts]
    model = opened(wrapper, name)
    for batch in (1, 16):
        for response, own in zip(respond(model, prompts, batch), expected, strict=True):
            assert response.option_scores == pytest.approx(own, abs=1e-4)
    assert len({own.index(max(own)) for own in expected}) > 1
    # Classes that compute their own positions are ranked a whole prompt at a time: the same numbers.
    item = model.prepare(prompts[1])
    whole = model.ranker.rank_whole_prompts(item.inputs, item.option_token_ids)
    assert whole == pytest.approx(expected[1], abs=1e-4)


@pytest.mark.parametrize("name", ["llava", "idefics3"])
def test_a_clip_is_its_frames(name: str, opened: Open, tiny: Tiny, clip: Path, tmp_path: Path) -> None:
    from PIL import Image

    model = opened("hf", name)
    frames = model._reader.video(medium(clip, "video"), 4)
    files = []
    for place, frame in enumerate(frames):
        files.append(tmp_path / f"{place}.png")
        Image.fromarray(frame).save(files[-1])
    as_pictures = request("p", [medium(file) for file in files], "What happens?", decoding=GREEDY)
    as_clip = request("v", [medium(clip, "video")], "What happens?", decoding=GREEDY, frames=4)
    found = answers(model, [as_clip, as_pictures])
    assert found == [Hand(tiny(name)).generate(as_pictures)] * 2


def test_the_answer_can_have_a_prefix(opened: Open, tiny: Tiny, pictures: list[Path]) -> None:
    model = opened("hf", "llava")
    bare, prefixed = (
        model.prepare(request("1", [medium(pictures[0])], "What?", answer_prefix=prefix)) for prefix in ("", "It is")
    )
    ids = prefixed.inputs["input_ids"][0]
    assert prefixed.suffix_tokens > bare.suffix_tokens
    assert model.generator.text(ids.tolist()).endswith("ASSISTANT: It is")


def test_stop_strings_cut_the_answer(opened: Open, pictures: list[Path]) -> None:
    model = opened("hf", "llava")
    example = request("1", [medium(pictures[0])], "What?", decoding=Decoding(max_new_tokens=12))
    [whole] = respond(model, [example])
    assert whole.answer is not None
    stop = next(letter for letter in whole.answer[2:] if letter not in " " + whole.answer[:2])
    [cut] = respond(model, [Request(**{**vars(example), "decoding": Decoding(max_new_tokens=12, stop=(stop,))})])
    assert cut.answer == whole.answer[: whole.answer.find(stop)].strip()
    assert cut.finish == "stop"
    assert (cut.new_tokens or 0) <= (whole.new_tokens or 0)


def test_decoding_settings_of_the_checkpoint_are_not_used(tiny: Tiny, tmp_path: Path, pictures: list[Path]) -> None:
    import json
    import shutil

    folder = Path(shutil.copytree(tiny("llava"), tmp_path / "llava"))
    file = folder / "generation_config.json"
    own = json.loads(file.read_text())
    file.write_text(json.dumps({**own, "repetition_penalty": 3.0, "do_sample": True, "temperature": 0.5}))
    model: Any = choose_model(f"hf:{folder}", {}).load()
    assert model.provenance["generation_settings_not_used"] == {
        "do_sample": True, "repetition_penalty": 3.0, "temperature": 0.5,
    }  # fmt: skip
    prompts = [request("1", [medium(pictures[0])], "What?", decoding=GREEDY)]
    assert answers(model, prompts) == [Hand(tiny("llava")).generate(prompts[0])]
    model.close()
