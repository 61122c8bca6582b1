"""VQA accuracy: min(matching annotators / 3, 1), averaged over leaving one annotator out; four benchmarks' rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import BadDefinition
from anymal_eval.metrics import Metric, Output, weighted_mean
from anymal_eval.metrics._vqa_text import (
    normalise_curly,
    normalise_m4c,
    normalise_vqa,
    one_line,
    strip_punctuation,
)
from anymal_eval.records import Answer, Example

Answers = tuple[str, ...]
Read = tuple[str, Sequence[str]]  # the answer and the references in the form in which they are compared


@dataclass
class _Memo:
    """A cached normal form: annotators often give the same text."""

    form: Callable[[str], str]
    seen: dict[str, str] = field(default_factory=dict)

    def one(self, text: str) -> str:
        found = self.seen.get(text)
        if found is None:
            found = self.seen[text] = self.form(text)
        return found

    def all(self, texts: Sequence[str]) -> list[str]:
        one, get = self.one, self.seen.get
        return [get(text) or one(text) for text in texts]


def _rule_2021() -> Callable[[str, Answers], Read]:
    plain, line = _Memo(normalise_vqa), _Memo(one_line)

    def read(answer: str, references: Answers) -> Read:
        lines = line.all(references)
        if len(set(lines)) > 1:
            return plain.one(answer), plain.all(references)
        return line.one(answer), lines

    return read


def _rule_2016() -> Callable[[str, Answers], Read]:
    plain, marks = _Memo(normalise_vqa), _Memo(strip_punctuation)

    def read(answer: str, references: Answers) -> Read:
        return plain.one(answer), marks.all(references) if len(set(references)) > 1 else references

    return read


def _rule_textvqa() -> Callable[[str, Answers], Read]:
    plain = _Memo(normalise_m4c)
    return lambda answer, references: (plain.one(answer), plain.all(references))


def _rule_vizwiz(form: Callable[[str], str]) -> Callable[[str, Answers], Read]:
    plain = _Memo(form)
    return lambda answer, references: (plain.one(answer), references)


def agreement(matches: int, annotators: int) -> float:
    """The score of an answer that ``matches`` annotators gave, in [0, 1].

    Each annotator is left out in turn, and the answer scores min(others who gave it / 3, 1).

    >>> [round(agreement(n, 10), 3) for n in range(6)]
    [0.0, 0.3, 0.6, 0.9, 1.0, 1.0]
    """
    among_matching = matches * min(1.0, (matches - 1) / 3) if matches else 0.0
    return (among_matching + (annotators - matches) * min(1.0, matches / 3)) / annotators


def _statistics(
    rule: Callable[[], Callable[[str, Answers], Read]], annotators: int | None = None
) -> Callable[[Sequence[Example], Sequence[Answer]], NDArray[np.float64]]:
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
        read = rule()
        table: dict[tuple[int, int], float] = {}
        scores = np.zeros((len(examples), 1))
        for row, (example, answer) in enumerate(zip(examples, answers, strict=True)):
            references = example.references
            if not references or (annotators and len(references) != annotators):
                wanted = f"{annotators} reference answers" if annotators else "reference answers"
                raise BadDefinition(f"example {example.id!r} has {len(references or ())} of the {wanted} it needs")
            text, others = read(answer.text, references)
            key = (others.count(text), len(others))
            score = table.get(key)
            if score is None:
                score = table[key] = agreement(*key)
            scores[row, 0] = score
        return scores

    return statistics


def _metric(
    version: str, rule: Callable[[], Callable[[str, Answers], Read]], source: str, annotators: int | None = None
) -> Metric:
    return Metric(
        name="vqa_accuracy",
        version=version,
        outputs=(Output("vqa_accuracy", title="VQA accuracy"),),
        statistics=_statistics(rule, annotators),
        reduce=weighted_mean,
        display=lambda stats: stats[:, 0],
        is_mean=True,
        source=source,
    )


METRIC = _metric("2021", _rule_2021, "GT-Vision-Lab/VQA vqaEval.py, commit a013f00")
"""The official script since March 2021.

Quirks kept on purpose: where all annotators wrote the same text, neither it nor the answer is normalised, so case and
punctuation count. Annotators are distinguished by position, as the script does by ``answer_id``. Not kept: the script
changes the annotations passed to it, so that its result depends on the number of calls.

>>> example = Example(id="1", cluster="1", kind="short_answer", references=("yes",) * 10)
>>> METRIC.statistics([example, example], [Answer(state="ok", text="yes"), Answer(state="ok", text="Yes.")]).tolist()
[[1.0], [0.0]]
"""

VQA_2016 = _metric("2016", _rule_2016, "GT-Vision-Lab/VQA vqaEval.py, October 2016 to March 2021")
"""The earlier official script, which LAVIS and most papers of its time use: the answer is always normalised.

Quirk kept on purpose: references lose only their punctuation, and only where annotators differ, so that no answer can
match a reference like "two" or "the dog".
"""

TEXTVQA = _metric("textvqa", _rule_textvqa, "facebookresearch/mmf m4c_evaluators.py, commit 2dc099a", annotators=10)
"""TextVQA's rule (M4C): both sides are normalised, ``'s`` is a separate word, and there must be ten answers."""

VIZWIZ = _metric("vizwiz", partial(_rule_vizwiz, normalise_vqa), "VizWiz API VQAEval (Qing Li)")
"""VizWiz's rule: the answer is always normalised, the references never are."""

VIZWIZ_CURLY = _metric("vizwiz-curly", partial(_rule_vizwiz, normalise_curly), "a copy of VizWiz API VQAEval (Qing Li)")
"""VizWiz's rule with curly apostrophes in the contraction table, as in one copy of the API.

Only straight apostrophes reproduce the published figures (the majority answer of VizWiz val: 94.017134); with curly
ones one of the 4,319 questions differs ("doesnt", 94.010188).
"""

VERSIONS = (METRIC, VQA_2016, TEXTVQA, VIZWIZ, VIZWIZ_CURLY)
