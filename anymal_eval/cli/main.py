"""``anymal-eval``: finds the command, and turns every error into one line and an exit code."""

import ast
import atexit
import contextlib
import difflib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click

from anymal_eval.cli._printing import echo, echo_line, on_terminal, terminal_width
from anymal_eval.cli._streams import StandardStreams, messages
from anymal_eval.errors import AnyMALEvalError, system_error
from anymal_eval.installation import lacking
from anymal_eval.version import __version__

WRONG_USE = 1
OUR_FAULT = 70
NARROW = 52  # columns
INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class OneFileEach(click.Group):
    """Commands by file name; ``--help`` reads the files' first lines and imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, sorted."""
        del ctx
        return sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py") if file.stem != "main")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the file of one command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = getattr(importlib.import_module(f"anymal_eval.cli.{cmd_name}"), cmd_name)
        if not isinstance(command, click.Command):
            return None
        _add_allow_links(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first argument; of an unknown one the nearest names are offered."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            names = self.list_commands(ctx)
            near = difflib.get_close_matches(args[0], names, n=2)
            known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
            raise click.UsageError(f"no command named {args[0]!r}; {known}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their one line each."""
        rows = [(name, _summary(name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _add_allow_links(command: click.Command) -> None:
    """Give ``--allow-links`` to a command that reads data."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _add_allow_links(each)
    names = {each.name for each in command.params}
    if "data_root" in names and "allow_links" not in names:
        about = "A folder outside the data that symbolic links in them may lead to; repeatable."
        option = click.Option(["--allow-links"], type=click.Path(file_okay=False), multiple=True, metavar="DIR",
                              help=about, expose_value=False, callback=_allow_links)  # fmt: skip
        command.params.append(option)


def _allow_links(context: click.Context, option: click.Parameter, folders: tuple[str, ...]) -> None:
    from anymal_eval.media.location import ALLOW_LINKS

    del option
    before = os.environ.get(ALLOW_LINKS)
    if folders:
        os.environ[ALLOW_LINKS] = os.pathsep.join((*filter(None, (before,)), *map(os.path.abspath, folders)))
        context.call_on_close(lambda: os.environ.update({ALLOW_LINKS: before or ""}))


def _summary(name: str) -> str:
    text = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    first = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return first.partition(": ")[2].replace("``", "")


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}


@click.group(cls=OneFileEach, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="anymal-eval")
def cli() -> None:
    """Say how good an any-modality language model is, and whether the retrained one is better.

    anymal-eval run --tasks vqav2,audiocaps --model anymal:PATH --data-root DIR

    anymal-eval run --tasks coco --model replay:captions.json --data-root DIR

    Exit codes: 0 done, 1 wrong use or missing data, 2 the run has errors or is incomplete, 3 check found a
    regression, 4 check could not tell, 70 a fault of ours, 130, 143, 129 interrupted by
    Ctrl-C, SIGTERM, SIGHUP.
    """


class Interruption:
    """Turns the first of ``SIGNALS`` into a KeyboardInterrupt, so that a command ends as after Ctrl-C."""

    def __init__(self) -> None:
        self.exit_code = INTERRUPTED
        """128 and the number of the signal."""
        self.came = False

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals; those that are ignored (``nohup``) stay ignored. Other threads than the main one cannot.

        After a signal the handlers stay: the process is about to end, and a further signal must not change its code.
        """
        own = threading.current_thread() is threading.main_thread()
        before = {each: signal.getsignal(each) for each in SIGNALS if own}
        before = {each: handler for each, handler in before.items() if handler not in (None, signal.SIG_IGN)}
        for each in before:
            signal.signal(each, self._handle)
        try:
            yield
        finally:
            if not self.came:
                for each, handler in before.items():
                    signal.signal(each, handler)

    def ended(self) -> int:
        """Print that the command was interrupted, and return its exit code."""
        echo("interrupted", err=True)
        return self.exit_code

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.came:
            # Every answer and every saved state is on disk before; what remains is to close workers and threads.
            with contextlib.suppress(OSError):
                os.write(
                    messages().fileno(),
                    b"interrupted again: ended at once; the same command resumes from what is written\n",
                )
            os._exit(self.exit_code)
        self.came, self.exit_code = True, 128 + number
        atexit.register(_ignore_signals)
        raise KeyboardInterrupt


def _ignore_signals() -> None:
    # Python restores the default action, death by signal, while it shuts down.
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def main() -> None:
    """Run the command line and exit."""
    streams = StandardStreams()
    with streams.kept_open():
        code = _run()
        sys.stdout.flush()
        if streams.lost is not None:
            lost = _report(system_error(streams.lost, "standard output"))
            code = code or lost
    sys.exit(code)


def _run() -> int:
    interruption = Interruption()
    try:
        with interruption.handled():
            code = cli.main(standalone_mode=False, **_narrow())
    except (KeyboardInterrupt, click.Abort):
        return interruption.ended()
    except Exception as error:  # noqa: BLE001  # every error ends in a line or a traceback, and an exit code
        return interruption.ended() if interruption.came else _report(error)
    return code if isinstance(code, int) else 0


def _narrow() -> dict[str, Any]:
    """The width of help on a terminal that is narrower than the least that click takes."""
    columns = terminal_width() if on_terminal() else NARROW
    return {"terminal_width": max(columns - 2, 20)} if columns < NARROW else {}


def _report(error: Exception) -> int:
    """Print an error, and return its exit code."""
    if isinstance(error, OSError):
        error = system_error(error)
    if isinstance(error, AnyMALEvalError):
        echo_line("; ".join((f"error: {error}", *getattr(error, "__notes__", ()))))
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return WRONG_USE
    if isinstance(error, click.ClickException):
        more = ""
        if isinstance(error, click.MissingParameter) and error.ctx is not None:
            more = f" {error.ctx.command_path} --help says what it takes."
        echo_line(f"error: {error.format_message()}{more}")
        return WRONG_USE
    if isinstance(error, ImportError) and (line := lacking(error)):
        echo_line(f"error: {line}")
        return WRONG_USE
    import traceback

    echo("".join(traceback.format_exception(error)), err=True, nl=False)
    echo("this is a fault of anymal_eval or of a plug-in; please report it with the lines above", err=True)
    return OUR_FAULT
