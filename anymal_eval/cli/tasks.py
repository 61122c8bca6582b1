"""``anymal-eval tasks``: lists the benchmarks, or shows one in detail."""

import click


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tasks(name: str | None, as_json: bool) -> None:
    """List the benchmarks, or show NAME in detail."""
    from anymal_eval import catalog
    from anymal_eval.cli._listing import list_or_show

    list_or_show(catalog.tasks(), name, as_json, _details)


def _details(name: str) -> dict[str, object]:
    from anymal_eval import catalog
    from anymal_eval.task import Task

    known = catalog.tasks()
    task = known.get(name, "TASK", Task)
    group = "".join(f" where {key} is {value}" for key, value in task.headline_group.items())
    return {
        "task": task.name,
        "is": known.summary(name),
        "answers": task.kind,
        "media": task.media,
        "splits": [
            f"{split.name}: {split.expected or 'any number of'} examples{'' if split.labelled else ', no labels'}"
            for split in task.splits
        ],
        "headline": task.headline + group,
        "metrics": list(task.metrics),
        "file": str(known.file(name)),
    }
