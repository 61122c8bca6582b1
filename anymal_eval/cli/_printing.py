"""Everything that the command line prints goes through here, because much of it is what others wrote."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

import click

from anymal_eval.cli._streams import messages
from anymal_eval.visible import visible, visible_json, visible_line, wrapped

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from anymal_eval.report.rendering import Table


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text on standard output, or on standard error; characters that a terminal obeys are shown by number.

    On a terminal its lines are broken between words; elsewhere the text is printed as it is.

    Args:
        text: lines of our own, with texts of models, servers and files in them.
        err: print on standard error.
        nl: end with a line feed.
    """
    stream = messages() if err else None
    click.echo(fitted(visible(str(text)), stream or sys.stdout), file=stream, nl=nl)


def echo_line(text: str) -> None:
    """Print a message as one line on standard error, whatever it quotes; a line feed before it is kept."""
    stream = messages()
    line = fitted(visible_line(text), stream)
    click.echo(f"{chr(10) * text.startswith(chr(10))}{line}", file=stream)


def echo_json(data: Mapping[str, Any]) -> None:
    """Print JSON on standard output."""
    click.echo(visible_json(json.dumps(data, indent=1, ensure_ascii=False)))


def echo_raw(text: str, show: Callable[[str], str] = visible) -> None:
    """Print the content of a file on standard output, whose lines are never broken; hidden characters by number."""
    click.echo(show(text), nl=False)


def on_terminal() -> bool:
    """Whether standard output is a terminal, where tables are drawn; elsewhere they are Markdown."""
    return sys.stdout.isatty()


def terminal_width() -> int:
    """The columns of the terminal."""
    return shutil.get_terminal_size().columns


def draw(shown: "RenderableType", *, err: bool = False) -> None:
    """Print what rich draws: in colour where the terminal has them and NO_COLOR is not set."""
    console(err=err).print(shown, soft_wrap=False, overflow="ignore", no_wrap=True, crop=False, highlight=False)


def print_table(table: "Table") -> None:
    """Print a table: drawn on a terminal, in Markdown elsewhere."""
    from anymal_eval.report.rendering import render
    from anymal_eval.report.terminal import forms_of, screen

    if on_terminal():
        draw(screen(forms_of(table), terminal_width(), split=True))
    else:
        echo(render(table, "md"), nl=False)


def console(*, err: bool = False) -> "Console":
    """A console of rich on standard output or standard error."""
    from rich.console import Console

    return Console(file=messages() if err else sys.stdout, width=terminal_width(), markup=False, emoji=False)


def fitted(text: str, stream: TextIO) -> str:
    """The text, on a terminal with its lines broken between words."""
    if not stream.isatty():
        return text
    width = terminal_width()
    return "\n".join(part for line in text.split("\n") for part in (wrapped(line, width) if line else [line]))
