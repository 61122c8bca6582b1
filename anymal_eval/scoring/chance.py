"""Chance levels of a task: the scores of a random draw, and of always the most frequent answer."""

import hashlib
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anymal_eval.metrics import Metric
from anymal_eval.protocols.prompting import YES_NO
from anymal_eval.records import Answer, Example
from anymal_eval.scoring.columns import group_labels


def chance(metric: Metric, examples: Sequence[Example], rows: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The values of guessed answers under a task's headline metric.

    ``uniform``: the expected value of a uniform draw among the options; memes get a probability of one half; open
    answers and captions are those of another cluster, by a fixed rotation. ``majority``: always the most frequent
    answer.

    Args:
        metric: the headline metric.
        examples: all examples of the run, with references or labels.
        rows: (N,), True for the examples that the headline covers.

    Returns:
        Two rows ``{"how", "says", "values"}``; values by output name.
    """
    # A mean needs no groups, as where it is measured.
    groups = {} if metric.is_mean else {name: labels[rows] for name, labels in group_labels(examples).items()}
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
    texts = {example.cluster: (example.references or ("",))[0] for example in reversed(examples)}
    order = sorted(texts, key=lambda name: hashlib.sha256(name.encode()).digest())
    other = dict(zip(order, order[1:] + order[:1], strict=True))
    answers = {text: Answer(state="ok", text=text) for text in texts.values()}
    return metric.statistics(examples, [answers[texts[other[example.cluster]]] for example in examples])


def _majority(metric: Metric, examples: Sequence[Example]) -> tuple[str, NDArray[np.float64]]:
    if examples[0].kind in ("choice", "yes_no"):
        choice = int(_most_frequent([str(example.label) for example in examples]))
        p_yes = float(choice) if examples[0].kind == "yes_no" else None
        says = YES_NO[choice] if examples[0].kind == "yes_no" else string.ascii_uppercase[choice]
        return says, metric.statistics(
            examples, [Answer(state="ok", text=says, choice=choice, p_yes=p_yes)] * len(examples)
        )
    says = _most_frequent(chain.from_iterable(example.references or () for example in examples))
    return says, metric.statistics(examples, [Answer(state="ok", text=says)] * len(examples))


def _most_frequent(answers: Iterable[str]) -> str:
    # Ties go to the first in sorted order, so that every machine gives the same answer.
    counted = Counter(answers)
    return min(counted, key=lambda answer: (-counted[answer], answer))
