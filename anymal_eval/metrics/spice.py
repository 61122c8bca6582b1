"""SPICE of captions, with the jar of pycocoevalcap and models from a folder that the user names."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import NeedsExtra
from anymal_eval.locks import temporary
from anymal_eval.metrics import Metric, Output, weighted_mean
from anymal_eval.metrics._captions import Captions, ptb_context, read_captions
from anymal_eval.metrics._java import jar_folder, java_programs, programs
from anymal_eval.metrics._spice_models import ORIGIN, missing_models, models_folder
from anymal_eval.records import Answer, Example


class _Job:
    """The jar at work on captions, or its scores of them."""

    def __init__(self, captions: Captions, wait: Callable[[], NDArray[np.float64]]) -> None:
        self.captions = captions
        self._wait = wait
        self._found: NDArray[np.float64] | None = None

    def scores(self) -> NDArray[np.float64]:
        if self._found is None:
            self._found = self._wait()
        return self._found.copy()

    def forget_unless_done(self) -> None:
        if self._found is None and self in _LAST:
            _LAST.remove(self)


_LAST: list[_Job] = []  # parsing takes minutes, and SPIDEr needs the same scores


def statistics(examples: Sequence[Example], answers: Sequence[Answer]) -> NDArray[np.float64]:
    """The F-score of the scene-graph tuples of each answer.

    Args:
        examples: N examples with references.
        answers: N answers, in the same order.

    Returns:
        Shape (N, 1), each in [0, 1]; NaN where the jar returns no number, as in the official code.

    Raises:
        BadDefinition: an example has no references.
        NeedsJava: there is no Java runtime.
        NeedsExtra: the models are not in the folder that ``ANYMAL_EVAL_SPICE`` names, or the jar failed.

    Source:
        salaniz/pycocoevalcap 1.2 ``spice/spice.py``, SPICE 1.0 with CoreNLP 3.6.0; its cache of parses is not used.
    """
    with java_programs():
        return start(examples, answers)()


def start(examples: Sequence[Example], answers: Sequence[Answer]) -> Callable[[], NDArray[np.float64]]:
    """Give the captions to the jar, and return a function that waits for what :func:`statistics` returns."""
    absent, folder = missing_models(), models_folder()
    if absent or folder is None:
        raise NeedsExtra(f"{absent}; {ORIGIN}")
    captions = read_captions(examples, answers)
    if not _LAST or _LAST[0].captions != captions:
        _LAST[:] = [_Job(captions, _start(captions, folder.resolve()))]
        programs().stack.callback(_LAST[0].forget_unless_done)
    return _LAST[0].scores


def _start(captions: Captions, models: Path) -> Callable[[], NDArray[np.float64]]:
    rows = [
        {"image_id": row, "test": answer, "refs": list(references)}
        for row, (answer, references) in enumerate(zip(captions.answers, captions.references, strict=True))
    ]
    if not rows:
        return lambda: np.full((0, 1), np.nan)
    jars = jar_folder("spice")
    classes = os.pathsep.join((str(jars / "spice-1.0.jar"), str(jars / "lib" / "*"), str(models / "*")))
    made = programs().stack.enter_context(temporary("spice-"))
    inputs, outputs = made / "in.json", made / "out.json"
    inputs.write_text(json.dumps(rows), encoding="utf-8")
    options = ("-out", str(outputs), "-subset", "-silent")
    wait = programs().start(("-Xmx8G", "-cp", classes, "edu.anu.spice.SpiceScorer", str(inputs), *options), jars)

    def scores() -> NDArray[np.float64]:
        wait()
        results = json.loads(outputs.read_text(encoding="utf-8")) if outputs.is_file() else []
        return _read(results, len(rows))

    return scores


def _read(results: Sequence[Mapping[str, Any]], wanted: int) -> NDArray[np.float64]:
    if len(results) != wanted:
        raise NeedsExtra(f"spice-1.0.jar gave {len(results)} scores to {wanted} captions")
    scores = np.full((wanted, 1), np.nan)
    for item in results:
        value = item["scores"]["All"]["f"]
        scores[int(item["image_id"]), 0] = np.nan if value is None else float(value)
    return scores


METRIC = Metric(
    name="spice",
    version="1",
    outputs=(Output("spice", title="SPICE"),),
    statistics=statistics,
    start=start,
    reduce=weighted_mean,
    display=lambda stats: stats[:, 0],
    is_mean=True,
    needs=frozenset({"java", "spice_models"}),
    context=lambda examples: ptb_context(),
    source="salaniz/pycocoevalcap 1.2 spice (SPICE 1.0)",
)
