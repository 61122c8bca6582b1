"""Plain data (TOML, JSON) into frozen dataclasses, and back; anything unknown, missing or mistyped is refused."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from anymal_eval.errors import BadDefinition

T = TypeVar("T")


def read(of_type: type[T], table: Mapping[str, object], where: str) -> T:
    """Build a dataclass from a mapping, strictly.

    Args:
        of_type: a dataclass of scalars, literals, tuples, mappings and other such dataclasses.
        table: its fields by name.
        where: what is being read, for the error.

    Raises:
        BadDefinition: an unknown key, a missing one, or a value of another type.

    >>> @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class Size:
    ...     width: int
    ...     heads: int = 8
    >>> read(Size, {"width": 64}, "size")
    Size(width=64, heads=8)
    >>> read(Size, {"width": 64, "head": 4}, "size")
    Traceback (most recent call last):
    anymal_eval.errors.BadDefinition: size: unknown key 'head'; it may hold heads, width
    """
    if not isinstance(table, Mapping):
        raise BadDefinition(f"{where}: expected a table, got {type(table).__name__}")
    hints = get_type_hints(of_type)
    fields = {field.name: field for field in dataclasses.fields(of_type)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            raise BadDefinition(f"{where}: unknown key {key!r}; it may hold {', '.join(sorted(fields))}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _value(hints[name], table[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise BadDefinition(f"{where}: {name!r} is missing")
    return of_type(**values)


def write(value: object) -> Any:
    """The inverse of :func:`read`: plain dicts, lists and scalars; fields that are None are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: write(item) for name, item in pairs if item is not None}
    if isinstance(value, Mapping):
        return {str(key): write(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [write(item) for item in value]
    return value


def _value(hint: Any, value: object, where: str) -> object:
    """One value checked against its annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (Any, object):
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, where)
    if origin is Literal:
        if value not in arguments:
            raise BadDefinition(f"{where}: {value!r} is none of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise BadDefinition(f"{where}: expected a list, got {value!r}")
        return tuple(_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise BadDefinition(f"{where}: expected a table, got {value!r}")
        return {str(key): _value(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise BadDefinition(f"{where}: expected a table, got {value!r}")
        return read(typing.cast(type, hint), value, where)
    return _scalar(hint, value, where)


def _scalar(hint: type, value: object, where: str) -> object:
    """A scalar; an int is taken where a float is due, a bool never stands for a number."""
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) is not (hint is bool) or not isinstance(value, hint):
        raise BadDefinition(f"{where}: expected {hint.__name__}, got {value!r}")
    return value
