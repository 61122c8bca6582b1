"""Everything that the command line prints goes through here, because much of it is what others wrote."""

import json
from collections.abc import Mapping
from typing import Any

import click

from anymal_eval.visible import visible, visible_json, visible_line


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text on standard output, or on standard error; characters that a terminal obeys are shown by number.

    Args:
        text: lines of our own, with texts of models, servers and files in them.
        err: print on standard error.
        nl: end with a line feed.
    """
    click.echo(visible(str(text)), err=err, nl=nl)


def echo_line(text: str) -> None:
    """Print a message as one line on standard error, whatever it quotes; a line feed before it is kept."""
    click.echo(f"{chr(10) * text.startswith(chr(10))}{visible_line(text)}", err=True)


def echo_json(data: Mapping[str, Any]) -> None:
    """Print JSON on standard output."""
    click.echo(visible_json(json.dumps(data, indent=1, ensure_ascii=False)))
