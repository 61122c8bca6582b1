"""Evaluates each checkpoint of a training as it appears, also while the training is running.

Every saved state becomes a network in ``OUT/networks/step-N`` and a run in ``OUT/step-N``. The run is the record of
what is done: one that is scored is not made again, and one that was interrupted resumes. The network is deleted
afterwards.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval.checksums import read_checked_json, write_checked_json
from anymal_eval.codec import encode
from anymal_eval.errors import AnyMALEvalError, BadCheckpoint, MissingData, OtherRun, WrongUse
from anymal_eval.evaluation.plan import EvaluationPlan
from anymal_eval.evaluation.run import run
from anymal_eval.locks import hold
from anymal_eval.report.curve import EVALUATIONS, step_of
from anymal_eval.store import digests
from anymal_eval.store.atomic import storage_errors, write_atomic
from anymal_eval.store.results import FILE
from anymal_eval.training import record
from anymal_eval.training.export import export
from anymal_eval.training.load import CHECKPOINT
from anymal_eval.training.state_folders import STEPS, saved_states
from anymal_eval.training.state_folders import step_of as state_step

if TYPE_CHECKING:
    from anymal_eval.evaluation.console import Console
    from anymal_eval.evaluation.write import FinishedRun

NETWORKS, NAME, SCHEMA = "networks", "watch.json", 1
# What may differ when a watch starts again: where and how the answers are computed, and how it was typed.
_FREE = ("execution", "out", "name", "command", "allow_environment_change")


@dataclass(frozen=True, kw_only=True)
class WatchPlan:
    """What is evaluated, and until when.

    Attributes:
        training: the folder of the training.
        evaluation: the plan of each run; its model has no checkpoint yet.
        out: where the runs are written; None is ``evaluations`` in the training's folder.
        until: end when a checkpoint of this step or a later one is evaluated; None when the training has ended.
        every: seconds between two looks at the training's folder.
    """

    training: Path
    evaluation: EvaluationPlan
    out: Path | None = None
    until: int | None = None
    every: float = 10.0

    @property
    def folder(self) -> Path:
        """Where the runs are written."""
        return self.out if self.out is not None else self.training / EVALUATIONS


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a watch has done.

    Attributes:
        evaluated: the steps that this command evaluated.
        before: those that were done before.
        failed: by step, why it could not be evaluated.
        errors: how many answers are errors.
        stopped: whether the training was stopped before its end.
    """

    evaluated: tuple[int, ...]
    before: tuple[int, ...]
    failed: Mapping[int, str]
    errors: int
    stopped: bool

    @property
    def exit_code(self) -> int:
        """0, or 2 where something is lacking: answers, a checkpoint, or the end of the training."""
        return 2 if self.errors or self.failed or self.stopped else 0


def watch(plan: WatchPlan, console: Console, show: Callable[[int, FinishedRun], None]) -> Watched:
    """Evaluate the checkpoints that are there, then each new one, until the training has ended.

    Args:
        plan: what and where.
        console: takes messages and progress.
        show: takes the step and the run of each checkpoint that was evaluated.

    Raises:
        MissingData: the folder holds no training.
        OtherRun: another watch is writing there, or the folder holds evaluations with other options.
        AnyMALEvalError: the evaluation itself is wrong, whatever the checkpoint.
    """
    if not record.read(plan.training):
        raise MissingData(
            f"{plan.training} holds no {record.NAME}: watch takes the --out of a training that has started"
        )
    with _exclusive(plan.folder):
        _require_same(plan)
        return _Watch(plan, console, show).run()


