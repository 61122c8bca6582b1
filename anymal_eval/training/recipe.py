"""Hyper-parameters: a preset holds them, and the options of ``train`` override them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from anymal_eval.catalog import Catalog
from anymal_eval.codec import decode, read_toml_table
from anymal_eval.errors import BadDefinition, WrongUse

Optim = Literal["adamw", "adamw-8bit", "adamw-paged", "adamw-paged-8bit"]
_PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyper-parameters.

    Attributes:
        steps: optimizer steps.
        batch_size: samples per step, over all processes and micro-batches.
        learning_rate: the peak.
        accumulate: micro-batches that each process splits its part of a step into; changes no result.
        warmup: steps until the peak; below 1, a fraction of all steps.
        schedule: the decay after it.
        weight_decay: AdamW's, on matrices only.
        max_grad_norm: gradients are clipped to this norm; 0 for no clipping.
        optim: AdamW, with states of 32 or 8 bits; paged ones may leave a GPU for the memory of the machine.
        rates: peak learning rates of single parts, by a medium (its projector) or ``lora``.
        freeze: parts that are not trained, by the same names.
        seed: of fresh weights, the order of the samples and dropout.
    """

    steps: int
    batch_size: int
    learning_rate: float
    accumulate: int = 1
    warmup: float = 0.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    optim: Optim = "adamw"
    rates: Mapping[str, float] = field(default_factory=dict)
    freeze: tuple[str, ...] = ()
    seed: int = 0

    @property
    def identity(self) -> dict[str, Any]:
        """What of it a result depends on; what earlier versions did not have counts where it is used alone."""
        values = dataclasses.asdict(self)
        later = ("optim", "rates", "freeze")
        return {
            name: value
            for name, value in values.items()
            if name != "accumulate" and not (name in later and value in ("adamw", {}, ()))
        }

    @property
    def warmup_steps(self) -> int:
        """The number of warm-up steps.

        >>> Recipe(steps=200, batch_size=1, learning_rate=1.0, warmup=0.1).warmup_steps
        20
        """
        return int(self.warmup * self.steps if self.warmup < 1 else self.warmup)


def resolve_recipe(preset: str | None, overrides: Mapping[str, Any]) -> Recipe:
    """A preset with overrides.

    Args:
        preset: its name; None if the overrides are the whole recipe.
        overrides: fields of the recipe.

    Raises:
        NotInCatalog: there is no such preset.
        WrongUse: a value without a default is missing, or one is out of range.
        BadDefinition: a field that the recipe does not have, or of another type.
    """
    presets = Catalog("training preset", [_PRESETS], ending=".toml")
    table = {} if preset is None else read_toml_table(presets.file(preset))
    table |= overrides
    none = dataclasses.MISSING
    required = [each.name for each in dataclasses.fields(Recipe) if each.default is each.default_factory is none]
    if missing := [name for name in required if name not in table]:
        options = ", ".join(map(_option, missing))
        raise WrongUse(f"{options}: give it, or name a --preset ({', '.join(presets.names())})")
    recipe = decode(Recipe, table, preset or "options", BadDefinition)
    for name in ("learning_rate", "warmup", "weight_decay", "max_grad_norm"):
        if not math.isfinite(getattr(recipe, name)):
            raise WrongUse(f"{_option(name)} {getattr(recipe, name)}: it must be a finite number")
    for name, least in (("steps", 1), ("batch_size", 1), ("accumulate", 1), ("warmup", 0), ("weight_decay", 0)):
        if (value := getattr(recipe, name)) < least:
            raise WrongUse(f"{_option(name)} {value}: it must be at least {least}")
    if wrong := [part for part, rate in recipe.rates.items() if not 0 < rate < float("inf")]:
        raise WrongUse(f"--rate {wrong[0]}={recipe.rates[wrong[0]]:g}: a learning rate must be above 0")
    if both := sorted(recipe.rates.keys() & set(recipe.freeze)):
        raise WrongUse(f"--rate {both[0]}: --freeze {both[0]} leaves it as it is; give one of them")
    if recipe.learning_rate <= 0 or recipe.max_grad_norm < 0:
        raise WrongUse("--learning-rate must be above 0, and --max-grad-norm must not be below 0")
    if recipe.warmup_steps > recipe.steps:
        raise WrongUse(f"--warmup {recipe.warmup:g} is longer than --steps {recipe.steps}")
    return recipe


def parse_rates(texts: Sequence[str]) -> dict[str, float]:
    """``--rate PART=RATE`` as a table.

    Raises:
        WrongUse: one is of another form, or a part stands twice.

    >>> parse_rates(["image=1e-4", "lora=2e-5"])
    {'image': 0.0001, 'lora': 2e-05}
    """
    rates: dict[str, float] = {}
    for text in texts:
        part, equals, value = text.partition("=")
        try:
            rate = float(value)
        except ValueError:
            equals = ""
        if not equals or not part or part in rates:
            raise WrongUse(f"--rate {text}: write PART=RATE, such as lora=1e-5, once for each part")
        rates[part] = rate
    return rates


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
