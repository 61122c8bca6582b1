"""``anymal-eval``: finds the command, and turns every error into one line and an exit code."""

import ast
import importlib
import sys
from pathlib import Path

import click

from anymal_eval.errors import AnyMALEvalError
from anymal_eval.version import __version__

WRONG_USE = 1
OUR_FAULT = 70
INTERRUPTED = 130


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
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their one line each."""
        rows = [(name, _summary(name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _summary(name: str) -> str:
    text = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    first = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return first.partition(": ")[2]


@click.group(cls=OneFileEach, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="anymal-eval")
def cli() -> None:
    r"""Say how good an any-modality language model is, and whether the retrained one is better.

    \b
    anymal-eval run --tasks vqav2,audiocaps --model anymal:PATH --data-root DIR
    anymal-eval run --tasks coco --model replay:captions.json --data-root DIR

    Exit codes: 0 done, 1 wrong use or missing data, 2 the run has errors or is incomplete, 3 check found a
    regression, 4 check could not tell, 70 a fault of ours, 130 interrupted.
    """


def main() -> None:
    """Run the command line and exit."""
    try:
        code = cli.main(standalone_mode=False)
    except AnyMALEvalError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(WRONG_USE)
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        sys.exit(WRONG_USE)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (``| head``) has left: that is its right.
        sys.stderr.close()
        sys.exit(0)
    except Exception:  # noqa: BLE001  # the last line of defence: it prints the traceback and exits with 70
        import traceback

        traceback.print_exc()
        click.echo("this is a fault of anymal_eval or of a plug-in; please report it with the lines above", err=True)
        sys.exit(OUR_FAULT)
    sys.exit(code if isinstance(code, int) else 0)
