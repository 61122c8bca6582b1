"""Finds and loads a model from what the user typed: ``NAME[:CHECKPOINT]`` or ``package.module:Class``."""

import dataclasses
import difflib
import importlib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from anymal_eval import catalog
from anymal_eval.errors import BadDefinition, NotInCatalog, WrongUse
from anymal_eval.models import Model
from anymal_eval.records import MediaKind

TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A model that is chosen and not loaded: its name and its options, resolved."""

    name: str
    module: ModuleType
    options: Any

    @property
    def accepts(self) -> frozenset[MediaKind]:
        """What it can take, known before anything is loaded."""
        accepted: frozenset[MediaKind] = self.module.accepts(self.options)
        return accepted

    def load(self) -> Model:
        """Load it; this may take minutes."""
        model: Model = self.module.load(self.options)
        return model


def choose(typed: str, options: Mapping[str, str], common: Mapping[str, str] | None = None) -> Spec:
    """Resolve what the user typed; nothing is loaded.

    Args:
        typed: ``blip2:Salesforce/blip2-opt-2.7b`` or ``package.module:Class``.
        options: from ``-o key=value``; every key must be an option of the model.
        common: from the command line's own options (device, precision ...); those a model does not know are refused.

    Raises:
        NotInCatalog: no such model.
        WrongUse: an option it does not have, or a value of the wrong type.
    """
    name, _, checkpoint = typed.partition(":")
    module = _module(typed, name, checkpoint)
    values: dict[str, str] = {**(common or {}), **options}
    if checkpoint and "." not in name:
        values["checkpoint"] = checkpoint
    return Spec(name=name if "." not in name else typed, module=module, options=_resolve(name, module, values))


def _module(typed: str, name: str, checkpoint: str) -> ModuleType:
    if "." not in name:
        return catalog.models().module(name)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise NotInCatalog(f"--model {typed}: {error}; is the package installed?") from None
    found = getattr(module, checkpoint, None)
    if found is None:
        raise NotInCatalog(f"--model {typed}: {name} has no {checkpoint!r}")
    if all(hasattr(found, part) for part in ("Options", "load", "accepts")):
        return typing.cast(ModuleType, found)
    raise BadDefinition(f"--model {typed}: it must have Options, accepts(options) and load(options)")


def _resolve(name: str, module: ModuleType, values: Mapping[str, str]) -> Any:
    options = module.Options
    fields = {item.name: item for item in dataclasses.fields(options)}
    hints = typing.get_type_hints(options)
    resolved = {}
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=3) or sorted(fields)
            raise WrongUse(f"model {name} has no option {key!r}; did you mean {' or '.join(near) or 'none'}?")
        resolved[key] = _typed(f"model {name}: option {key}", value, hints[key])
    missing = [
        key
        for key, item in fields.items()
        if key not in resolved and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        how = f"--model {name}:CHECKPOINT" if missing[0] == "checkpoint" else f"-o {missing[0]}=..."
        raise WrongUse(f"model {name} needs {missing[0]}: give {how}")
    return options(**resolved)


def _typed(what: str, value: str, hint: Any) -> Any:
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        if value not in choices:
            raise WrongUse(f"{what} must be one of {', '.join(map(str, choices))}, not {value!r}")
        return value
    plain = next((part for part in choices if part is not type(None)), hint)
    try:
        if plain is bool:
            return TRUTH[value.lower()]
        return plain(value)
    except (KeyError, ValueError):
        raise WrongUse(f"{what} must be {plain.__name__}, not {value!r}") from None
