"""``run --config FILE``: the options of a file as defaults of the command's, its JSON schema, and a commented one."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from anymal_eval.cli._help import EVALUATING, GROUPS

PLACE = "anymal_eval.config"
LEFT_OUT = ("config", "dry_run", "details", "allow_links")
LISTS = ("tasks", "metrics")  # names with commas on the command line


def read_into(context: click.Context, option: click.Parameter, file: Path | None) -> Path | None:
    """Make the options of a file the defaults of the command; those on the command line go before them."""
    del option
    if file is None or context.resilient_parsing:
        return file
    from anymal_eval.errors import BadDefinition
    from anymal_eval.evaluation.config_file import read_config

    options = parameters(context.command)
    config = read_config(file, options)
    defaults = {}
    for key, value in config.values.items():
        try:
            defaults[key] = _typed(context, options[key], value)
        except click.BadParameter as error:
            raise BadDefinition(f"{config.where(key)}: {key}: {error.message}") from None
    context.default_map = {**(context.default_map or {}), **defaults}
    context.meta[PLACE] = config
    return file


def plans(context: click.Context, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of each run: one, or every model of the file under every protocol of it."""
    config = context.meta.get(PLACE)
    if config is None:
        return [dict(given)]
    from anymal_eval.evaluation.config_file import combinations, resolved_text

    kept = {name for name in given if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    found = combinations(given, config.models, config.protocols, kept)
    return [{**one, "config": resolved_text(one)} for one in found]


def parameters(command: click.Command) -> dict[str, click.Option]:
    """The options that a file may hold, by name."""
    return {str(each.name): each for each in command.params
            if isinstance(each, click.Option) and each.name not in LEFT_OUT}  # fmt: skip


def schema(command: click.Command) -> dict[str, Any]:
    """The JSON schema of the file, from the options of ``run``."""
    from anymal_eval.evaluation.config_file import MODEL_KEYS

    options = {name: _schema_of(option) for name, option in parameters(command).items()}
    model = {**{key: options[key] for key in MODEL_KEYS if key in options}, "model": {"type": "string"}}
    table = {"type": "object", "properties": model, "required": ["model"], "additionalProperties": False}
    models = {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "string"}, table]},
              "description": "Models, each a name or a table with options of its own."}  # fmt: skip
    protocols = {"type": "array", "minItems": 1, "items": {"type": "string"},
                 "description": "Every model is evaluated under each."}  # fmt: skip
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "anymal-eval run --config",
        "type": "object",
        "properties": {"models": models, "protocols": protocols, **options},
        "additionalProperties": False,
    }


def commented(command: click.Command) -> str:
    """A file that runs as it is, with every other option as a comment."""
    lines = [
        "# What anymal-eval run --config evaluates: every model under every protocol, over all tasks.",
        "# An option on the command line goes before the one here. Editors find the keys by anymal-eval init --schema.",
        "",
        'models = ["anymal:demo"]',
        '# models = ["hf:OWNER/NAME", {model = "anymal:runs/audio/checkpoint", name = "audio", options = {beams = 4}}]',
        'protocols = ["demo"]',
        'tasks = ["hateful_memes"]',
        'data = "demo"',
        "demo_examples = 20",
    ]
    there = {"model", "protocol", "tasks", "data", "demo_examples"}
    options = parameters(command)
    for heading in (*GROUPS, "Other"):
        named = [name for name in options if name not in there and _heading(name) == heading]
        lines += [
            "",
            f"# {heading}",
            *(f"# {name} = {_example(options[name])}{_about(options[name])}" for name in named),
        ] * bool(named)
    return "\n".join(lines) + "\n"


def _heading(name: str) -> str:
    return EVALUATING.get(name) or next((heading for heading, names in GROUPS.items() if name in names), "Other")


def _typed(context: click.Context, option: click.Option, value: Any) -> Any:
    from anymal_eval.evaluation.config_file import scalar

    if option.is_flag or isinstance(option.type, click.types.BoolParamType):
        if not isinstance(value, bool):
            raise click.BadParameter("write true or false")
        return value
    if option.name == "options" and isinstance(value, Mapping):
        value = [f"{key}={scalar(item)}" for key, item in value.items()]
    if option.name in LISTS and isinstance(value, list):
        value = ",".join(map(str, value))
    if option.multiple:
        value = value if isinstance(value, list) else [value]
    items = value if option.multiple else [value]
    if any(isinstance(item, bool | list | dict) or item is None for item in items):
        raise click.BadParameter(f"{value!r} is no value of this option")
    return option.type_cast_value(context, [str(item) for item in value] if option.multiple else str(value))


def _schema_of(option: click.Option) -> dict[str, Any]:
    about = {"description": option.help or ""}
    kind = option.type
    one: dict[str, Any] = {"type": "string"}
    if option.is_flag:
        one = {"type": "boolean"}
    elif isinstance(kind, click.Choice):
        one = {"enum": list(kind.choices)}
    elif isinstance(kind, click.IntRange | click.FloatRange):
        one = {"type": "integer" if isinstance(kind, click.IntRange) else "number"}
        low = "exclusiveMinimum" if kind.min_open else "minimum"
        high = "exclusiveMaximum" if kind.max_open else "maximum"
        one |= {key: end for key, end in ((low, kind.min), (high, kind.max)) if end is not None}
    elif isinstance(kind, click.types.IntParamType):
        one = {"type": "integer"}
    elif option.name in ("batch_size", "max_errors"):
        one = {"type": ["integer", "string"]}
    if option.name == "options":
        return {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}, **about}
    if option.multiple or option.name in LISTS:
        return {"anyOf": [one, {"type": "array", "items": one}], **about}
    return {**one, **about}


def _example(option: click.Option) -> str:
    if option.name == "options":
        return '{key = "value"}'
    if option.is_flag:
        return "true"
    return next(_examples(option))


def _examples(option: click.Option) -> Iterator[str]:
    default = option.default
    if isinstance(default, bool | int | float):
        yield str(default)
    if isinstance(default, str | Path):
        yield json.dumps(str(default))
    kind = _schema_of(option)
    if "enum" in kind:
        yield json.dumps(kind["enum"][0])
    yield "1" if kind.get("type") in ("integer", "number") else '"..."'


def _about(option: click.Option) -> str:
    return f"  # {option.help}" if option.help else ""
