"""Exact match: the share of answers that are one of the references."""

from collections.abc import Callable, Sequence

import numpy as np

from anymal_eval.errors import BadDefinition
from anymal_eval.metrics import Floats, Metric, Output, weighted_mean
from anymal_eval.records import Answer, Example


def exact_match(version: str, read: Callable[[str], str], source: str) -> Metric:
    """One version of the rule; ``read`` is applied to the answer and to the references."""

    def statistics(examples: Sequence[Example], answers: Sequence[Answer]) -> Floats:
        scores = np.zeros((len(examples), 1))
        for row, (example, answer) in enumerate(zip(examples, answers, strict=True)):
            if not example.references:
                raise BadDefinition(f"example {example.id!r} has no reference answer")
            scores[row, 0] = read(answer.text) in map(read, example.references)
        return scores

    return Metric(
        name="exact_match",
        version=version,
        outputs=(Output("exact_match"),),
        statistics=statistics,
        reduce=weighted_mean,
        display=lambda stats: stats[:, 0],
        is_mean=True,
        source=source,
    )


METRIC = exact_match("1", lambda text: text, "GQA's eval.py")
"""Equal strings, as in the official script.

>>> cat = Example(id="1", cluster="1", kind="short_answer", references=("cat",))
>>> METRIC.statistics([cat, cat], [Answer(state="ok", text="cat"), Answer(state="ok", text="Cat.")]).tolist()
[[1.0], [0.0]]
"""

LLAVA_2023 = exact_match(
    "llava-2023", lambda text: text.rstrip(".").lower(), "haotian-liu/LLaVA scripts/convert_gqa_for_eval.py"
)
"""In lower case and without full stops at the end, as LLaVA prepares its answers for that script."""

VERSIONS = (METRIC, LLAVA_2023)
