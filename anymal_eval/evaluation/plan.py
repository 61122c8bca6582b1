"""What a user wants evaluated: one record, made of the options of ``run`` under the same names."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from anymal_eval.engine import EngineSettings
from anymal_eval.errors import WrongUse
from anymal_eval.models import Model
from anymal_eval.protocols.overrides import NONE, Overrides
from anymal_eval.sources.dataset import DataOptions
from anymal_eval.task import Task


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and how it is loaded.

    Attributes:
        model: ``NAME[:CHECKPOINT]``, ``package.module:Class``, or a model itself; None is the demo model.
        options: the model's own, as ``-o KEY=VALUE`` gives them.
        device, precision, quantize, media_timeout, media_budget, features: options that many models share; None where
            not given.
    """

    model: str | Model | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    device: str | None = None
    precision: str | None = None
    quantize: str | None = None
    media_timeout: float | None = None
    media_budget: float | None = None
    features: str | Path | None = None

    @property
    def shared(self) -> dict[str, str]:
        """The options that many models share, where they were given."""
        values = {
            "device": self.device,
            "precision": self.precision,
            "quantize": self.quantize,
            "media_timeout": None if self.media_timeout is None else f"{self.media_timeout:g}",
            "media_budget": None if self.media_budget is None else f"{self.media_budget:g}",
            "features": None if self.features is None else str(self.features),
        }
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """How the answers are computed; in fp32 none of it changes an answer."""

    batch_size: str | int = "auto"
    threads: int = 4
    max_errors: str | int | None = None
    engine: Literal["local", "ray"] = "local"
    workers: int = 2
    gpus_per_worker: float = 0.0
    address: str | None = None

    def settings(self, examples: int) -> EngineSettings:
        """The engine's settings for a task of so many examples.

        Raises:
            WrongUse: ``batch_size`` is neither auto nor a number, ``max_errors`` neither a number nor a percentage, or
                an option is Ray's and the engine is not.
        """
        of_ray = [item for item in dataclasses.fields(self) if item.name in ("workers", "gpus_per_worker", "address")]
        for item in of_ray if self.engine == "local" else ():
            if (value := getattr(self, item.name)) != item.default:
                option = item.name.replace("_", "-")
                raise WrongUse(f"--{option} {value} has no effect without --engine ray: one process answers")
        size = str(self.batch_size)
        if size != "auto" and not (size.isdecimal() and int(size) > 0):
            raise WrongUse(f"--batch-size {size}: write auto or a number of requests")
        return EngineSettings(
            batch_size=None if size == "auto" else int(size), threads=self.threads, max_errors=self._most(examples)
        )

    def _most(self, examples: int) -> int | None:
        if self.max_errors is None:
            return None
        text = str(self.max_errors)
        try:
            share = float(text[:-1]) / 100 if text.endswith("%") else None
            most = int(text) if share is None else int(share * examples)
            if most < 0 or not 0 <= (share or 0) <= 1:
                raise ValueError(text)
            return most
        except (ValueError, OverflowError):
            raise WrongUse(f"--max-errors {text}: write a number or a percentage up to 100, such as 1%") from None


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """What is evaluated, before anything is looked up.

    Attributes:
        tasks: names, files of the user's own rows (``my.jsonl``), tasks themselves, or ``all`` alone.
        metrics: names of those to compute, of a benchmark or on the rows of a file; empty for all of the benchmark's,
            and for those of the rows' kind of answers.
        overrides: the user's settings of prompts and decoding, which go before the protocol's.
        protocol: its name; None is the plain one, or the demo model's own.
        extract: the rule that reads a choice out of text, before the protocol's and the model's own.
        ablate: ``none``, ``no-media`` or ``shuffled-media``.
        with_blind: a second run without media, inside the first one's folder.
        samples: how often each example is answered, where sampling draws another answer each time.
        ptb: the caption tokenizer, ``python`` or ``java``.
        tasks_dir: folders of the user's own task files.
        out: the run folder; None is a folder named after what the run is.
        name: of the run, and of its folder where ``out`` is not given; None is a name that follows from what it is.
        command: as it was typed, without secrets; recorded beside the times of the run.
        config: the resolved options as TOML, written into the run folder; empty without a configuration file.
    """

    tasks: tuple[str | Task, ...]
    model: ModelOptions = ModelOptions()
    data: DataOptions = field(default_factory=DataOptions)
    execution: ExecutionOptions = ExecutionOptions()
    overrides: Overrides = NONE
    metrics: tuple[str, ...] = ()
    protocol: str | None = None
    extract: str | None = None
    ablate: str = "none"
    with_blind: bool = False
    samples: int = 1
    ptb: Literal["python", "java"] = "python"
    tasks_dir: tuple[Path, ...] = ()
    allow_environment_change: bool = False
    out: Path | None = None
    name: str | None = None
    command: str = ""
    config: str = ""


