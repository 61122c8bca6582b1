"""The best network of a training, by a headline that is measured while it is trained."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.checksums import read_checked_json, write_checked_json
from anymal_eval.errors import BadData, WrongUse
from anymal_eval.evaluation.during_training import HeadlineEvaluator
from anymal_eval.store.atomic import storage_errors, write_atomic

FOLDER, FILE = "best", "best.json"


class BestNetwork:
    """An evaluator that keeps the network with the highest value in ``OUT/best``, and says in ``best.json`` which.

    After a resume evaluations are repeated; of equal values the first stays.
    """

    def __init__(self, out: Path, task: str, evaluate: HeadlineEvaluator, save: Callable[[AnyMAL, Path], None]) -> None:
        """``task``: or ``task/output``, of the evaluated ones.

        Raises:
            BadData, WrongUse: as :func:`require_usable`.
        """
        self._out, self._task, self._evaluate, self._save = out, task, evaluate, save
        self._value = require_usable(out, task)

    def __call__(self, network: AnyMAL, step: int) -> Mapping[str, float]:
        """Evaluate, and keep the network if it is better than all before; a value that is no number is not.

        Raises:
            StorageFull: it cannot be written.
        """
        scores = self._evaluate(network, step)
        name = next((each for each in scores if _is_of(self._task, each)), None)
        if name is None or not math.isfinite(scores[name]):
            return scores
        if self._value is None or scores[name] > self._value:
            with storage_errors(self._out):
                self._save(network, self._out / FOLDER)
            self._value = scores[name]
            write_atomic(self._out / FILE, write_checked_json({"headline": name, "value": self._value, "step": step}))
        return scores


def require_evaluated(task: str, tasks: str) -> None:
    """Refuse to keep the best at a task that is not evaluated.

    Raises:
        WrongUse: naming those that are.
    """
    if task and task.partition("/")[0] not in (each.strip() for each in tasks.split(",")):
        evaluated = tasks or "none; give --eval-every and --eval-tasks"
        raise WrongUse(f"--keep-best {task}: it is not evaluated during the training; --eval-tasks are {evaluated}")


def require_usable(out: Path, task: str) -> float | None:
    """The best value of a training so far; None where there is none yet.

    Raises:
        BadData: ``best.json`` is damaged.
        WrongUse: it is of another task, or ``best`` holds something else than a checkpoint.
    """
    checkpoint.require_replaceable(out / FOLDER)
    file = out / FILE
    if not file.exists():
        return None
    found, matches = read_checked_json(file)
    if not isinstance(found, dict) or not isinstance(found.get("value"), int | float) or matches is False:
        raise BadData(f"{file}: it is damaged; delete it and {out / FOLDER} to keep the best from here on")
    name = str(found.get("headline"))
    if not _is_of(task, name):
        raise WrongUse(f"--keep-best {task}: {out / FOLDER} is the best at {name}; move it and {FILE} away")
    return float(found["value"])


def _is_of(task: str, headline: str) -> bool:
    return task in (headline, headline.partition("/")[0])
