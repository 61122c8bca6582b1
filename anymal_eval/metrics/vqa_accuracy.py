"""VQA accuracy: min(matching annotators / 3, 1), averaged over leaving one annotator out; four benchmarks' rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import BadDefinition
from anymal_eval.metrics import Metric, Output, once, weighted_mean
from anymal_eval.metrics._reference_texts import Form, ReferenceTexts, as_written, reference_texts
from anymal_eval.metrics._vqa_text import (
    normalise_curly,
    normalise_m4c,
    normalise_vqa,
    one_line,
    strip_punctuation,
)
from anymal_eval.records import Answer, Example


@dataclass(frozen=True)
class _Rule:
    """The normal forms in which a script compares an answer with the references.

    Attributes:
        answer, reference: the forms where annotators differ.
        alike, answer_alike: where all references are equal in the form ``alike``: their form, and the answer's. None
            where the script makes no such difference.
        annotators: how many references there must be.
    """

    answer: Form
    reference: Form
    alike: Form | None = None
    answer_alike: Form | None = None
    annotators: int | None = None


def agreement(matches: int, annotators: int) -> float:
    """The score of an answer that ``matches`` annotators gave, in [0, 1].

    Each annotator is left out in turn, and the answer scores min(others who gave it / 3, 1).

    >>> [round(agreement(n, 10), 3) for n in range(6)]
    [0.0, 0.3, 0.6, 0.9, 1.0, 1.0]
    """
    among_matching = matches * min(1.0, (matches - 1) / 3) if matches else 0.0
    return (among_matching + (annotators - matches) * min(1.0, matches / 3)) / annotators


def _matches(
    rule: _Rule, examples: Sequence[Example], answers: Sequence[Answer]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """How many annotators gave each answer, and how many there are: (N,) each."""
    texts = reference_texts(examples)
    lacking = np.flatnonzero((texts.sizes != rule.annotators) if rule.annotators else (texts.sizes == 0))
    if len(lacking):
        wanted = f"{rule.annotators} reference answers" if rule.annotators else "reference answers"
        at = int(lacking[0])
        raise BadDefinition(f"example {examples[at].id!r} has {texts.sizes[at]} of the {wanted} it needs")
    references, alike = once(texts, f"rule {id(rule)}", lambda: _compared(rule, texts))
    given, alike_given = texts.answers(answers, rule.answer, rule.answer_alike or rule.answer)
    return texts.matches(given if alike is None else np.where(alike, alike_given, given), references), texts.sizes


def _compared(rule: _Rule, texts: ReferenceTexts) -> tuple[NDArray[np.int32], NDArray[np.bool_] | None]:
    """The references as they are compared (M,), and which examples have equal ones (N,), where that matters."""
    references = texts.references(rule.reference)
    if rule.alike is None:
        return references, None
    same = texts.references(rule.alike)
    alike = texts.alike(same)
    return np.where(np.repeat(alike, texts.sizes), same, references), alike


def _statistics(rule: _Rule) -> Callable[[Sequence[Example], Sequence[Answer]], NDArray[np.float64]]:
    def statistics(examples: Sequence[Example], answers: Sequence[Answer]) -> NDArray[np.float64]:
        """The agreement of the annotators with each answer.

        Args:
            examples: N examples with ``references``, one per annotator.
            answers: N answers, in the same order; an empty one scores as the rule scores an empty text.

        Returns:
            Shape (N, 1), each in [0, 1].

        Raises:
            BadDefinition: an example has no references, or not the ten that the TextVQA rule asserts.
        """
        if len(examples) != len(answers):
            raise ValueError(f"{len(examples)} examples but {len(answers)} answers")
        if not examples:
            return np.zeros((0, 1))
        matches, annotators = _matches(rule, examples, answers)
        most = int(annotators.max()) + 1
        cases = matches * most + annotators
        score = np.zeros(most * most)
        for case in np.flatnonzero(np.bincount(cases)).tolist():
            score[case] = agreement(*divmod(case, most))
        scores: NDArray[np.float64] = score[cases][:, None]
        return scores

    return statistics


def _metric(version: str, rule: _Rule, source: str) -> Metric:
    return Metric(
        name="vqa_accuracy",
        version=version,
        outputs=(Output("vqa_accuracy", title="VQA accuracy"),),
        statistics=_statistics(rule),
        reduce=weighted_mean,
        display=lambda stats: stats[:, 0],
        is_mean=True,
        source=source,
    )


METRIC = _metric(
    "2021", _Rule(normalise_vqa, normalise_vqa, one_line, one_line), "GT-Vision-Lab/VQA vqaEval.py, commit a013f00"
)
"""The official script since March 2021.

Quirks kept on purpose: where all annotators wrote the same text, neither it nor the answer is normalised, so case and
punctuation count. Annotators are distinguished by position, as the script does by ``answer_id``. Not kept: the script
changes the annotations passed to it, so that its result depends on the number of calls.

>>> example = Example(id="1", cluster="1", kind="short_answer", references=("yes",) * 10)
>>> METRIC.statistics([example, example], [Answer(state="ok", text="yes"), Answer(state="ok", text="Yes.")]).tolist()
[[1.0], [0.0]]
"""

VQA_2016 = _metric(
    "2016",
    _Rule(normalise_vqa, strip_punctuation, as_written, normalise_vqa),
    "GT-Vision-Lab/VQA vqaEval.py, October 2016 to March 2021",
)
"""The earlier official script, which LAVIS and most papers of its time use: the answer is always normalised.

Quirk kept on purpose: references lose only their punctuation, and only where annotators differ, so that no answer can
match a reference like "two" or "the dog".
"""

TEXTVQA = _metric(
    "textvqa",
    _Rule(normalise_m4c, normalise_m4c, annotators=10),
    "facebookresearch/mmf m4c_evaluators.py, commit 2dc099a",
)
"""TextVQA's rule (M4C): both sides are normalised, ``'s`` is a separate word, and there must be ten answers."""

VIZWIZ = _metric("vizwiz", _Rule(normalise_vqa, as_written), "VizWiz API VQAEval (Qing Li)")
"""VizWiz's rule: the answer is always normalised, the references never are."""

VIZWIZ_CURLY = _metric("vizwiz-curly", _Rule(normalise_curly, as_written), "a copy of VizWiz API VQAEval (Qing Li)")
"""VizWiz's rule with curly apostrophes in the contraction table, as in one copy of the API.

Only straight apostrophes reproduce the published figures (the majority answer of VizWiz val: 94.017134); with curly
ones one of the 4,319 questions differs ("doesnt", 94.010188).
"""

VERSIONS = (METRIC, VQA_2016, TEXTVQA, VIZWIZ, VIZWIZ_CURLY)
