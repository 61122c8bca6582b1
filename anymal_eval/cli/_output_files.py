"""Files that a command writes beside what it prints; ``-`` is standard output, which then has nothing else."""

from collections.abc import Callable
from pathlib import Path

import click

from anymal_eval.cli._printing import echo, echo_raw
from anymal_eval.errors import WrongUse
from anymal_eval.visible import visible

OUTPUT = click.Path(dir_okay=False, path_type=Path, allow_dash=True)
STANDARD_OUTPUT = Path("-")


def is_printed(*files: Path | None) -> bool:
    """Whether one of the files is standard output: no table is printed then.

    Raises:
        WrongUse: two of them are.
    """
    count = files.count(STANDARD_OUTPUT)
    if count > 1:
        raise WrongUse("- is standard output, which takes one file; write the others to files with names")
    return count == 1


def write_output(
    file: Path | None, make: Callable[[], str], *, show: Callable[[str], str] = visible, announced: bool = False
) -> None:
    """Write a file that the user names, or print it.

    Args:
        file: nothing is written where it is None.
        make: gives the content.
        show: of printed content, makes characters that a terminal obeys visible.
        announced: say where it was written.
    """
    from anymal_eval.store.atomic import write_user_file

    if file is None:
        return
    if file == STANDARD_OUTPUT:
        echo_raw(make(), show)
        return
    write_user_file(file, make())
    if announced:
        echo(f"written to {file}", err=True)
