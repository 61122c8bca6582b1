"""A configuration file of ``run``: every model under every protocol over all tasks, with the options of the command."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anymal_eval.codec import read_bytes, read_toml_table
from anymal_eval.errors import BadDefinition, MissingData, WrongUse
from anymal_eval.store.sessions import HIDDEN, is_secret, without_secrets

MODEL_KEYS = (
    "model",
    "name",
    "options",
    "device",
    "precision",
    "quantize",
    "media_timeout",
    "media_budget",
    "features",
)
_PLURALS: Mapping[str, str] = {"models": "model", "protocols": "protocol"}
_YAML = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """What a file holds.

    Attributes:
        file: it.
        values: options by their names with underscores, ``models`` and ``protocols`` left out.
        models: a mapping of ``MODEL_KEYS`` for each; empty where the file names none.
        protocols: their names; empty where the file names none.
        text: the content, for the lines in messages.
    """

    file: Path
    values: Mapping[str, Any]
    models: tuple[Mapping[str, Any], ...] = ()
    protocols: tuple[str, ...] = ()
    text: str = field(default="", repr=False)

    def where(self, key: str) -> str:
        """The file and the line of a key, for a message."""
        return _where(self.file, self.text, key)


def read_config(file: Path, known: Collection[str]) -> ConfigFile:
    """Read a file.

    Args:
        file: TOML, or YAML where its name ends in ``.yaml`` or ``.yml``.
        known: the options that it may hold.

    Raises:
        MissingData: there is no such file.
        BadDefinition: it is neither, or has an unknown key or a wrong value; the message names the line.
    """
    if not file.is_file():
        raise MissingData(f"--config {file}: there is no such file; anymal-eval init writes one")
    if file.suffix not in (".toml", *_YAML):
        raise BadDefinition(f"--config {file}: its name must end in .toml, .yaml or .yml")
    table = _read_yaml(file) if file.suffix in _YAML else read_toml_table(file)
    text = read_bytes(file).decode()
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = str(key).replace("-", "_")
        _require_known(file, text, str(key), [*known, *_PLURALS])
        if name in values:
            raise BadDefinition(f"{_where(file, text, str(key))}: {name} is given twice")
        values[name] = value
    for plural, singular in _PLURALS.items():
        if plural in values and singular in values:
            raise BadDefinition(f"{_where(file, text, plural)}: give {singular} or {plural}")
    models = _listed(values.pop("models", None), file, text, "models")
    protocols = _listed(values.pop("protocols", None), file, text, "protocols")
    if not all(isinstance(each, str) for each in protocols):
        raise BadDefinition(f"{_where(file, text, 'protocols')}: protocols must be a list of names")
    return ConfigFile(
        file=file,
        values=values,
        models=tuple(_model(each, file, text) for each in models),
        protocols=tuple(map(str, protocols)),
        text=text,
    )


def combinations(
    given: Mapping[str, Any], models: Sequence[Mapping[str, Any]], protocols: Sequence[str], kept: Collection[str]
) -> list[dict[str, Any]]:
    """The options of every run: each model under each protocol.

    Args:
        given: the options of the command, with those of the file.
        models, protocols: of the file.
        kept: options that were given on the command line, which go before the file's.

    Raises:
        WrongUse: two runs would have the same name.
    """
    models = [{}] if "model" in kept or not models else models
    chosen: Sequence[str | None] = [None] if "protocol" in kept or not protocols else protocols
    found = []
    for model in models:
        for protocol in chosen:
            own = {key: value for key, value in model.items() if key not in kept}
            one = {**given, **own, **({} if protocol is None else {"protocol": protocol})}
            if len(models) * len(chosen) > 1:
                one |= _place(given, model, protocol if len(chosen) > 1 else None)
            found.append(one)
    names = [one["name"] for one in found if one.get("name")]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise WrongUse(f"two runs of the configuration would be named {twice[0]}: give each model a name of its own")
    return found


def resolved_text(options: Mapping[str, Any]) -> str:
    """The options of one run as a file that ``--config`` takes; secrets are hidden, unset options left out."""
    lines = ["# The resolved options of this run, as run --config takes them."]
    for key, value in sorted(options.items()):
        if value is None or value == () or key in ("name", "out"):
            continue
        if key == "options":
            pairs = value.items() if isinstance(value, Mapping) else (str(each).partition("=")[::2] for each in value)
            inside = (f"{_toml(name)} = {_toml(HIDDEN if is_secret(name) else item)}" for name, item in pairs)
            lines.append(f"options = {{{', '.join(inside)}}}")
        else:
            lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _place(given: Mapping[str, Any], model: Mapping[str, Any], protocol: str | None) -> dict[str, Any]:
    """The name of one of several runs where it has one, and its folder where they have a common one."""
    own = str(model.get("name") or "")
    base = "-".join(part for part in (str(given.get("name") or ""), own) if part)
    label = _plain(own or str(model.get("model") or given.get("model") or "demo"))
    label = "-".join(filter(None, (label, protocol)))
    name = "-".join(filter(None, (base, protocol))) if own else f"{base}-{label}" if base else None
    return {"name": name, "out": None if given.get("out") is None else Path(given["out"]) / label}


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text.rpartition("/")[2] or text).strip(".-") or "run"


def _listed(value: Any, file: Path, text: str, key: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list) or not value:
        raise BadDefinition(f"{_where(file, text, key)}: {key} must be a list with at least one item")
    return value


def _model(value: Any, file: Path, text: str) -> Mapping[str, Any]:
    if isinstance(value, str):
        return {"model": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("model"), str):
        raise BadDefinition(f"{_where(file, text, 'models')}: a model is a name, or a table with model = a name")
    for key in value:
        _require_known(file, text, str(key), MODEL_KEYS)
    options = value.get("options", {})
    if not isinstance(options, Mapping):
        raise BadDefinition(f"{_where(file, text, 'options')}: options must be a table")
    found = {str(key).replace("-", "_"): item for key, item in value.items()}
    return {**found, "options": {str(key): scalar(item) for key, item in options.items()}} if options else found


def scalar(value: Any) -> str:
    """A value as the command line has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _require_known(file: Path, text: str, key: str, known: Collection[str]) -> None:
    if key.replace("-", "_") not in known:
        near = difflib.get_close_matches(key.replace("-", "_"), sorted(known), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"it may hold {', '.join(sorted(known))}"
        raise BadDefinition(f"{_where(file, text, key)}: unknown key {key}; {hint}")


def _where(file: Path, text: str, key: str) -> str:
    pattern = re.compile(rf"^\s*(?:-\s*|\[+\s*)?[\"']?{re.escape(key)}[\"']?\s*[=:\].]", re.MULTILINE)
    found = pattern.search(text) or re.search(rf"[{{,\s][\"']?{re.escape(key)}[\"']?\s*[=:]", text)
    return f"{file}, line {text.count(chr(10), 0, found.end() - 1) + 1}" if found else str(file)


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        content = read_bytes(file).decode()
        table = yaml.safe_load(content)
        node = yaml.compose(content, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadDefinition(f"{file}: no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(table, dict):
        raise BadDefinition(f"{file}: it must hold keys with values")
    keys = [key.value for key, _ in node.value]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise BadDefinition(f"{file}: {twice} is given twice")
    return table


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(without_secrets(str(value)), ensure_ascii=False).replace("\x7f", "\\u007F")
