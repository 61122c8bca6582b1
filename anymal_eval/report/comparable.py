"""The one notion of comparable: why two measurements of a task may not be compared.

``check``, ``compare``, ``table`` (its ranks and its gains), ``check --noise`` and the report all call :func:`refusal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from anymal_eval.codec import encode
from anymal_eval.store.differences import in_words
from anymal_eval.store.manifest import TaskEntry
from anymal_eval.store.results import Measurement, Results
from anymal_eval.store.stored import StoredRun

# Where the data come from and how many there are: other keys show whether the data are the same. And the remark on the
# model, in which the two runs may differ: ``check`` prints it next to its verdicts.
NOT_COMPARED = frozenset({"source", "content", "n_split", "n_expected", "labelled", "remark"})
# Not compared where both runs hold the same questions with the same answers: official files and a copy on the hub name
# media and examples in their own ways.
SAME_CONTENT = frozenset({"data", "examples"})
# Always different when one run has fewer examples; the examples are matched one by one instead.
BY_SUBSET = frozenset({"n", "subset", "prompts"})


class Comparable(Protocol):
    """One task of a run, as far as its conditions go."""

    @property
    def entry(self) -> TaskEntry | None:
        """The entry of the manifest; None where only results are known."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """The manifest's identity; empty where there is none."""
        ...

    @property
    def headline(self) -> Measurement | None:
        """The measurement to compare."""
        ...

    @property
    def why_not(self) -> str:
        """Why there is no headline."""
        ...

    @property
    def errors(self) -> int:
        """The number of failed requests."""
        ...

    @property
    def requested(self) -> int:
        """The number of examples requested."""
        ...


@dataclass(frozen=True, kw_only=True)
class MeasuredTask:
    """A measurement with the conditions that its run folder states."""

    headline: Measurement
    errors: int
    entry: TaskEntry | None = None
    identity: Mapping[str, Any]
    why_not: str = ""

    @property
    def requested(self) -> int:
        """The number of examples requested."""
        return self.headline.requested


class RunConditions:
    """The conditions of one run's measurements."""

    def __init__(self, results: Results, run: StoredRun | None = None) -> None:
        """``run`` is None where there are only results."""
        manifest = run.whole_manifest if run is not None else None
        self._tasks: Mapping[str, TaskEntry] = manifest.tasks if manifest is not None else {}
        self._identity: Mapping[str, Any] = manifest.identity if manifest is not None else {}
        self._results = results

    def of(self, item: Measurement) -> MeasuredTask:
        """One measurement with its conditions."""
        # A failed request counts wherever it is: a headline over a group may have none itself.
        rows = [row for row in self._results.measurements if row.task == item.task and row.group is None]
        errors = max(row.states.get("error", 0) for row in (item, *rows))
        identity = self._identity or {"ablate": self._results.run.ablate}
        return MeasuredTask(headline=item, errors=errors, entry=self._tasks.get(item.task), identity=identity)


def refusal(
    before: Comparable, after: Comparable, *, named: tuple[str, str] = ("base", "run"), by_subset: bool = False
) -> str:
    """Why two measurements of one task may not be compared; empty where they may.

    Args:
        before, after: the same task of two runs.
        named: what the message calls them.
        by_subset: ignore keys that differ because one run has fewer examples, which the caller matches by id.
    """
    both = list(zip(named, (before, after), strict=True))
    if not (before.requested and after.requested):
        return "a run holds no example"
    for which, item in both:
        if item.errors:
            return f"{item.errors:,} of {item.requested:,} answers of the {which} are errors; run it again"
    found = differences(before, after, by_subset=by_subset)
    if found:
        return differences_text(found, before, after)
    for which, item in both:
        if item.headline is None:
            return f"the {which} has no headline number: {item.why_not}"
    return ""


def differences(before: Comparable, after: Comparable, *, by_subset: bool = False) -> dict[str, tuple[Any, Any]]:
    """The conditions in which two runs differ and that could change a number without any change of the model.

    Args:
        before, after: the same task of two runs.
        by_subset: ignore keys that differ because one run has fewer examples.

    Returns:
        Before and after by key (``reading.clean``), in a fixed order; empty where the runs are comparable.
    """
    with_entry = before.entry is not None and after.entry is not None
    one, other = (_conditions(item, with_entry) for item in (before, after))
    left_out = NOT_COMPARED | (BY_SUBSET if by_subset else frozenset())
    # Of the same kind of data the examples are compared whole, with their media.
    same_content = (
        bool(one.get("content")) and one.get("content") == other.get("content") and one["data"] != other["data"]
    )
    left_out |= SAME_CONTENT if same_content else frozenset()
    found = {
        key: (one.get(key), other.get(key))
        for key in dict.fromkeys((*one, *other))
        if key not in left_out and one.get(key) != other.get(key)
    }
    if not found and before.headline is not None and after.headline is not None:
        # The signature also covers conditions without a key (CIDEr's document frequencies).
        signed = [_signature(item, item.headline, by_subset) for item in (before, after) if item.headline]
        if same_content:
            signed = [[part for part in parts if part != f"{item.headline.data} {item.headline.split}"]
                      for item, parts in zip((before, after), signed, strict=True) if item.headline]  # fmt: skip
        if signed[0] != signed[1]:
            found["signature"] = tuple(" | ".join(p for p in parts if p not in signed[1 - at])
                                       for at, parts in enumerate(signed))  # type: ignore[assignment]  # fmt: skip
    return found


def differences_text(
    found: Mapping[str, tuple[Any, Any]], before: Comparable | None = None, after: Comparable | None = None
) -> str:
    """Differing keys with both values, for a message; numbers of examples in place of hashes of them.

    >>> differences_text({"protocol": ("plain", "demo")})
    "protocol was 'plain', is 'demo'"
    """
    one, other = (
        {**_counted(run), **{key: values[at] for key, values in found.items()}}
        for at, run in enumerate((before, after))
    )
    return in_words(one, other, found, "is")


def _counted(run: Comparable | None) -> dict[str, Any]:
    entry = run.entry if run is not None else None
    return {} if entry is None else {"n": entry.n, "source": entry.source}


def _conditions(run: Comparable, with_entry: bool) -> dict[str, Any]:
    item = run.headline
    found: dict[str, Any] = {}
    if with_entry:
        entry = encode(run.entry)
        reading = entry.pop("reading")
        found = {**entry, **{f"reading.{key}": value for key, value in sorted(reading.items())}}
        found |= {key: run.identity.get(key) for key in ("ablate", "ptb")}
    elif item is not None:
        found = {"split": item.split, "data": item.data, "protocol": item.protocol, "n": item.requested,
                 "ablate": run.identity.get("ablate", "none")}  # fmt: skip
    if item is not None:
        found |= {"metric": item.label, "group": item.group}
    return found


def _signature(run: Comparable, headline: Measurement, by_subset: bool) -> list[str]:
    """The parts to compare: without the remark, because the two may differ in the model."""
    remark = run.entry.remark if run.entry is not None else ""
    parts = headline.signature.removesuffix(f" | {remark}").split(" | ")
    return [part for part in parts if not (by_subset and part.startswith("subset "))]
