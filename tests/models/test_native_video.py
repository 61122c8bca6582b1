"""Clips in the way of each class: the frames that it chooses of the whole clip, its timestamps, its tokens."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from anymal_eval.errors import BadCheckpoint, MediaError, WrongUse
from anymal_eval.generation.self_test import ON
from anymal_eval.media.budget import MediaBudget
from anymal_eval.media.reader import MediaReader
from anymal_eval.models import choose_model
from anymal_eval.models._native_video import NativeVideo
from anymal_eval.records import Decoding, Media, Request
from tests.models.by_hand import Hand
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import GREEDY, OPTIONS, QUESTIONS, answers, medium, request, respond
from tests.models.tiny_vision import needs_torchvision

pytestmark = needs_torchvision
RATE, FRAMES = 8.0, 4
BEAMS3 = Decoding(max_new_tokens=8, beams=3, length_penalty=-1.0)
# What a user of the class passes with a whole clip: nothing where the checkpoint states its rule, else the card's.
RULES: dict[str, dict[str, Any]] = {
    "qwen2-vl": {"do_sample_frames": True, "fps": 2.0},
    "qwen2.5-vl": {"do_sample_frames": True, "fps": 2.0},
    "qwen3-vl": {},
    "internvl": {},
    "smolvlm": {},
    "videollama3": {},
    "llava-onevision": {"do_sample_frames": True, "num_frames": FRAMES},
    "llava-next-video": {"do_sample_frames": True, "num_frames": FRAMES},
}
WITHOUT_RULE = ("llava-onevision", "llava-next-video")  # ours is the middles of equal parts, theirs the starts


def all_frames(file: Path) -> NDArray[np.uint8]:
    """By a plain loop over PyAV."""
    import av

    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


class VideoHand(Hand):
    """The class with a clip."""

    def __init__(self, folder: Path, clip: Path, name: str) -> None:
        super().__init__(folder)
        frames, self.rule = all_frames(clip), RULES[name]
        if name in WITHOUT_RULE:
            frames, self.rule = frames[[2, 6, 10, 14]], {"do_sample_frames": False}
        self.frames, self.metadata = frames, {"fps": RATE, "total_num_frames": len(frames), "duration": 2.0}

    def forward_inputs(self, example: Request, option: str) -> Any:
        conversation = [
            {"role": each.role, "content": [self.part(one) for one in each.parts]} for each in example.messages
        ]
        text = self.processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        if option:
            text += option if text[-1].isspace() else f" {option}"
        first = self.processor.tokenizer.bos_token
        inputs = self.processor(
            text=[text], videos=[self.frames], return_tensors="pt", add_special_tokens=not text.startswith(first),
            videos_kwargs={"video_metadata": [self.metadata], **self.rule},
        )  # fmt: skip
        return {key: value for key, value in inputs.items() if key != "video_metadata"}

    @staticmethod
    def part(one: str | Media) -> dict[str, Any]:
        return {"type": "text", "text": one} if isinstance(one, str) else {"type": "video"}

    def generate(self, example: Request) -> str:
        how, inputs = example.decoding, self.forward_inputs(example, "")
        beams = {"num_beams": how.beams, "length_penalty": how.length_penalty} if how.beams > 1 else {}
        out = self.model.generate(**inputs, do_sample=False, max_new_tokens=how.max_new_tokens, **beams)
        return str(self.processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


@pytest.mark.parametrize("name", RULES)
def test_texts_and_scores_are_those_of_the_class(name: str, opened: Open, tiny: Tiny, clip: Path) -> None:
    model, hand = opened("hf", name), VideoHand(tiny(name), clip, name)
    assert model.provenance["settings"]["video"] == "native"
    assert "video=native" in model.remark
    sharing = "off: its positions are computed from the whole prompt" if name.startswith("qwen") else ON
    assert model.provenance["prefix_sharing"] == sharing
    shown = medium(clip, "video")
    questions = [request(f"q{n}", [shown], QUESTIONS[n], decoding=GREEDY, frames=FRAMES) for n in range(4)]
    expected = [hand.generate(each) for each in questions]
    assert answers(model, questions, 1) == expected
    assert answers(model, questions, 16) == expected
    assert len(set(expected)) > 2, "equal answers prove nothing"
    beams = request("b", [shown], QUESTIONS[3], decoding=BEAMS3, frames=FRAMES)
    assert answers(model, [beams]) == [hand.generate(beams)]
    ranked = [request(f"r{n}", [shown], QUESTIONS[n], candidates=OPTIONS[n], frames=FRAMES) for n in range(3)]
    for response, each in zip(respond(model, ranked, 16), ranked, strict=True):
        assert response.option_scores == pytest.approx(hand.scores(each), abs=1e-4)


@pytest.mark.parametrize("name", RULES)
def test_frames_are_pictures(name: str, opened: Open, tiny: Tiny, clip: Path, tmp_path: Path) -> None:
    from PIL import Image

    model = opened("hf", name, video="frames", share="false")
    files = []
    for place in (2, 6, 10, 14):
        files.append(tmp_path / f"{place}.png")
        Image.fromarray(all_frames(clip)[place]).save(files[-1])
    as_pictures = request("p", [medium(file) for file in files], "What happens?", decoding=GREEDY)
    as_clip = request("v", [medium(clip, "video")], "What happens?", decoding=GREEDY, frames=FRAMES)
    expected = Hand(tiny(name)).generate(as_pictures)
    assert answers(model, [as_clip]) == [expected]
    assert model.provenance["settings"] == {"video": "frames"}
    native = opened("hf", name)
    assert model.fingerprint != native.fingerprint
    assert native.prepare(as_clip).inputs["input_ids"].shape != model.prepare(as_clip).inputs["input_ids"].shape


def places(model: Any, shown: Media) -> tuple[list[int], float]:
    [found] = model.media.open(Request(id="1", messages=request("1", [shown], "?").messages)).clips
    assert len(found.frames) == len(found.metadata.frames_indices)
    return found.metadata.frames_indices, found.metadata.duration


def test_rate_and_number_of_frames_are_options(opened: Open, tiny: Tiny, clip: Path) -> None:
    shown = medium(clip, "video")
    assert places(opened("hf", "qwen3-vl", fps="4"), shown) == ([0, 2, 4, 6, 9, 11, 13, 15], 2.0)
    assert places(opened("hf", "qwen3-vl", fps="4", max_frames="5"), shown)[0] == [0, 4, 8, 11, 15]
    assert places(opened("hf", "llava-onevision", max_frames="3"), shown)[0] == [1, 9, 15]
    names = [{"fps": "4"}, {"fps": "4", "max_frames": "5"}, {}, {"min_pixels": "4096", "max_pixels": "9216"}]
    models = [opened("hf", "qwen3-vl", **options) for options in names]
    assert len({model.fingerprint for model in models}) == len(names)
    assert models[1].remark == "video=native, fps=4, max_frames=5"
    assert models[3].remark == "video=native, fps=2, max_frames=768, min_pixels=4096, max_pixels=9216"


def test_a_window_is_a_clip_of_its_own(opened: Open, clip: Path) -> None:
    model = opened("hf", "qwen3-vl", fps="4")
    shown = Media(kind="video", uri=str(clip), start_s=0.5, end_s=1.5)
    assert places(model, shown) == ([0, 2, 5, 7], 1.0)
    [found] = model.media.open(request("1", [shown], "?")).clips
    assert (found.frames == all_frames(clip)[[4, 6, 9, 11]]).all()


def test_limits_of_a_clip_hold(opened: Open, clip: Path) -> None:
    native = NativeVideo(opened("hf", "qwen3-vl")._processor.video_processor)
    with (
        MediaReader(budget=MediaBudget(clip_pixels=10_000)) as reader,
        pytest.raises(MediaError, match="4 frames of 64 x 48 is over 10000 pixels; media_budget="),
    ):
        native.open(reader, medium(clip, "video"), FRAMES)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("llava", {"video": "native"}, "LlavaProcessor takes no clips; leave out -o video=native"),
        ("llava", {"fps": "2"}, "-o fps is for native video; here clips are the protocol's number of frames"),
        ("llava", {"max_pixels": "9216"}, "-o max_pixels: CLIPImageProcessorPil has no such setting; leave it out"),
        ("qwen3-vl", {"video": "frames", "max_frames": "3"}, "-o max_frames is for native video"),
        ("qwen3-vl", {"min_pixels": "9", "max_pixels": "4"}, "min_pixels no more than max_pixels"),
        ("qwen3-vl", {"fps": "-1"}, "must be positive"),
    ],
)
def test_options_that_do_not_fit(name: str, options: dict[str, str], message: str, tiny: Tiny) -> None:
    with pytest.raises((BadCheckpoint, WrongUse), match=re.escape(message)):
        choose_model(f"hf:{tiny(name)}", options).load()
