"""``hf`` and ``hf_audio`` answer as processor and ``generate`` do when called by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.generation import left_padded
from anymal_eval.models import choose_model
from anymal_eval.records import Decoding, Media
from tests.models import tiny_vision
from tests.models.by_hand import Hand, conversations
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import GREEDY, OPTIONS, QUESTIONS, answers, medium, request, respond
from tests.models.tiny_vision import needs_torchvision

CHATS = ["llava", "llava-next", "idefics3", "gemma3", "mllama"]
OLD = [*CHATS, "qwen2-audio"]
ALL = [
    *((("hf"), name) for name in CHATS),
    ("hf_audio", "qwen2-audio"),
    *(pytest.param("hf", name, marks=needs_torchvision) for name in tiny_vision.BUILDERS),
]
BEAMS3 = Decoding(max_new_tokens=8, beams=3, length_penalty=-1.0)


@pytest.mark.parametrize(("wrapper", "name"), ALL)
@pytest.mark.parametrize("how", [GREEDY, BEAMS3], ids=["greedy", "beams"])
def test_answers_are_those_of_the_class(
    wrapper: str, name: str, how: Decoding, media: list[Media], tiny: Tiny, opened: Open
) -> None:
    prompts = conversations(media, how, count=10 if name in OLD else 5)
    hand, model = Hand(tiny(name)), opened(wrapper, name)
    if name == "llama4" and how.beams > 1:  # transformers 5.23 cannot
        with pytest.raises(ValueError, match="do not match"):
            hand.generate(prompts[0])
        [response] = respond(model, prompts[:1])
        assert response.failure is not None
        assert "Llama4ForConditionalGeneration cannot search with 3 beams" in response.failure.message
        return
    expected = [hand.generate(each) for each in prompts]
    assert answers(model, prompts, 1) == expected
    assert answers(model, prompts, 16) == expected
    assert len(set(expected)) > len(prompts) // 2, "equal answers prove nothing"


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
    inputs = left_padded([item.inputs], model.generator.pad_id, model.network)
    whole = model.ranker.rank_whole_prompts(inputs, item.option_token_ids)
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
    [cut] = respond(model, [replace(example, decoding=Decoding(max_new_tokens=12, stop=(stop,)))])
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
