"""Checkpoints are evaluated while their training is running, each once, and the curve shows them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from anymal_eval.cli.curve import curve
from anymal_eval.errors import MissingData, OtherRun
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.evaluation.plan import make_plan
from anymal_eval.evaluation.write import FinishedRun
from anymal_eval.report.curve import read_curve
from anymal_eval.training.run import train
from anymal_eval.training.watching import Watched, WatchPlan, watch
from tests.training.conftest import align_job, every_step, saving

EXAMPLES = 6


class Killed(Exception):
    """What a test ends a watch with."""


class KilledConsole(SilentConsole):
    """Ends a watch at its N-th batch of answers."""

    def __init__(self, batches: int) -> None:
        self._left = batches

    def progress(self, label: str, total: int, done: int) -> Any:
        shown = super().progress(label, total, done)

        class Counted:
            def __enter__(_) -> Callable[[int], None]:  # noqa: N805
                shown.__enter__()
                return self._count

            def __exit__(_, *error: object) -> None:  # noqa: N805
                shown.__exit__(None, None, None)

        return Counted()

    def _count(self, more: int) -> None:
        del more
        self._left -= 1
        if self._left == 0:
            raise Killed


def watched(
    training: Path, until: int | None = None, console: SilentConsole | None = None, **more: Any
) -> tuple[Watched, list[int]]:
    shown: list[int] = []

    def show(step: int, finished: FinishedRun) -> None:
        assert finished.root == training / "evaluations" / f"step-{step}"
        shown.append(step)

    options: dict[str, Any] = {"data": "demo", "demo_examples": EXAMPLES, "model": "anymal", "batch_size": 2, **more}
    plan = WatchPlan(training=training, evaluation=make_plan("vqav2", **options), until=until, every=0.05)
    return watch(plan, console or SilentConsole(), show), shown


def answers(training: Path, step: int) -> list[str]:
    file = training / "evaluations" / f"step-{step}" / "vqav2" / "responses.jsonl"
    return file.read_text().splitlines() if file.is_file() else []


@pytest.fixture(scope="module")
def training(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of four steps, watched when three of its states are saved: killed once, started again."""
    out = tmp_path_factory.mktemp("watched") / "training"

    def evaluate(network: object, step: int) -> dict[str, float]:
        del network
        if step == 3:
            with pytest.raises(Killed):
                watched(out, console=KilledConsole(batches=5))
            assert [len(answers(out, each)) for each in (1, 2, 3)] == [EXAMPLES, 4, 0]
            before = {each: answers(out, each) for each in (1, 2)}
            done, shown = watched(out, until=3)
            assert (done.before, done.evaluated, shown) == ((1,), (2, 3), [2, 3])
            assert done.exit_code == 0
            assert answers(out, 1) == before[1]
            assert answers(out, 2)[:4] == before[2]
            assert [len(answers(out, each)) for each in (1, 2, 3)] == [EXAMPLES] * 3
            assert not (out / "evaluations" / "networks" / "step-3").exists()
        return {"vqav2/vqa_accuracy": 50.0} if step == 2 else {}

    train(replace(saving(every_step(align_job(folder, out, steps=4)), eval_every=1), evaluate=evaluate))
    return out


def test_a_watch_ends_with_its_training_and_does_nothing_twice(training: Path) -> None:
    done, shown = watched(training)
    assert (done.before, done.evaluated, shown) == ((1, 2, 3), (4,), [4])
    assert not done.stopped
    files = {file: file.stat().st_mtime_ns for file in (training / "evaluations").glob("step-*/**/*") if file.is_file()}
    done, shown = watched(training)
    assert (done.before, done.evaluated, shown) == ((1, 2, 3, 4), (), [])
    assert {file: file.stat().st_mtime_ns for file in files} == files


def test_curve_shows_the_steps(training: Path, tmp_path: Path) -> None:
    watched(training)
    of_log, of_runs = sorted(read_curve([training]), key=lambda one: len(one.points))
    assert [(point.step, point.value, point.low) for point in of_log.points] == [(2, 50.0, None)]
    assert [point.step for point in of_runs.points] == [1, 2, 3, 4]
    for point in of_runs.points:
        results = json.loads((training / "evaluations" / f"step-{point.step}" / "results.json").read_text())
        (headline,) = [row for row in results["measurements"] if row["headline"]]
        assert point.value == 100 * headline["value"]
        assert (point.low is None) == (headline["ci_low"] is None)
    picture = tmp_path / "curve.svg"
    done = CliRunner().invoke(curve, [str(training / "evaluations"), "--svg", str(picture)])
    assert done.exit_code == 0, done.exception
    assert [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")] == [
        "step",
        *"1234",
    ]
    assert picture.read_text().count("<circle") == 4


def test_what_a_watch_refuses(training: Path, tmp_path: Path) -> None:
    with pytest.raises(OtherRun, match="demo_examples was 6, now 7"):
        watched(training, demo_examples=7)
    with pytest.raises(MissingData, match=r"holds no training\.json"):
        watched(tmp_path)