class _Watch:
    """One command's work."""

    def __init__(self, plan: WatchPlan, console: Console, show: Callable[[int, FinishedRun], None]) -> None:
        self._plan, self._console, self._show = plan, console, show
        self._before = tuple(step for step in self._written() if self._is_done(step))
        self._evaluated: list[int] = []
        self._failed: dict[int, str] = {}
        self._errors = 0

    def run(self) -> Watched:
        """Evaluate until the end."""
        if self._before:
            self._console.message(f"evaluated before: {', '.join(f'step {step}' for step in self._before)}")
        waiting = False
        while True:
            # Whether it has ended is read first: what it saved before that is then seen below.
            finished, ended = self._finished(), self._has_ended()
            step = next(iter(self._open(finished)), None)
            if step is not None:
                waiting = False
                self._evaluate(step, is_final=step == finished and not self._has_state(step))
            elif self._is_reached() or ended:
                stopped = not finished and not self._is_reached()
                if stopped:
                    self._console.message(
                        f"{self._plan.training}: the training is not running and has not finished; after it has been "
                        "resumed, the same command evaluates what is new"
                    )
                return Watched(evaluated=tuple(self._evaluated), before=self._before, failed=self._failed,
                               errors=self._errors, stopped=stopped)  # fmt: skip
            else:
                if not waiting:
                    self._console.message("waiting for the next checkpoint")
                waiting = True
                time.sleep(self._plan.every)

    def _open(self, finished: int) -> list[int]:
        """The steps that can be evaluated now and are not, in their order."""
        steps = {state_step(each) for each in saved_states(self._plan.training / STEPS)}
        steps |= {step for step in self._written() if self._network(step).is_dir()}
        if finished and (self._plan.training / CHECKPOINT).is_dir():
            steps.add(finished)
        return sorted(step for step in steps if step not in self._failed and not self._is_done(step))

    def _evaluate(self, step: int, *, is_final: bool) -> None:
        network = self._network(step)
        try:
            if is_final:
                network = self._plan.training / CHECKPOINT
            elif not network.is_dir():
                for line in export(self._plan.training, network, step).messages:
                    self._console.message(line)
        except (BadCheckpoint, MissingData, WrongUse) as error:
            if not is_final and not self._has_state(step):
                self._console.message(f"step {step}: its state was deleted before it could be evaluated (--keep)")
            else:
                self._failed[step] = str(error)
                self._console.message(f"step {step}: not evaluated: {error}")
            return
        self._console.message(f"step {step}")
        plan = self._plan.evaluation
        model = replace(plan.model, model=f"anymal:{network}")
        plan = replace(plan, model=model, out=self._run(step), name=f"step-{step}")
        done = run(plan, self._console)
        self._errors += done.errors
        self._evaluated.append(step)
        shutil.rmtree(self._network(step), ignore_errors=True)
        self._show(step, done)

    def _finished(self) -> int:
        """The number of steps of a training that has finished; 0 before."""
        return int(record.read(self._plan.training).get("finished") or 0)

    def _has_ended(self) -> bool:
        """Whether no process trains: it deletes its lock at the end. A lock that a kill left is waited for."""
        lock = self._plan.training / ".lock"
        return bool(self._finished()) or not (lock.exists() or lock.with_name(".lock.lease").exists())

    def _is_reached(self) -> bool:
        until = self._plan.until
        return until is not None and any(step >= until for step in (*self._before, *self._evaluated, *self._failed))

    def _has_state(self, step: int) -> bool:
        return any(state_step(each) == step for each in saved_states(self._plan.training / STEPS))

    def _written(self) -> list[int]:
        """The steps of which there are runs, or networks, whole or not."""
        folders = [each for each in (self._plan.folder, self._plan.folder / NETWORKS) if each.is_dir()]
        found = {step_of(name) for folder in folders for name in os.listdir(folder) if name.startswith("step-")}
        return sorted(step for step in found if step is not None)

    def _is_done(self, step: int) -> bool:
        root = self._run(step)
        if not ((root / FILE).is_file() and (root / digests.FILE).is_file()):
            return False
        try:
            digests.verify(root, only=(FILE,))
        except AnyMALEvalError:  # scoring it again did not finish
            return False
        return True

    def _run(self, step: int) -> Path:
        return self._plan.folder / f"step-{step}"

    def _network(self, step: int) -> Path:
        return self._plan.folder / NETWORKS / f"step-{step}"


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    busy = f"{folder}: another watch is writing there; wait for it, stop it, or choose another --out"
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with hold(folder / ".watch.lock", busy):
            yield


def _require_same(plan: WatchPlan) -> None:
    """Compare with the options that the folder was started with, and record them.

    Raises:
        OtherRun: they differ.
    """
    file = plan.folder / NAME
    options = _options(plan.evaluation)
    if file.is_file():
        data, matches = read_checked_json(file)
        before = data.get("options") if isinstance(data, dict) else None
        if matches is False or not isinstance(before, dict):
            raise OtherRun(f"{file} is damaged; delete it to go by the runs beside it, or choose another --out")
        differing = sorted(key for key in before.keys() | options.keys() if before.get(key) != options.get(key))
        if differing:
            values = ", ".join(f"{key} was {before.get(key)!r}, now {options.get(key)!r}" for key in differing)
            raise OtherRun(f"{plan.folder}: the evaluations there have other options: {values}; choose another --out")
    write_atomic(file, write_checked_json({"schema": SCHEMA, "options": options}))


def _options(plan: EvaluationPlan) -> dict[str, Any]:
    """What must be the same for all points of a curve, as plain data."""
    found: dict[str, Any] = {}
    for key, value in encode(plan).items():
        if key not in _FREE:
            found |= value if isinstance(value, dict) and key != "overrides" else {key: value}
    found["data_root"] = os.path.abspath(plan.data.data_root)
    return {key: _plain(value) for key, value in found.items() if key not in ("device", "features")}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
