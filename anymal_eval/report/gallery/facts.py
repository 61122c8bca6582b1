"""Everything that is recorded of the runs of a report, for its last, folded part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anymal_eval.codec import encode
from anymal_eval.report.gallery.content import Report, RunRecord


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact, and its value in each run; empty where a run does not have it."""

    name: str
    values: Sequence[str]

    @property
    def differs(self) -> bool:
        """Whether the runs differ in it."""
        return len(set(self.values)) > 1


@dataclass(frozen=True, kw_only=True)
class FactGroup:
    """Facts of one kind."""

    title: str
    facts: Sequence[Fact]

    @property
    def differing(self) -> int:
        """How many of them differ between the runs."""
        return sum(fact.differs for fact in self.facts)


def fact_groups(report: Report) -> list[FactGroup]:
    """All facts of all runs, by kind: commands, the run's identity, model, environment, each task, digests."""
    kinds: dict[str, list[dict[str, str]]] = {}
    for at, run in enumerate(report.runs):
        for title, facts in _of(run):
            kinds.setdefault(title, [{} for _ in report.runs])[at].update(facts)
    groups = []
    for title, by_run in kinds.items():
        names = dict.fromkeys(name for facts in by_run for name in facts)
        rows = [Fact(name=name, values=[facts.get(name, "") for facts in by_run]) for name in names]
        groups.append(FactGroup(title=title, facts=rows))
    for training in report.trainings:
        rows = [Fact(name=name, values=[value]) for name, value in flattened(training.record)]
        groups.append(FactGroup(title=f"Training {training.name}", facts=rows))
    return [group for group in groups if group.facts]


def _of(run: RunRecord) -> Iterator[tuple[str, Mapping[str, str]]]:
    sessions: dict[str, str] = {}
    for number, session in enumerate(run.sessions, start=1):
        first = f"session {number}: " if len(run.sessions) > 1 else ""
        sessions |= {f"{first}{name}": value for name, value in flattened(session)}
    yield "Commands and times", sessions
    yield "Run", {"name": run.name, "model": run.model, "step": "" if run.step is None else f"{run.step:,}"}
    several = len(run.manifests) > 1
    for manifest in run.manifests:
        of = f" ({manifest.run})" if several else ""
        yield "Run", {f"recorded name{of}": manifest.run, f"schema{of}": str(manifest.schema)}
        yield f"Identity{of}", dict(flattened(manifest.identity))
        yield f"Model{of}", dict(flattened(manifest.model))
        yield f"Environment{of}", dict(flattened(manifest.environment))
        for task, entry in manifest.tasks.items():
            yield f"Task {task}{of}", dict(flattened(encode(entry)))
    yield "SHA-256 of the results' files", dict(run.digests)


def flattened(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Every value of nested data with its name.

    >>> list(flattened({"a": {"b": 1, "c": [1, 2]}, "d": None, "e": [{"f": ""}]}))
    [('a.b', '1'), ('a.c', '1, 2'), ('d', 'none'), ('e.1.f', 'empty')]
    """
    if isinstance(value, Mapping) and value:
        for key, one in value.items():
            yield from flattened(one, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(one, Mapping | list | tuple) for one in value):
        for at, one in enumerate(value, start=1):
            yield from flattened(one, f"{name}.{at}")
    else:
        yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "empty"
    if value is None:
        return "none"
    return "yes" if value is True else "no" if value is False else str(value) if value not in ("", {}) else "empty"
