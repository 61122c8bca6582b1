"""What ``tasks``, ``models``, ``metrics`` and ``protocols`` have in common: a list, or one thing in detail."""

from collections.abc import Callable

from anymal_eval.catalog import Catalog
from anymal_eval.cli._printing import echo, echo_json, on_terminal

Details = Callable[[str], dict[str, object]]


def list_or_show(known: Catalog, name: str | None, as_json: bool, details: Details) -> None:
    """Print all names with their one line, or the ``details`` of one."""
    if name is None:
        rows = {each: known.summary(each) for each in known.names()}
        if as_json:
            echo_json(rows)
            return
        width = max(map(len, rows), default=0)
        for each, summary in rows.items():
            echo(f"{each:<{width}}  {plain(summary)}")
        return
    found = details(name)
    if as_json:
        echo_json(found)
        return
    for key, value in found.items():
        lines = [plain(line) for line in (value if isinstance(value, list) else [value])]
        echo(f"{key:<12} {lines[0] if lines else 'none'}")
        for line in lines[1:]:
            echo(f"{'':<12} {line}")


def plain(text: object) -> object:
    """The text, on a terminal without the marks of code that docstrings have."""
    return text.replace("``", "") if isinstance(text, str) and on_terminal() else text
