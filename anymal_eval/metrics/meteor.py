"""METEOR 1.5 of captions, with the jar of pycocoevalcap."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import NeedsExtra
from anymal_eval.metrics import Groups, Metric, Output
from anymal_eval.metrics._captions import ptb_context, read_captions
from anymal_eval.metrics._java import jar_folder, java_programs, programs
from anymal_eval.records import Answer, Example

COLUMNS = 23
STAGES = np.array([1.0, 0.6, 0.8, 0.6])  # weights of exact, stem, synonym and paraphrase matches
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75  # the jar's values for English, task "rank"
_COMMAND = ("-Xmx2G", "-jar", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm")


def statistics(examples: Sequence[Example], answers: Sequence[Answer]) -> NDArray[np.float64]:
    """The jar's counts of words, matches and chunks against the best-matching reference.

    Args:
        examples: N examples with references.
        answers: N answers, in the same order.

    Returns:
        Shape (N, 23), whole numbers: words of the answer and of the reference; function words of both; for each of
        four stages the content words matched in both and the function words matched in both; chunks; words matched
        in both. An answer that matches completely in one chunk has 0 chunks, because the jar has no penalty for it,
        neither for a caption nor in a corpus.

    Raises:
        BadDefinition: an example has no references.
        NeedsJava: there is no Java runtime.
        NeedsExtra: the jar failed.

    Source:
        salaniz/pycocoevalcap 1.2 ``meteor/meteor.py`` (``-l en -norm``, references joined by ``|||``).
    """
    with java_programs():
        return start(examples, answers)()


def start(examples: Sequence[Example], answers: Sequence[Answer]) -> Callable[[], NDArray[np.float64]]:
    """Give the captions to the jar, and return a function that waits for what :func:`statistics` returns."""
    captions = read_captions(examples, answers)
    lines = []
    for answer, references in zip(captions.answers, captions.references, strict=True):
        text = answer.replace("|||", "").replace("  ", " ")
        lines.append(" ||| ".join(("SCORE", *references, text)) + "\n")
    if not lines:
        return lambda: np.zeros((0, COLUMNS))
    answered = programs().answers(_COMMAND, jar_folder("meteor"), lines)
    return lambda: _counts(answered(), len(lines))


def _counts(lines: Sequence[str], wanted: int) -> NDArray[np.float64]:
    table = [[float(number) for number in line.split()] for line in lines]
    if len(table) != wanted or any(len(row) != COLUMNS for row in table):
        raise NeedsExtra(f"meteor-1.5.jar answered {len(table)} lines of counts to {wanted} captions")
    stats = np.array(table).reshape(wanted, COLUMNS)
    whole = (stats[:, 21] == stats[:, 0]) & (stats[:, 22] == stats[:, 1]) & (stats[:, 20] == 1)
    stats[whole, 20] = 0.0
    return stats


def _share(
    matched: NDArray[np.float64], words: NDArray[np.float64], function: NDArray[np.float64]
) -> NDArray[np.float64]:
    weight = DELTA * (words - function) + (1 - DELTA) * function
    return np.divide(matched, weight, out=np.zeros_like(matched), where=weight > 0)


def formula(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts (..., 23) -> METEOR (...), in [0, 1].

    >>> round(float(formula(np.array([2, 4, 1, 1, 1, 1, 1, 1, *[0] * 12, 1, 2, 2.0]))), 12)
    0.209964686603
    """
    stages = counts[..., 4:20].reshape(*counts.shape[:-1], 4, 4)
    matched = DELTA * stages[..., :2] + (1 - DELTA) * stages[..., 2:]  # (..., stage, answer or reference)
    matched = (STAGES[:, None] * matched).sum(axis=-2)
    precision = _share(matched[..., 0], counts[..., 0], counts[..., 2])
    recall = _share(matched[..., 1], counts[..., 1], counts[..., 3])
    mixed = ALPHA * precision + (1 - ALPHA) * recall
    mean = np.divide(precision * recall, mixed, out=np.zeros_like(mixed), where=mixed > 0)
    words = (counts[..., 21] + counts[..., 22]) / 2
    pieces = np.divide(counts[..., 20], words, out=np.zeros_like(words), where=words > 0)
    score: NDArray[np.float64] = mean * (1 - GAMMA * pieces**BETA)
    return score


def reduce(stats: NDArray[np.float64], weights: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
    """METEOR of the weighted sums of the counts, as the jar scores a corpus.

    Args:
        stats: Shape (N, 23).
        weights: Shape (B, N).
        groups: Not used.

    Returns:
        Shape (B, 1), in [0, 1].
    """
    del groups
    return formula(weights @ stats)[:, None]


METRIC = Metric(
    name="meteor",
    version="1.5",
    outputs=(Output("meteor", title="METEOR"),),
    statistics=statistics,
    start=start,
    reduce=reduce,
    display=formula,
    needs=frozenset({"java"}),
    context=lambda examples: ptb_context(),
    source="salaniz/pycocoevalcap 1.2 meteor (METEOR 1.5)",
)
