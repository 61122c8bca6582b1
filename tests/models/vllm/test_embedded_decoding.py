"""The AnyMAL network with its language model on a real vLLM server: its own texts and scores."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anymal_eval.anymal import tiny
from anymal_eval.errors import WrongUse
from anymal_eval.models import choose_model
from anymal_eval.records import Decoding, Request, Response
from tests.models.example_requests import OPTIONS, QUESTIONS, medium, request, respond
from tests.models.vllm.network import write_network
from tests.models.vllm.served import ARGUMENTS, SERVER_ENVIRONMENT, python_with_vllm

GREEDY = Decoding(max_new_tokens=16)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """The network decoded on a server, and the same one here."""
    python = python_with_vllm()
    if python is None:
        pytest.skip("there is no environment with vLLM: make vllm-environment")
    home = tmp_path_factory.mktemp("embedded")
    checkpoint = write_network(home)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**SERVER_ENVIRONMENT, "ANYMAL_EVAL_CACHE": str(home / "cache")}.items():
            patch.setenv(name, value)
        options = {"device": "cpu", "llm_engine": "vllm", "python": str(python), "vllm_args": ARGUMENTS}
        served = choose_model(f"anymal:{checkpoint}", options).load()
    here = choose_model(f"anymal:{checkpoint}", {"device": "cpu"}).load()
    yield served, here
    served.close()
    here.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    drawn = np.random.default_rng(3)
    files = [folder / f"{number}.png" for number in range(4)]
    for file in files:
        Image.fromarray(drawn.integers(0, 256, (40, 48, 3), np.uint8)).save(file)
    return files


def about(pictures: list[Path], count: int, **more: Any) -> list[Request]:
    return [request(f"q{n}", [medium(pictures[n % 4])], f"{QUESTIONS[n % 8]} {n}", **more) for n in range(count)]


def comparable(responses: list[Response], prompts: list[Request]) -> list[Response]:
    """Without the number of new tokens after a stop string: a batch here counts them until all of its rows stop."""
    pairs = zip(responses, prompts, strict=True)
    return [replace(one, new_tokens=None) if item.decoding.stop else one for one, item in pairs]


def test_the_network_gives_its_own_texts(both: tuple[Any, Any], pictures: list[Path]) -> None:
    served, here = both
    prompts = about(pictures, 12, decoding=GREEDY)
    prompts += about(pictures, 4, decoding=Decoding(max_new_tokens=12, stop=("a",)), answer_prefix="It is")
    prompts += about(pictures, 4, decoding=Decoding(max_new_tokens=6, min_new_tokens=6))
    ours, theirs = respond(served, prompts), respond(here, prompts)
    assert comparable(ours, prompts) == comparable(theirs, prompts)
    assert len({response.answer for response in ours}) > 8, "the network says the same of every picture"
    model = served._network.llm.model
    kept = model.get_input_embeddings().weight.numel()
    assert sum(value.numel() for value in model.parameters()) == kept, "the layers are held twice"


def test_options_are_scored_token_by_token(both: tuple[Any, Any], pictures: list[Path]) -> None:
    served, here = both
    prompts = [
        request(f"r{n}", [medium(pictures[n % 4])], f"{QUESTIONS[n % 8]} Answer:", candidates=OPTIONS[n % 3])
        for n in range(6)
    ]
    for one, other in zip(respond(served, prompts), respond(here, prompts), strict=True):
        assert one.failure is None
        assert one.option_scores == pytest.approx(other.option_scores, abs=1e-4)
        assert one.option_tokens == other.option_tokens


def test_beams_are_refused(both: tuple[Any, Any], pictures: list[Path]) -> None:
    with pytest.raises(WrongUse, match="has no beam search"):
        both[0].refuse(about(pictures, 1, decoding=Decoding(beams=2))[0])


def test_adapters_are_refused(tmp_path: Path) -> None:
    options = {"device": "cpu", "llm_engine": "vllm", "python": os.environ.get("SHELL", "/bin/sh")}
    with pytest.raises(WrongUse, match="merge them by checkpoints merge-lora"):
        choose_model(f"anymal:{tiny.write(tmp_path)}", options).load()
