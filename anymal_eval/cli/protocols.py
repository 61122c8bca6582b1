"""``anymal-eval protocols``: lists the protocols, or prints the wording of one."""

import click


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def protocols(name: str | None, as_json: bool) -> None:
    """List the protocols, or print NAME's wording for every task."""
    from anymal_eval import catalog
    from anymal_eval.cli._listing import list_or_show, plain

    list_or_show(catalog.protocols(), name, as_json, _details)
    if name is None and not as_json:
        from anymal_eval.cli._printing import echo
        from anymal_eval.protocols.extraction import described

        echo("\nrules that read a choice from text (--extract RULE):")
        for rule, what in described().items():
            echo(f"{rule:<17}  {plain(what)}")


def _details(name: str) -> dict[str, object]:
    from anymal_eval import catalog
    from anymal_eval import protocols as registry
    from anymal_eval.codec import encode

    protocol = registry.get(name)
    found: dict[str, object] = {
        "protocol": name,
        "is": protocol.summary,
        "paper": protocol.paper,
        "file": str(catalog.protocols().file(name)),
    }
    for task, phrase in protocol.tasks.items():
        found[task] = [f"{key}: {value!r}" for key, value in encode(phrase).items() if value not in ("", [], {})]
    return found
