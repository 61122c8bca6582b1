"""``anymal-eval models``: lists the model wrappers, or shows one's options."""

import click


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(name: str | None, as_json: bool) -> None:
    """List the model wrappers, or show NAME's options."""
    from anymal_eval import catalog
    from anymal_eval.cli._listing import list_or_show

    list_or_show(catalog.models(), name, as_json, _details)


def _details(name: str) -> dict[str, object]:
    import dataclasses
    import inspect

    from anymal_eval import catalog
    from anymal_eval.models import wrapper

    known = catalog.models()
    options = wrapper(name, known.module(name)).Options
    rows = []
    for item in dataclasses.fields(options):
        default = "needed" if item.default is dataclasses.MISSING else f"default {item.default!r}"
        rows.append(f"{item.name}: {getattr(item.type, '__name__', item.type)}, {default}")
    return {
        "model": name,
        "is": known.summary(name),
        "options": rows,
        "meaning": (inspect.getdoc(options) or "").splitlines(),
        "file": str(known.file(name)),
    }
