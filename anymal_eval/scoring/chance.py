"""What a task gives to somebody who does not look: a draw from what could be said, and always the commonest answer."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anymal_eval.metrics import Metric
from anymal_eval.protocols.prompting import YES_NO
from anymal_eval.records import Answer, Example


def chance(metric: Metric, examples: Sequence[Example], rows: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The values of guessing under a task's headline metric.

    ``uniform``: choices are drawn evenly, and the value is its expectation; memes get a probability of one half; an
    open answer or a caption is another cluster's, by a fixed rotation. ``majority``: the commonest answer, always.

    Args:
        metric: the headline.
        examples: all of the run's, with references or labels.
        rows: (N,), which of them the headline is over.

    Returns:
        Two rows ``{"how", "says", "values"}``, values by output name.
    """
    groups = {
        name: np.array([example.groups.get(name, "") for example in examples], dtype=np.str_)[rows]
        for name in sorted({name for example in examples for name in example.groups})
    }
    found = []
    for how, says, stats in (
        ("uniform", "", _uniform(metric, examples)),
        ("majority", *_majority(metric, examples)),
    ):
        values = metric.reduce(stats[rows], np.ones((1, int(rows.sum()))), groups)[0]
        named = {output.name: float(value) for output, value in zip(metric.outputs, values, strict=True)}
        found.append({"how": how, "says": says, "values": named})
    return found


def _uniform(metric: Metric, examples: Sequence[Example]) -> NDArray[np.float64]:
    if examples[0].kind == "choice":
        return np.array([[1.0 / len(example.options)] for example in examples])
    if examples[0].kind == "yes_no":
        return metric.statistics(examples, [Answer(state="ok", text="no", choice=0, p_yes=0.5)] * len(examples))
    said = {example.cluster: (example.references or ("",))[0] for example in reversed(examples)}
    order = sorted(said, key=lambda name: hashlib.sha256(name.encode()).digest())
    other = dict(zip(order, order[1:] + order[:1], strict=True))
    return metric.statistics(examples, [Answer(state="ok", text=said[other[example.cluster]]) for example in examples])


def _majority(metric: Metric, examples: Sequence[Example]) -> tuple[str, NDArray[np.float64]]:
    if examples[0].kind in ("choice", "yes_no"):
        label = _commonest([str(example.label) for example in examples])
        choice = int(label)
        p_yes = float(choice) if examples[0].kind == "yes_no" else None
        says = YES_NO[choice] if examples[0].kind == "yes_no" else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[choice]
        return says, metric.statistics(
            examples, [Answer(state="ok", text=says, choice=choice, p_yes=p_yes)] * len(examples)
        )
    says = _commonest([reference for example in examples for reference in example.references or ()])
    return says, metric.statistics(examples, [Answer(state="ok", text=says)] * len(examples))


def _commonest(answers: Sequence[str]) -> str:
    # Of equally common ones the first in the alphabet, so that every machine says the same.
    counted = Counter(answers)
    return min(counted, key=lambda answer: (-counted[answer], answer))
