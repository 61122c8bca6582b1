"""``anymal-eval score``: scores a run again from its responses, without the model."""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/.")
@click.option("--ptb", type=click.Choice(["python", "java"]), help="The caption tokeniser; by default the run's.")
@click.option("--tasks-dir", type=click.Path(exists=True, path_type=Path), multiple=True, help="Your own task files.")
def score(run: Path, data_root: Path, ptb: str | None, tasks_dir: tuple[Path, ...]) -> int:
    """Score RUN again from its responses, without the model."""
    from anymal_eval.cli import _evaluate as flow
    from anymal_eval.cli._run import finish
    from anymal_eval.store.folder import RunFolder

    code = 0
    # The run without media of --with-blind first: its values stand in the other's table.
    for root in (run / flow.BLIND, run):
        if root == run or root.is_dir():
            with RunFolder(root) as folder:
                manifest = folder.manifest()
                loaded = [flow.load_again(*task, data_root, tasks_dir, folder) for task in manifest.tasks.items()]
                code = max(code, finish(folder, manifest, loaded, ptb or manifest.identity["ptb"], show=root == run))
    return code
