"""The best network of a training, by a headline that is measured while it is trained."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.checksums import read_checked_json, write_checked_json
from anymal_eval.errors import BadData, WrongUse
from anymal_eval.evaluation.during_training import Better, HeadlineEvaluator
from anymal_eval.store.atomic import storage_errors, write_atomic

FOLDER, FILE = "best", "best.json"
SaveNetwork = Callable[[AnyMAL, Path], None]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A number that is evaluated during a training: ``name`` is ``task/output``."""

    name: str
    better: Better = "higher"

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value is strictly better.

        >>> Headline(name="coco/cider").is_better(2, 1), Headline(name="a/error", better="lower").is_better(2, 1)
        (True, False)
        """
        return value < than if self.better == "lower" else value > than


class BestNetwork:
    """An evaluator that keeps the network with the best value in ``OUT/best``, and says in ``best.json`` which.

    After a resume evaluations may be repeated; of equal values the first stays.
    """

    def __init__(self, out: Path, headline: Headline, evaluate: HeadlineEvaluator, save: SaveNetwork) -> None:
        """Start with the best value so far.

        Raises:
            BadData, WrongUse: as :func:`require_usable`.
        """
        self._out, self._headline, self._evaluate, self._save = out, headline, evaluate, save
        self._value = require_usable(out, headline)

    def __call__(self, network: AnyMAL, step: int) -> Mapping[str, float]:
        """Evaluate, and keep the network if it is better than all before; a value that is no number is not.

        Raises:
            StorageFull: it cannot be written.
        """
        scores = self._evaluate(network, step)
        value = scores.get(self._headline.name, math.nan)
        if math.isfinite(value) and (self._value is None or self._headline.is_better(value, self._value)):
            with storage_errors(self._out):
                self._save(network, self._out / FOLDER)
            self._value = value
            content = {"headline": self._headline.name, "value": value, "step": step}
            write_atomic(self._out / FILE, write_checked_json(content))
        return scores


def headline_of(wanted: str, outputs: Mapping[str, Better]) -> Headline:
    """The headline that ``--keep-best`` names: a task's, or ``task/output``.

    Args:
        wanted: the option.
        outputs: what is evaluated during the training.

    Raises:
        WrongUse: it is not evaluated; the message names what is.
    """
    name = next((each for each in outputs if wanted in (each, each.partition("/")[0])), None)
    if name is None:
        evaluated = ", ".join(outputs) or "nothing; give --eval-every and --eval-tasks"
        raise WrongUse(f"--keep-best {wanted}: it is not evaluated during the training, but {evaluated}")
    return Headline(name=name, better=outputs[name])


def require_usable(out: Path, headline: Headline) -> float | None:
    """The best value of a training so far; None where there is none yet.

    Raises:
        BadData: ``best.json`` is damaged.
        WrongUse: it is of another headline, or ``best`` holds something else than a checkpoint.
    """
    checkpoint.require_replaceable(out / FOLDER)
    file = out / FILE
    if not file.exists():
        return None
    found, matches = read_checked_json(file)
    if not isinstance(found, dict) or not isinstance(found.get("value"), int | float) or matches is False:
        raise BadData(f"{file}: it is damaged; delete it and {out / FOLDER} to keep the best from here on")
    name = str(found.get("headline"))
    if name != headline.name:
        raise WrongUse(f"--keep-best {headline.name}: {out / FOLDER} is the best at {name}; move it and {FILE} away")
    return float(found["value"])
