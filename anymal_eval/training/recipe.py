"""How long, how fast and in what order it is learnt: what a preset holds and every option of the command overrides."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anymal_eval.catalog import Catalog
from anymal_eval.codec import decode, read_toml_table
from anymal_eval.errors import BadDefinition, WrongUse

Schedule = Literal["cosine", "linear", "constant"]
_PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyper-parameters.

    Attributes:
        steps: of the optimiser.
        batch_size: samples of one step, over all processes and all parts.
        accumulate: parts that each process computes its share of a step in; no result depends on it.
        learning_rate: at its highest.
        warmup: steps in which it rises to that, or below 1 their share of all steps.
        schedule: how it falls afterwards.
        weight_decay: AdamW's, on matrices only.
        max_grad_norm: gradients are scaled down to it; 0 leaves them.
        seed: of fresh weights, the samples' order and dropout.
    """

    steps: int
    batch_size: int
    learning_rate: float
    accumulate: int = 1
    warmup: float = 0.0
    schedule: Schedule = "cosine"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    seed: int = 0

    @property
    def warmup_steps(self) -> int:
        """How many steps the learning rate rises.

        >>> Recipe(steps=200, batch_size=1, learning_rate=1.0, warmup=0.1).warmup_steps
        20
        """
        return int(self.warmup * self.steps if self.warmup < 1 else self.warmup)


def presets() -> list[str]:
    """All presets, sorted."""
    return sorted(file.stem for file in _PRESETS.glob("*.toml"))


def recipe(preset: str | None, given: Mapping[str, Any]) -> Recipe:
    """A preset with what was given besides it.

    Args:
        preset: its name; None for what was given alone.
        given: fields of a recipe; None where they were not.

    Raises:
        NotInCatalog: there is no such preset.
        WrongUse: without a preset, something that has no default was not given; or a number that cannot be.
        BadDefinition: the preset is not one.
    """
    table: dict[str, Any] = {}
    if preset is not None:
        file = Catalog("training preset", [_PRESETS], ending=".toml").file(preset)
        table = read_toml_table(file)
    table |= {name: value for name, value in given.items() if value is not None}
    lacking = [
        field.name
        for field in dataclasses.fields(Recipe)
        if field.default is dataclasses.MISSING and field.name not in table
    ]
    if lacking:
        asked = ", ".join("--" + name.replace("_", "-") for name in lacking)
        raise WrongUse(f"{asked}: give it, or name a --preset ({', '.join(presets())})")
    return _checked(decode(Recipe, table, preset or "options", BadDefinition))


def _checked(made: Recipe) -> Recipe:
    for name, least in (("steps", 1), ("batch_size", 1), ("accumulate", 1), ("warmup", 0), ("weight_decay", 0)):
        if getattr(made, name) < least:
            raise WrongUse(f"--{name.replace('_', '-')} {getattr(made, name)}: it must be at least {least}")
    if made.learning_rate <= 0 or made.max_grad_norm < 0:
        raise WrongUse("--learning-rate must be above 0 and --max-grad-norm not below it")
    if made.warmup_steps > made.steps:
        raise WrongUse(f"--warmup {made.warmup:g} is longer than --steps {made.steps}")
    return made
