"""``anymal-eval metrics``: lists the metrics, or shows one's versions, outputs and source."""

import click


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def metrics(name: str | None, as_json: bool) -> None:
    """List the metrics, or show NAME's versions, outputs and source."""
    from anymal_eval import catalog
    from anymal_eval.cli._listing import list_or_show

    list_or_show(catalog.metrics(), name, as_json, _details)


def _details(name: str) -> dict[str, object]:
    from anymal_eval import catalog
    from anymal_eval.metrics import Metric, get

    known = catalog.metrics()
    file = name.partition("@")[0]
    metric = get(name)
    versions: tuple[Metric, ...] = getattr(known.module(file), "VERSIONS", (metric,))
    return {
        "metric": metric.id,
        "is": known.summary(file),
        "versions": [f"{each.id}: {each.source}" for each in versions],
        "outputs": [f"{output.name}: {output.unit}, {output.better} is better" for output in metric.outputs],
        "needs": sorted(metric.needs),
        "file": str(known.file(file)),
    }