_SECTIONS: dict[str, Any] = {
    "model": ModelOptions,
    "data": DataOptions,
    "execution": ExecutionOptions,
    "overrides": Overrides,
}


def make_plan(tasks: str | Task | Sequence[str | Task], **options: Any) -> EvaluationPlan:
    """A plan from the options of ``run``, by their names.

    Args:
        tasks: names separated by commas, or a list of names and tasks; ``all`` for every task.
        options: such as ``model="hf:OWNER/NAME"``, ``data_root="data"``, ``limit=200``, ``batch_size=8``.

    Raises:
        WrongUse: there is no such option; the message offers the nearest.

    >>> make_plan("vqav2,coco", model="constant", limit=10).data.limit
    10
    >>> make_plan("vqav2", limmit=10)
    Traceback (most recent call last):
    anymal_eval.errors.WrongUse: there is no option limmit; did you mean limit?
    """
    values: dict[str, Any] = {"tasks": _named(tasks)}
    for name, section in _SECTIONS.items():
        own = {item.name for item in dataclasses.fields(section)} & options.keys()
        values[name] = section(**{key: _path(key, options.pop(key)) for key in own})
    known = {item.name for item in dataclasses.fields(EvaluationPlan)} - values.keys()
    for key in options.keys() - known:
        every = sorted(known | {item.name for section in _SECTIONS.values() for item in dataclasses.fields(section)})
        near = difflib.get_close_matches(key, every, n=3) or every
        raise WrongUse(f"there is no option {key}; did you mean {' or '.join(near)}?")
    return EvaluationPlan(**values, **{key: _path(key, value) for key, value in options.items()})


def parse_options(given: Sequence[str], option: str = "-o") -> dict[str, str]:
    """``-o KEY=VALUE`` as a mapping; ``option`` names it in messages.

    Raises:
        WrongUse: one has no equals sign, or a key comes twice.
    """
    found: dict[str, str] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise WrongUse(f"{option} {each}: write KEY=VALUE")
        if key in found:
            raise WrongUse(f"{option} {key} is given twice")
        found[key] = value
    return found


def names_of(value: str | Sequence[str]) -> tuple[str, ...]:
    """Names that are separated by commas.

    >>> names_of("cider, bleu,")
    ('cider', 'bleu')
    """
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(name for each in parts if (name := str(each).strip()))


def _named(tasks: str | Task | Sequence[str | Task]) -> tuple[str | Task, ...]:
    if isinstance(tasks, Task):
        return (tasks,)
    listed = tasks.split(",") if isinstance(tasks, str) else tasks
    return tuple(each if isinstance(each, Task) else str(each).strip() for each in listed if each)


def _path(key: str, value: Any) -> Any:
    if key in ("data_root", "out"):
        return value if value is None else Path(value)
    if key == "tasks_dir":
        return (Path(value),) if isinstance(value, str | Path) else tuple(map(Path, value))
    if key == "metrics":
        return names_of(value or ())
    if key == "options":
        return {name: str(item) for name, item in value.items()} if isinstance(value, Mapping) else parse_options(value)
    return value
