"""The options of ``run`` and ``show`` that go before a protocol's settings of prompts and decoding."""

from collections.abc import Callable
from typing import Any

import click

TOKENS = click.IntRange(min=1)
OPTIONS = (
    click.option("--max-new-tokens", type=TOKENS, help="Of an answer.  [default: the protocol's]"),
    click.option("--temperature", type=click.FloatRange(min=0), help="Sample; 0 is greedy.  [default: the protocol's]"),
    click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), help="Sample among the likeliest."),
    click.option("--seed", type=int, help="Of the samples, which depend on it and the example alone."),
    click.option("--system", help="The system message.  [default: the protocol's]"),
    click.option(
        "--thinking",
        type=click.Choice(["auto", "on", "off"]),
        help="Whether a reasoning model thinks first.  [default: auto]",
    ),
    click.option("--thinking-tokens", type=TOKENS, help="The most tokens of thinking.  [default: 4096]"),
)


def generation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
