"""What a protocol decides besides the words: the split, and the cleanings that cannot be had here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from anymal_eval.errors import BadDefinition, NotInCatalog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anymal_eval.cli._evaluate import DataChoice
    from anymal_eval.protocols import Protocol, Wording
    from anymal_eval.task import Task


def with_split(task: Task, data: DataChoice, protocol: tuple[str, Protocol]) -> DataChoice:
    """The same choice, on the split that the protocol's paper reports where the user named none.

    The demo world has one split a task, which stands for whichever a paper reports.

    Raises:
        BadDefinition: the protocol names a split that the task does not have.
    """
    name, words = protocol
    phrase = words.tasks.get(task.name)
    if data.split is not None or data.kind == "demo" or phrase is None or not phrase.split:
        return data
    try:
        task.split(phrase.split)
    except NotInCatalog as error:
        raise BadDefinition(f"protocol {name}: {error}; give --split") from None
    return replace(data, split=phrase.split)


def say_lacking(tasks: Iterable[Task], wording: Wording, protocol: Protocol) -> None:
    """Tell the user, on stderr, of each cleaning that the protocol asks for and that is left out."""
    from anymal_eval.protocols.reading import cleaning_warning

    for task in tasks:
        why = cleaning_warning(task, wording, protocol)
        if why:
            click.echo(why, err=True)
