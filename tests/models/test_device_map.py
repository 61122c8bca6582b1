"""``-o device_map``: the same answers, the manifest says where each part is, and what cannot be is one line.

More than one device is there with GPUs alone: what is tested here is the way through accelerate, on the processor.
"""

from pathlib import Path
from typing import Any

import pytest

from anymal_eval.anymal import tiny as tiny_anymal
from anymal_eval.errors import WrongUse
from anymal_eval.models import choose_model
from anymal_eval.records import Decoding, Media
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import QUESTIONS, request, respond

CPU = '{"": "cpu"}'


def requests_for(media: list[Media]) -> list[Any]:
    how = Decoding(max_new_tokens=6)
    generated = [request(f"q{n}", [media[n % 3]], QUESTIONS[n], decoding=how) for n in range(4)]
    return [*generated, request("r", [media[0]], "Which?", candidates=("yes", "a green hat"))]


@pytest.mark.parametrize(
    ("wrapper", "name"),
    [("hf", "llava"), ("blip2", "blip2-opt"), ("instructblip", "instructblip-llama"), ("hf_audio", "qwen2-audio")],
)
@pytest.mark.parametrize("spread", ["auto", CPU])
def test_answers_are_those_of_one_device(
    wrapper: str, name: str, spread: str, tiny: Tiny, opened: Open, media: list[Media]
) -> None:
    requests = requests_for(media)
    expected = respond(opened(wrapper, name), requests)
    assert opened(wrapper, name).provenance["device_map"] is None
    model: Any = choose_model(f"{wrapper}:{tiny(name)}", {"device_map": spread}).load()
    assert set(model.provenance["device_map"].values()) == {"cpu"}
    assert model.provenance["device"] == "cpu"
    assert model.fingerprint == opened(wrapper, name).fingerprint
    assert respond(model, requests) == expected
    model.close()


@pytest.mark.parametrize("spread", ["auto", CPU])
def test_the_language_model_of_anymal(spread: str, tmp_path: Path, pictures: list[Path]) -> None:
    checkpoint = tiny_anymal.write(tmp_path)
    requests = requests_for([Media(kind="image", uri=str(file)) for file in pictures])
    found = []
    for options in ({}, {"device_map": spread}):
        model: Any = choose_model(f"anymal:{checkpoint}", options).load()
        found.append(respond(model, requests))
        placed = model.provenance["device_map"]
        model.close()
    assert set(placed.values()) == {"cpu"}
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("spread", "device", "message"),
    [
        ("auto", "cpu", "--device cpu names one device, -o device_map=auto several: give one of them"),
        ("best", "auto", "-o device_map=best: write auto, balanced, balanced_low_0, sequential or a JSON object"),
        ("{}", "auto", "or a JSON object of modules"),
        ('{"": "cuda:99"}', "auto", "there is no device 'cuda:99' here, only the cpu and"),
        ('{"": "disk"}', "auto", "there is no device 'disk' here"),
    ],
)
def test_what_cannot_be_is_one_line(spread: str, device: str, message: str, tiny: Tiny, tmp_path: Path) -> None:
    checkpoint = tiny_anymal.write(tmp_path)
    for typed in (f"hf:{tiny('llava')}", f"anymal:{checkpoint}"):
        with pytest.raises(WrongUse) as caught:
            choose_model(typed, {"device_map": spread}, {"device": device}).load()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
