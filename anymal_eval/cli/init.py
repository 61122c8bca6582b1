"""``anymal-eval init``: writes a commented configuration file for ``run --config``."""

from pathlib import Path

import click

from anymal_eval.cli._config import commented, schema
from anymal_eval.cli._printing import echo, echo_json
from anymal_eval.cli.run import run


@click.command()
@click.argument("file", metavar="[FILE]", type=click.Path(path_type=Path, dir_okay=False), default=Path("eval.toml"))
@click.option("--schema", "as_schema", is_flag=True, help="Print the JSON schema of such files, and write nothing.")
def init(file: Path, as_schema: bool) -> None:
    """Write a configuration file with every option, by default eval.toml; an existing file is left as it is."""
    from anymal_eval.errors import WrongUse
    from anymal_eval.store.atomic import write_user_file

    if as_schema:
        echo_json(schema(run))
        return
    if file.suffix != ".toml":
        raise WrongUse(f"{file}: its name must end in .toml")
    if file.exists():
        raise WrongUse(f"{file} is there already; choose another name")
    write_user_file(file, commented(run))
    echo(f"{file}: anymal-eval run --config {file} evaluates it", err=True)
    echo(file)
