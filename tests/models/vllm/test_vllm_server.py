"""A real vLLM server answers as transformers does: texts, option scores, ROC AUC; and a run survives its death."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import anymal_eval
from anymal_eval.models import choose_model
from anymal_eval.models.vllm import supervisor
from anymal_eval.records import Decoding, Request, Response
from tests.models.example_requests import OPTIONS, QUESTIONS, medium, request, respond
from tests.models.vllm.conftest import Served

GREEDY = Decoding(max_new_tokens=16)
CUT = "\ufffd"  # of UTF-8 that ends within a character: transformers shows it so, vLLM leaves it out


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    drawn = np.random.default_rng(9)
    files = [folder / f"{number}.png" for number in range(4)]
    for number, file in enumerate(files):
        Image.fromarray(drawn.integers(0, 256, (56, 56 + 8 * number, 3), np.uint8)).save(file)
    return files


def about(pictures: list[Path], count: int, **more: Any) -> list[Request]:
    return [
        request(f"q{n}", [medium(pictures[n % 4])], f"{QUESTIONS[n % 8]} {n}", **more) for n in range(count)
    ]  # fmt: skip


def same_text(ours: str | None, theirs: str | None) -> bool:
    """Equal, but for a character that the end of the text cuts."""
    return (ours or "").rstrip(CUT).strip() == (theirs or "").rstrip(CUT).strip()


def scores_of(responses: list[Response]) -> list[tuple[float, ...]]:
    assert all(response.failure is None for response in responses), responses
    return [response.option_scores or () for response in responses]


def rows(folder: Path, task: str) -> list[dict[str, Any]]:
    lines = (folder / task / "responses.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return sorted((row.get("response", row) for row in found), key=lambda row: str(row.get("id")))


def test_the_self_test_finds_what_vllm_has(served: Served) -> None:
    found = served.model.provenance
    assert found["abilities"] == {
        "ranking": True, "token_ids": True, "begun_answers": True, "least_length": True, "beams": True, "clips": None,
        "clip_fields": None, "most_frames": None, "first_token": True,
    }  # fmt: skip
    assert found["version"] == "0.32.0"
    assert any("is ready after" in line for line in served.reports)


def test_texts_are_those_of_transformers(served: Served, local: Any, pictures: list[Path]) -> None:
    prompts = about(pictures, 12, decoding=GREEDY)
    prompts += about(pictures, 4, decoding=GREEDY, answer_prefix="The colour is")
    prompts += about(pictures, 4, decoding=Decoding(max_new_tokens=8, min_new_tokens=8))
    ours, theirs = respond(served.model, prompts), respond(local, prompts)
    assert [response.failure for response in ours] == [None] * 20
    other = [(a.answer, b.answer) for a, b in zip(ours, theirs, strict=True) if not same_text(a.answer, b.answer)]
    assert not other
    assert len({response.answer for response in ours}) > 10, "the model says the same of every picture"
    assert [response.prompt_tokens for response in ours[:12]] == [response.prompt_tokens for response in theirs[:12]]


def test_beams_are_searched(served: Served, pictures: list[Path]) -> None:
    prompts = about(pictures, 4, decoding=Decoding(max_new_tokens=8, beams=3))
    greedy = about(pictures, 4, decoding=Decoding(max_new_tokens=8))
    found, plain = respond(served.model, prompts), respond(served.model, greedy)
    assert [response.failure for response in found] == [None] * 4
    assert [response.answer for response in found] != [response.answer for response in plain]


def test_scores_are_those_of_transformers(served: Served, local: Any, pictures: list[Path]) -> None:
    prompts = [
        request(f"r{n}", [medium(pictures[n % 4])], f"{QUESTIONS[n % 8]} Answer:", candidates=OPTIONS[n % 3])
        for n in range(9)
    ]
    prompts += about(pictures, 2, candidates=("red hat", "black"), answer_prefix="The colour is")
    ours, theirs = respond(served.model, prompts), respond(local, prompts)
    for one, other in zip(scores_of(ours), scores_of(theirs), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert [one.option_tokens for one in ours] == [other.option_tokens for other in theirs]
    # The first request of a closed set ranks whole prompts; the later ones name the ids of the first token.
    again = respond(served.model, prompts)
    for one, other in zip(scores_of(again), scores_of(ours), strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_roc_auc_is_that_of_transformers(served: Served, local: Any, tmp_path: Path) -> None:
    how: dict[str, Any] = {"data": "demo", "demo_examples": 24, "protocol": "plain"}
    ours = anymal_eval.evaluate(served.model, "hateful_memes,scienceqa", out=tmp_path / "ours", **how)
    theirs = anymal_eval.evaluate(local, "hateful_memes,scienceqa", out=tmp_path / "theirs", **how)
    assert "auc" in ours.headlines["hateful_memes"].metric
    for task in ("hateful_memes", "scienceqa"):
        value = ours.headlines[task].value
        assert value is not None
        assert 0.0 < value < 1.0
        assert value == pytest.approx(theirs.headlines[task].value, abs=1e-6)
    assert ours.errors == 0
    assert (tmp_path / "ours" / "server.log").is_file()


def test_a_running_server_by_its_address(
    served: Served, local: Any, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", served.model._process.key)
    model = choose_model("openai:llava", {"url": served.model._process.url, "dialect": "vllm"}).load()
    try:
        prompts = about(pictures, 3, candidates=("yes", "no"))
        for one, other in zip(scores_of(respond(model, prompts)), scores_of(respond(local, prompts)), strict=True):
            assert one == pytest.approx(other, abs=1e-4)
    finally:
        model.close()


def test_a_run_survives_the_death_of_its_server(served: Served, tmp_path: Path) -> None:
    how: dict[str, Any] = {"data": "demo", "demo_examples": 40, "protocol": "plain", "batch_size": 2}
    whole = anymal_eval.evaluate(served.model, "vqav2", out=tmp_path / "whole", **how)
    answers = tmp_path / "killed" / "vqav2" / "responses.jsonl"
    killed: list[int] = []

    def kill() -> None:
        while not (answers.exists() and answers.stat().st_size):
            time.sleep(0.02)
        killed.extend(supervisor.members(served.model._process._supervisor.pid))
        for pid in killed:
            if pid != served.model._process._supervisor.pid:
                os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    run = anymal_eval.evaluate(served.model, "vqav2", out=tmp_path / "killed", **how)
    killer.join()
    assert len(killed) > 2
    assert served.model._process.restarts == 1
    assert run.errors == whole.errors == 0
    assert rows(tmp_path / "killed", "vqav2") == rows(tmp_path / "whole", "vqav2")
