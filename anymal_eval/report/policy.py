"""The policy file of ``check``: which tasks block a release, and how far each may fall."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from anymal_eval.codec import read_toml
from anymal_eval.errors import BadDefinition, MissingData

TierName = Literal["blocking", "watched"]
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """How far a task may fall before it matters.

    Attributes:
        absolute: in the metric's own unit: 0.005 is half a point of accuracy.
        relative: as a share of the value before; where both are given the tighter one applies.
    """

    absolute: float | None = None
    relative: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tier(Allowed):
    """A tier: its tasks, and the limits of those without limits of their own."""

    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A policy file.

    Attributes:
        alpha: a change is more than chance where its p-value after Holm is below it.
        allowed_missing: the largest share of examples that only one of the runs may have.
        noise: the JSON file of ``check --noise``, relative to the policy; its spread widens every limit.
        blocking: worse makes ``check`` exit with 3, cannot tell with 4.
        watched: reported, without effect on the exit code.
        limits: by task, instead of the limits of its tier.
    """

    schema: int = SCHEMA
    alpha: float = 0.05
    allowed_missing: float = 0.0
    noise: str = ""
    blocking: Tier = Tier()
    watched: Tier = Tier()
    limits: Mapping[str, Allowed] = field(default_factory=dict)

    def tier(self, task: str) -> TierName:
        """The tier of a task; a task in no tier is blocking, unless ``blocking`` lists others."""
        if task in self.blocking.tasks or not (self.blocking.tasks or task in self.watched.tasks):
            return "blocking"
        return "watched"

    def allowed(self, task: str) -> Allowed:
        """The limits of a task: its own, else its tier's."""
        tier = self.blocking if self.tier(task) == "blocking" else self.watched
        return self.limits.get(task, tier)

    @property
    def named(self) -> frozenset[str]:
        """All tasks that the policy mentions."""
        return frozenset({*self.blocking.tasks, *self.watched.tasks, *self.limits})


def read_policy(file: Path) -> Policy:
    """Read a policy file; ``noise`` becomes a path relative to the working directory.

    Raises:
        MissingData: there is no such file.
        BadDefinition: it is no TOML, has an unknown key, or is inconsistent.
    """
    if not file.is_file():
        raise MissingData(f"--policy {file}: there is no such file")
    policy = read_toml(Policy, file)
    if policy.schema > SCHEMA:
        raise BadDefinition(
            f"{file}: schema {policy.schema} is newer than the {SCHEMA} that is known; update anymal_eval"
        )
    twice = sorted(set(policy.blocking.tasks) & set(policy.watched.tasks))
    if twice:
        raise BadDefinition(f"{file}: {', '.join(twice)} cannot be blocking and watched at once")
    if not 0 < policy.alpha < 1:
        raise BadDefinition(f"{file}: alpha must lie between 0 and 1, not {policy.alpha}")
    if not 0 <= policy.allowed_missing < 1:
        raise BadDefinition(f"{file}: allowed_missing must be a share from 0 to below 1, not {policy.allowed_missing}")
    groups = {"blocking": policy.blocking, "watched": policy.watched}
    groups |= {f"limits.{task}": allowed for task, allowed in policy.limits.items()}  # type: ignore[misc]
    for where, allowed in groups.items():
        for key in ("absolute", "relative"):
            value = getattr(allowed, key)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise BadDefinition(f"{file}: {where}.{key} must be 0 or more, not {value}")
    return replace(policy, noise=str(file.parent / policy.noise) if policy.noise else "")
