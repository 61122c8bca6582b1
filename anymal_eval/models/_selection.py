"""Finds and loads a model by ``NAME[:CHECKPOINT]`` or ``package.module:Class``.

A name is a file or package of this folder, or an entry point of the group ``anymal_eval.models``. It leads to a module
or class with ``Options``, ``accepts(options)`` and ``load(options)``; or to a class that is the model itself, whose
``accepts`` is a set, made by ``Class(options)``.
"""

import dataclasses
import difflib
import importlib
import re
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from anymal_eval import catalog, paths
from anymal_eval.errors import BadDefinition, NotInCatalog, WrongUse
from anymal_eval.models._protocols import Model
from anymal_eval.records import ALL_MEDIA, MediaKind

TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Wrapper(Protocol):
    """The interface of a file of this folder."""

    @property
    def Options(self) -> Any: ...  # noqa: N802
    def accepts(self, options: Any) -> frozenset[MediaKind]: ...
    def load(self, options: Any) -> Model: ...


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Of a model without options."""


@dataclass(frozen=True)
class _OfClass:
    """Makes a wrapper of a class that is the model itself."""

    model_class: Any

    @property
    def Options(self) -> Any:  # noqa: N802
        return getattr(self.model_class, "Options", NoOptions)

    def accepts(self, options: Any) -> frozenset[MediaKind]:
        del options
        return frozenset(self.model_class.accepts)

    @property
    def opens_media(self) -> bool:
        return bool(getattr(self.model_class, "opens_media", True))

    def load(self, options: Any) -> Model:
        model: Model = self.model_class(options)
        return model


@dataclass(frozen=True)
class _OfObject:
    """A model itself, as a wrapper."""

    model: Model
    Options = NoOptions

    def accepts(self, options: Any) -> frozenset[MediaKind]:
        del options
        return self.model.accepts

    @property
    def opens_media(self) -> bool:
        return bool(getattr(self.model, "opens_media", True))

    def load(self, options: Any) -> Model:
        del options
        return self.model


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model before it is loaded: its name and its options."""

    name: str
    module: Wrapper
    options: Any

    @property
    def accepts(self) -> frozenset[MediaKind]:
        """The media that it takes, known before it is loaded."""
        return self.module.accepts(self.options)

    @property
    def opens_media(self) -> bool:
        """Whether it opens the files of media: True unless its module or class has ``opens_media = False``."""
        return bool(getattr(self.module, "opens_media", True))

    @property
    def weights_at(self) -> list[str]:
        """The checkpoints whose weights it loads; of a module that has ``weights_at(options)``, else empty."""
        named = getattr(self.module, "weights_at", None)
        return list(named(self.options)) if callable(named) else []

    def load(self, report: Callable[[str], None] | None = None) -> Model:
        """Load the model; this may take minutes.

        Args:
            report: takes lines about the progress of a module that has ``load_reporting(options, report)``.
        """
        reporting = getattr(self.module, "load_reporting", None)
        if report is not None and reporting is not None:
            model: Model = reporting(self.options, report)
            return model
        return self.module.load(self.options)


def choose_model(typed: str, options: Mapping[str, str], common: Mapping[str, str] | None = None) -> ModelSpec:
    """Find a model and resolve its options; nothing is loaded.

    Args:
        typed: ``blip2:Salesforce/blip2-opt-2.7b``, ``openai:NAME@http://HOST:PORT/v1`` or ``package.module:Class``.
        options: from ``-o key=value``; every key must be an option of the model.
        common: from the command line's own options (device, precision ...); every key must be an option of the model.

    Raises:
        NotInCatalog: no such model.
        WrongUse: an option that the model does not have, or a value of the wrong type.
    """
    name, _, checkpoint = typed.partition(":")
    if name not in catalog.models().names():
        from anymal_eval.models._bare_checkpoint import require_wrapper

        require_wrapper(name if checkpoint else typed)
    module = wrapper(f"--model {typed}", catalog.models().module(name) if "." not in name else _imported(typed))
    values: dict[str, str] = {**(common or {}), **options}
    if checkpoint and "." not in name:
        values["checkpoint"], address = checkpoint, ""
        if any(item.name == "url" for item in dataclasses.fields(module.Options)):
            values["checkpoint"], address = split_address(checkpoint)
        if address and "url" in values:
            raise WrongUse(
                f"model {name}: the server's address is given twice, behind @ and as option url; leave one out"
            )
        values |= {"url": address} if address else {}
    options_of_it = _resolve(name, module, values)
    folder = paths.expanded(values["checkpoint"]) if values.get("checkpoint") else None
    in_layout = getattr(options_of_it, "allow_pickle", None) is not None  # of transformers
    if in_layout and folder is not None and folder.is_dir() and not (folder / "config.json").is_file():
        from anymal_eval.models._bare_checkpoint import require_checkpoint

        require_checkpoint(name, values["checkpoint"])
    return ModelSpec(name=name if "." not in name else typed, module=module, options=options_of_it)


def given_model(model: Model) -> ModelSpec:
    """A model that exists already, in the place of one that is loaded by its name."""
    return ModelSpec(name=type(model).__qualname__, module=_OfObject(model), options=NoOptions())


def wrapper(what: str, found: Any) -> Wrapper:
    """Check that a module or class is a wrapper, or make one of a model class.

    Args:
        what: names it in the error.
        found: a module or class.

    Raises:
        BadDefinition: it is neither.
    """
    if all(hasattr(found, part) for part in ("Options", "load", "accepts")):
        return typing.cast(Wrapper, found)
    needed = ("accepts", "wording", "prepare", "answer", "close")
    lacking = [part for part in needed if not hasattr(found, part)]
    if not isinstance(found, type) or len(lacking) == len(needed):
        raise BadDefinition(f"{what}: it must have Options, accepts(options) and load(options)")
    if lacking:
        raise BadDefinition(f"{what}: class {found.__name__} lacks {', '.join(lacking)}")
    accepted = getattr(found, "accepts", None)
    if not isinstance(accepted, frozenset | set) or not accepted <= ALL_MEDIA:
        kinds = ", ".join(sorted(ALL_MEDIA))
        raise BadDefinition(f"{what}: class {found.__name__} must have accepts = frozenset({{...}}) out of {kinds}")
    return _OfClass(found)


def split_address(typed: str) -> tuple[str, str]:
    """A model on a server, and the server's address; empty where none stands behind it.

    >>> split_address("openai:NAME@http://127.0.0.1:8000/v1"), split_address("openai:NAME@main")
    (('openai:NAME', 'http://127.0.0.1:8000/v1'), ('openai:NAME@main', ''))
    """
    found = re.search(r"@(?=https?://)", typed)
    return (typed, "") if found is None else (typed[: found.start()], typed[found.end() :])


def _imported(typed: str) -> Any:
    name, _, wanted = typed.partition(":")
    here = str(Path().absolute())
    if here not in sys.path:
        sys.path.append(here)  # after all that is installed, which a file there must not replace
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise NotInCatalog(f"--model {typed}: {error}; is the package installed?") from None
    found = getattr(module, wanted, None)
    if found is None:
        raise NotInCatalog(f"--model {typed}: {name} has no {wanted!r}")
    return found


def _resolve(name: str, module: Wrapper, values: Mapping[str, str]) -> Any:
    options = module.Options
    fields = {item.name: item for item in dataclasses.fields(options)}
    hints = typing.get_type_hints(options)
    resolved = {}
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=3)
            known = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(sorted(fields)) or 'none'}"
            raise WrongUse(f"model {name} has no option {key!r}; {known}")
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
