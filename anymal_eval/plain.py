"""Builds records from plain data that are right. ``codec`` gives all other data to pydantic, which says what is wrong.

Importing pydantic and making its schemas takes longer than many commands need for the rest. What is built here equals
what pydantic builds; whatever is not surely right is refused.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

_Build = Callable[[Any], Any]
_EXACT = 2**53  # every int up to here is a float


class Unsure(Exception):
    """The data are perhaps wrong, or of a type that only pydantic knows."""


def build(of_type: Any, data: object) -> Any:
    """A value of a type from what ``json`` or ``tomllib`` returned.

    Raises:
        Unsure: pydantic has to look at it.

    >>> build(tuple[float, ...], [1, 2.5])
    (1.0, 2.5)
    """
    return _builder(of_type)(data)


@cache
def _builder(of_type: Any) -> _Build:
    if of_type in _ATOMS:
        return _ATOMS[of_type]
    origin, arguments = typing.get_origin(of_type), typing.get_args(of_type)
    if origin is typing.Literal:
        return _literal(arguments)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments)
    if origin is list or origin is Sequence:
        return _items(list, arguments[0])
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        return _items(tuple, arguments[0])
    if origin is dict or origin is Mapping:
        return _mapping(*arguments)
    if isinstance(of_type, type) and dataclasses.is_dataclass(of_type):
        return _record(of_type)
    return _unsure


def _unsure(data: Any) -> Any:
    raise Unsure


def _same(of_type: type) -> _Build:
    def read(data: Any) -> Any:
        if type(data) is not of_type:
            raise Unsure
        return data

    return read


def _number(data: Any) -> float:
    if type(data) is int and -_EXACT <= data <= _EXACT:
        return float(data)
    if type(data) is not float:
        raise Unsure
    return data


_ATOMS: dict[Any, _Build] = {
    str: _same(str),
    int: _same(int),
    bool: _same(bool),
    float: _number,
    type(None): _same(type(None)),
    Any: lambda data: data,
}


def _literal(values: tuple[Any, ...]) -> _Build:
    def read(data: Any) -> Any:
        if type(data) is not str or data not in values:
            raise Unsure
        return data

    return read if all(type(value) is str for value in values) else _unsure


def _union(members: tuple[Any, ...]) -> _Build:
    """None, words and one other type. Of several other types, pydantic picks the one that fits best."""
    words = [
        word for member in members if typing.get_origin(member) is typing.Literal for word in typing.get_args(member)
    ]
    others = [one for one in members if one is not type(None) and typing.get_origin(one) is not typing.Literal]
    if len(others) > 1 or (others and words):
        return _unsure
    other = _builder(others[0]) if others else _literal(tuple(words))
    has_none = type(None) in members

    def read(data: Any) -> Any:
        return None if data is None and has_none else other(data)

    return read


def _items(made: Callable[[list[Any]], Any], of_type: Any) -> _Build:
    one = _builder(of_type)

    def read(data: Any) -> Any:
        if type(data) is not list:
            raise Unsure
        return made([one(item) for item in data])

    return read


def _mapping(of_key: Any, of_value: Any) -> _Build:
    key, value = _builder(of_key), _builder(of_value)

    def read(data: Any) -> Any:
        if type(data) is not dict:
            raise Unsure
        return {key(name): value(item) for name, item in data.items()}

    return read


def _record(of_type: Any) -> _Build:
    fields = dataclasses.fields(of_type)
    if not all(item.init for item in fields):
        return _unsure
    hints = typing.get_type_hints(of_type, include_extras=True)
    needed = {
        item.name
        for item in fields
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    }
    read_by = {item.name: _builder(hints[item.name]) for item in fields}

    def read(data: Any) -> Any:
        if type(data) is not dict or not needed <= data.keys() <= read_by.keys():
            raise Unsure
        values = {name: read_by[name](value) for name, value in data.items()}
        try:
            return of_type(**values)
        except ValueError:  # of __post_init__: pydantic words it
            raise Unsure from None

    return read
