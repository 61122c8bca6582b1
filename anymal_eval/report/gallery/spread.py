"""What the plots of single answers show: probabilities, lengths and scores, over all examples of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anymal_eval.records import Example

SMALLEST = 20  # a distribution of fewer answers is no picture of a model
CIDER = "cider@1"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Of one run on one task; each is empty where it means nothing.

    Attributes:
        truth, p_yes: of questions with yes or no, the label (1: yes) and the probability given to yes.
        right, confidence: of choices by log-probabilities, whether the model's option is the right one, and its share
            of the probability of all options.
        lengths: the words of each caption.
        scores: CIDEr of each caption, as the official code returns it.
    """

    truth: Sequence[int] = ()
    p_yes: Sequence[float] = ()
    right: Sequence[int] = ()
    confidence: Sequence[float] = ()
    lengths: Sequence[int] = ()
    scores: Sequence[float] = ()


def spread(examples: Iterable[Example], rows: Mapping[str, Mapping[str, Any]], *, by_token: bool = False) -> Spread:
    """Collect the values of all answers but errors.

    Args:
        examples: of the task.
        rows: of ``scores.jsonl``, by example id.
        by_token: whether options were ranked by log-probability per token, which gives no probabilities.
    """
    binary: list[tuple[int, float]] = []
    chosen: list[tuple[int, float]] = []
    lengths: list[int] = []
    scores: list[float] = []
    for example in examples:
        if example.kind != "caption" and example.label is None:
            continue
        row = rows.get(example.id)
        if row is None or row["state"] == "error":
            continue
        if example.kind == "caption":
            lengths.append(len(str(row["answer"]).split()))
            if CIDER in row["scores"]:
                scores.append(float(row["scores"][CIDER]))
        elif example.label is not None and row.get("p_yes") is not None:
            binary.append((int(example.label), float(row["p_yes"])))
        elif example.label is not None and not by_token and isinstance(row.get("raw"), list):
            share = confidence(row["raw"])
            if share is not None:
                chosen.append((int(row.get("choice") == example.label), share))
    return Spread(
        truth=[label for label, _ in binary],
        p_yes=[p for _, p in binary],
        right=[hit for hit, _ in chosen],
        confidence=[share for _, share in chosen],
        lengths=lengths,
        scores=scores,
    )


def confidence(log_p: Sequence[float]) -> float | None:
    """The share of the likeliest option in the probability of all; None where a log-probability is not finite.

    >>> confidence([-1.0, -1.0, -1.0, -1.0])
    0.25
    """
    if not log_p or not all(isinstance(value, int | float) and math.isfinite(value) for value in log_p):
        return None
    top = max(log_p)
    return 1 / sum(math.exp(value - top) for value in log_p)
