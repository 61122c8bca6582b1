"""``--max-new-tokens``, ``--temperature``, ``--system``: before a protocol's settings, and part of the run."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import anymal_eval
from anymal_eval.errors import OtherRun, WrongUse
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.evaluation.run import rescore
from anymal_eval.models import PLAIN_WORDING, PlainText
from anymal_eval.records import Request, Response


class Listening:
    """Answers ``a``, and keeps its requests."""

    accepts = frozenset({"image"})
    fingerprint = "listening-1"
    opens_media = False
    wording = PLAIN_WORDING
    skills = frozenset({"sampling", "thinking"})

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def prepare(self, request: Request) -> PlainText:
        return PlainText(request)

    def answer(self, batch: Any) -> list[Response]:
        self.requests += [item.request for item in batch]
        return [Response(id=item.request.id, answer="a", finish="stop") for item in batch]

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path_factory.getbasetemp() / "options-world"))


def evaluate(model: Any, **options: Any) -> anymal_eval.Run:
    return anymal_eval.evaluate(model, "vqav2", data="demo", demo_examples=8, **options)


GIVEN: dict[str, Any] = {
    "max_new_tokens": 3, "temperature": 0.5, "top_p": 0.9, "seed": 4, "system": "Be | brief {question}.",
    "thinking": "on", "thinking_tokens": 50,
}  # fmt: skip


def test_they_reach_the_model_the_manifest_and_the_signature(tmp_path: Path) -> None:
    model = Listening()
    run = evaluate(model, out=tmp_path / "run", **GIVEN)
    for request in model.requests:
        assert request.messages[0].role == "system"
        assert request.messages[0].parts == ("Be | brief {question}.",)
        for name, value in GIVEN.items():
            assert name == "system" or getattr(request.decoding, name) == value
    manifest = json.loads((run.root / "manifest.json").read_text("utf-8"))
    assert manifest["tasks"]["vqav2"]["overrides"] == GIVEN
    signature = run.headlines["vqav2"].signature
    for part in ("max_new_tokens 3", "temperature 0.5", "top_p 0.9", "seed 4", "thinking on", "thinking_tokens 50"):
        assert f" | {part} | " in f"{signature} | "
    assert "brief" not in signature
    assert " | system " in signature
    again = Listening()
    evaluate(again, out=tmp_path / "run", **GIVEN)
    assert again.requests == []
    with pytest.raises(OtherRun):
        evaluate(Listening(), out=tmp_path / "run", **{**GIVEN, "seed": 5})


def test_a_run_without_them_is_as_it_was(tmp_path: Path) -> None:
    run = evaluate(Listening(), out=tmp_path / "run")
    manifest = json.loads((run.root / "manifest.json").read_text("utf-8"))
    assert "overrides" not in manifest["identity"]
    assert manifest["tasks"]["vqav2"]["overrides"] == {}
    other = evaluate(Listening(), out=tmp_path / "other", max_new_tokens=3)
    (task,) = anymal_eval.compare(other, run).check.tasks
    assert task.word == "refused"
    assert "overrides was {}, is {'max_new_tokens': 3}" in task.why


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"temperature": -1.0}, "--temperature -1.0: write 0, or a positive number"),
        ({"temperature": float("nan")}, "--temperature nan"),
        ({"top_p": 0.0, "temperature": 1.0}, "--top-p 0.0"),
        ({"top_p": 0.5}, "--top-p has no effect without --temperature"),
        ({"seed": 3, "temperature": 0.0}, "--seed has no effect without --temperature"),
        ({"max_new_tokens": 0}, "--max-new-tokens 0"),
        ({"thinking": "off", "thinking_tokens": 5}, "--thinking-tokens has no effect with --thinking off"),
        ({"samples": 3}, "--samples 3: several samples need --temperature above 0"),
        ({"samples": 0, "temperature": 1.0}, "--samples 0"),
        ({"temperature": 0.5, "protocol": "blip2-2023"}, "the protocol wants 5 beams, which take no samples"),
    ],
)
def test_what_means_nothing_is_refused(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=words):
        evaluate(Listening(), out=tmp_path / "run", **given)
    assert not (tmp_path / "run" / "manifest.json").exists()


class Drawn(Listening):
    """Answers some questions rightly, others with each seed."""

    def answer(self, batch: Any) -> list[Response]:
        self.requests += [item.request for item in batch]
        answers = ["yes" if (int(item.request.decoding.seed) + at) % 3 else "2" for at, item in enumerate(batch)]
        return [Response(id=item.request.id, answer=text, finish="stop")
                for item, text in zip(batch, answers, strict=True)]  # fmt: skip


def test_several_samples(tmp_path: Path) -> None:
    model = Drawn()
    run = evaluate(model, out=tmp_path / "run", temperature=0.5, seed=4, samples=3)
    assert sorted({request.decoding.seed for request in model.requests}) == [4, 5, 6]
    assert len(model.requests) == 24
    values = [
        anymal_eval.load_run(folder).headlines["vqav2"].value
        for folder in (run.root, run.root / "samples" / "2", run.root / "samples" / "3")
    ]
    assert len(set(values)) > 1
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
    interval = f"[{100 * (np.mean(values) - half):.2f}, {100 * (np.mean(values) + half):.2f}]"
    with (run.root / "table.csv").open(encoding="utf-8", newline="") as file:
        [row] = [each for each in csv.DictReader(file) if each["kind"] == "mean of 3 samples"]
    found = [float(row[f"{name}_x100"]) for name in ("value", "ci_low", "ci_high")]
    mean = np.mean(values)
    assert found == pytest.approx([100 * each for each in (mean, mean - half, mean + half)], rel=1e-5)
    assert interval in (run.root / "table.md").read_text("utf-8")
    table = (run.root / "table.md").read_bytes()
    again = Drawn()
    evaluate(again, out=tmp_path / "run", temperature=0.5, seed=4, samples=3)
    assert again.requests == []
    rescore(run.root, SilentConsole())
    assert (run.root / "table.md").read_bytes() == table
    # A fourth one later leaves the others as they are.
    evaluate(again, out=tmp_path / "run", temperature=0.5, seed=4, samples=4)
    assert {request.decoding.seed for request in again.requests} == {7}
    assert "mean of 4 samples" in (run.root / "table.md").read_text("utf-8")


@pytest.mark.parametrize("given", [{"temperature": 0.5}, {"thinking": "on"}, {"thinking_tokens": 9}])
def test_a_model_that_does_not_take_them(given: dict[str, Any]) -> None:
    with pytest.raises(WrongUse, match="model constant does not take --"):
        anymal_eval.evaluate("constant", "vqav2", data="demo", demo_examples=8, **given)
