"""The record of a metric, finding one by name, and checking what it needs on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from anymal_eval import catalog
from anymal_eval.errors import BadDefinition, NotInCatalog
from anymal_eval.metrics._spice_models import missing_models
from anymal_eval.records import Answer, Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Floats: TypeAlias = "NDArray[np.float64]"
Groups: TypeAlias = "Mapping[str, NDArray[np.str_]]"


def text_array(texts: Sequence[str]) -> NDArray[np.str_]:
    r"""An array (N,) of labels. numpy's own texts lose NUL at their end: labels with one are kept as objects.

    >>> text_array(["a", "a\0"]).tolist()
    ['a', 'a\x00']
    """
    import numpy as np

    found = np.array(texts, dtype=np.str_)
    if any(text.endswith("\0") for text in texts):
        found = np.array(texts, dtype=np.object_)
    return found


@dataclass(frozen=True)
class Output:
    """One number that a metric returns. A ``fraction`` is in [0, 1]; CIDEr is as the official code returns it.

    ``title`` is its usual name, for people; by default made of ``name``.
    """

    name: str
    unit: Literal["fraction", "cider"] = "fraction"
    better: Literal["higher", "lower"] = "higher"
    title: str = ""

    @property
    def usual_name(self) -> str:
        """The name in a table for people.

        >>> Output("bleu_4", title="BLEU-4").usual_name, Output("exact_match").usual_name
        ('BLEU-4', 'exact match')
        """
        return self.title or self.name.replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number with a name and a version. Intervals and tests resample only through ``reduce``.

    Shapes: N examples · k statistics per example · B weightings · o outputs

    Attributes:
        statistics: N examples and their N answers -> (N, k). It includes failed requests, whose rows are left out
            later, because other rows may depend on their references (CIDEr's document frequencies).
        reduce: (N, k) statistics, (B, N) weights, group labels (N,) by group name -> (B, o) values.
        display: (N, k) -> (N,), a score per example, where one is defined.
        is_mean: whether the value is the weighted mean of ``display``, so that normal theory applies.
        needs: requirements: ``p_yes`` in the answers, a ``java`` runtime, SPICE's ``spice_models``.
        context: what else a row's score depends on, as text for the signature (``idf 1a2b...``).
        start: starts another program, inside ``java_programs``, and returns a function that waits for the statistics.
        source: the official code with the same values, and its commit.
    """

    name: str
    version: str
    outputs: tuple[Output, ...]
    statistics: Callable[[Sequence[Example], Sequence[Answer]], Floats]
    reduce: Callable[[Floats, Floats, Groups], Floats]
    display: Callable[[Floats], Floats] | None = None
    is_mean: bool = False
    needs: frozenset[str] = field(default_factory=frozenset)
    context: Callable[[Sequence[Example]], str] | None = None
    start: Callable[[Sequence[Example], Sequence[Answer]], Callable[[], Floats]] | None = None
    source: str = ""

    @property
    def id(self) -> str:
        """``name@version``, as task files and signatures write it."""
        return f"{self.name}@{self.version}"


def get(name: str) -> Metric:
    """The metric ``name`` or ``name@version``. A file with several versions lists them in ``VERSIONS``.

    Raises:
        NotInCatalog: no such metric, or not in that version.
    """
    file, _, version = name.partition("@")
    known = catalog.metrics()
    default = known.get(file, "METRIC", Metric)
    versions: tuple[Metric, ...] = getattr(known.module(file), "VERSIONS", (default,))
    if not version:
        return default
    for metric in versions:
        if metric.name != default.name:
            raise BadDefinition(f"{known.file(file)}: every version must be named {default.name!r}")
        if metric.version == version:
            return metric
    offered = " or ".join(metric.id for metric in versions)
    raise NotInCatalog(f"no metric named {name!r}; did you mean {offered}?")


def weighted_mean(stats: Floats, weights: Floats, groups: Groups) -> Floats:
    """The ``reduce`` of every metric that is a mean of per-example scores: (N, k), (B, N) -> (B, k).

    >>> import numpy as np
    >>> weighted_mean(np.array([[0.0], [1.0]]), np.array([[1.0, 1.0], [1.0, 3.0]]), {}).tolist()
    [[0.5], [0.75]]
    """
    del groups
    means: Floats = weights @ stats / weights.sum(axis=1, keepdims=True)
    return means


def missing_requirement(metric: Metric) -> str | None:
    """Why ``metric`` cannot be computed on this machine, for "not computed: ..."; None where it can.

    Requirements of the answers (``p_yes``) are not checked: they differ from run to run.
    """
    if "java" in metric.needs and shutil.which("java") is None:
        return "no Java runtime on the PATH"
    return missing_models() if "spice_models" in metric.needs else None
