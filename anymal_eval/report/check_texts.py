"""A check as text: for the terminal, as Markdown for a pull request, as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anymal_eval.errors import listed
from anymal_eval.report.flips import Flip
from anymal_eval.report.regression import Check, TaskCheck, Word
from anymal_eval.report.rendering import Cell, Table, Tone, escape_markdown, render
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.report.terminal import screen
from anymal_eval.visible import visible_line, wrapped

if TYPE_CHECKING:
    from rich.console import RenderableType

COLUMNS = ("task", "before", "after", "difference", "95 % interval", "p (Holm)", "detectable", "gain", "verdict")
SHOWN_FLIPS = 3
MARKDOWN_FLIPS = 10
LONGEST_ANSWER = 80
JSON_SCHEMA = 1
SHORT = (*COLUMNS[:6], "verdict")
TONES: Mapping[str, Tone] = {"better": "better", "worse": "worse", "cannot tell": "unsure", "refused": "worse"}
MARKS: Mapping[str, str] = {"better": "🟢", "same": "⚪", "worse": "🔴", "cannot tell": "🟡", "refused": "⛔"}


def check_table(found: Check) -> Table:
    """One row per task; all values x100."""
    rows = tuple(tuple(Cell(text, bold=item.word == "worse") for text in _texts(item)) for item in found.tasks)
    demo = ", demo data" if found.is_demo else ""
    notes = (
        "Values x100; the difference is after - before over the examples that both runs have.",
        f"p after Holm over the tasks tested, alpha {found.alpha:g}; "
        "detectable: the smallest difference that this check finds with probability 0.8.",
    )
    return Table(title=f"{found.run} against {found.against}{demo}", columns=COLUMNS, rows=rows, notes=notes)


def terminal(found: Check) -> str:
    """The table, and for each task the reason, the missing examples and the largest falls."""
    from tabulate import tabulate

    table = check_table(found)
    grid = [[cell.text for cell in row] for row in table.rows]
    lines = [table.title, "", tabulate(grid, headers=table.columns, tablefmt="simple", disable_numparse=True), ""]
    lines += table.notes
    for item in found.tasks:
        first, *rest = _about(item, SHOWN_FLIPS)
        lines += ["", visible_line(first), *(f"  {visible_line(line)}" for line in rest)]
    if found.also_differs:
        lines += ["", visible_line(f"also differs: {'; '.join(found.also_differs)}")]
    lines += ["", visible_line(summary(found))]
    return "\n".join(lines) + "\n"


def check_screen(found: Check, width: int, *, details: bool = False) -> RenderableType:
    """What a terminal shows: a row a task, then for each task that is not the same the reason and the largest falls.

    Args:
        found: the check.
        width: the columns of the terminal.
        details: all columns, and every task's reason and largest falls.
    """
    from rich.console import Group
    from rich.text import Text

    table = check_table(found)
    rows = tuple(
        tuple(replace(cell, tone=TONES.get(item.word, "") if at == len(row) - 1 else "") for at, cell in enumerate(row))
        for item, row in zip(found.tasks, table.rows, strict=True)
    )
    table = replace(table, rows=rows)
    short = replace(table, columns=SHORT, rows=tuple((*row[:5], row[5], row[8]) for row in rows), notes=table.notes[:1])
    lines = [""]
    for item in found.tasks:
        if details or item.word != "same":
            first, *rest = _about(item, SHOWN_FLIPS)
            lines += [visible_line(first), *(f"  {visible_line(line)}" for line in rest), ""]
    if found.also_differs:
        lines += [visible_line(f"also differs: {'; '.join(found.also_differs)}"), ""]
    lines.append(visible_line(summary(found)))
    below = [Text(part) for line in lines for part in wrapped(line, width)]
    return Group(screen([table] if details else [short, *_unplaced(short)], width), *below)


def _unplaced(table: Table) -> Iterator[Table]:
    """Narrower forms: without the test, then without the value before."""
    for left_out in ((5,), (1, 5)):
        kept = [at for at in range(len(table.columns)) if at not in left_out]
        rows = tuple(tuple(row[at] for at in kept) for row in table.rows)
        yield replace(table, columns=tuple(table.columns[at] for at in kept), rows=rows)


def markdown(found: Check) -> str:
    """For a pull request: the verdict, the table, and the changed examples in folded sections."""
    parts = [f"### {escape_markdown(visible_line(summary(found)))}", render(check_table(found), "md").rstrip()]
    for item in found.tasks:
        first, *rest = _about(item, 0)
        parts.append(f"- {MARKS.get(item.word, '')} {escape_markdown(visible_line(first))}".replace("-  ", "- "))
        parts[-1] += "".join(f"\n  - {escape_markdown(visible_line(line))}" for line in rest)
    for item in found.tasks:
        if item.flips:
            parts.append(_folded(item))
    if found.also_differs:
        parts.append(f"Also differs: {escape_markdown(visible_line('; '.join(found.also_differs)))}.")
    return "\n\n".join(parts) + "\n"


def summary(found: Check) -> str:
    """One line: the tasks with each verdict; watched tasks are marked, because they decide nothing."""
    parts = []
    order: tuple[Word, ...] = ("worse", "refused", "cannot tell", "better", "same", "not compared")
    for word in order:
        names = found.named(word)
        if names:
            watched = set(found.named(word, "watched"))
            parts.append(f"{word}: {', '.join(f'{n} (watched)' if n in watched else n for n in names)}")
    return f"{found.model} against {found.against} - {'; '.join(parts)}"


def as_data(found: Check) -> dict[str, Any]:
    """The check as JSON data with all changed examples; unknown values are null."""
    error = found.error()
    return {
        "schema": JSON_SCHEMA,
        "run": found.run,
        "model": found.model,
        "against": found.against,
        "demo": found.is_demo,
        "alpha": found.alpha,
        "exit_code": error.exit_code if error else 0,
        "also_differs": list(found.also_differs),
        "tasks": [_task_data(item) for item in found.tasks],
    }


def _task_data(item: TaskCheck) -> dict[str, Any]:
    one, data = item.comparison, {"task": item.task, "tier": item.tier, "verdict": item.word, "why": item.why}
    counted = {"notes": list(item.notes), "only_before": list(item.only_before), "only_after": list(item.only_after)}
    if one is None:
        return {**data, "base": item.base or None, **counted}
    return {
        **data,
        "base": item.base,
        "metric": item.metric,
        "unit": item.unit,
        "signature": item.signature,
        "group": dict(item.group) if item.group else None,
        **{key: _finite(getattr(one, key)) for key in ("before", "after", "difference", "low", "high", "error")},
        "p_raw": _finite(one.p),
        "p": _finite(item.p),
        "p_worse_raw": _finite(one.p_worse),
        "method": one.method,
        "detectable": _finite(item.detectable),
        "limit": item.limit,
        "by_policy": item.by_policy,
        "gain": None if item.gain is None else {k: _finite(getattr(item.gain, k)) for k in ("value", "low", "high")},
        **{key: getattr(one, key) for key in ("n", "clusters", "changed", "risen", "fallen")},
        **counted,
        "flips": [_flip_data(flip) for flip in item.flips],
    }


def _flip_data(flip: Flip) -> dict[str, Any]:
    return {
        "id": flip.id,
        "cluster": flip.cluster,
        "before": {"answer": flip.answer_before, "score": flip.before},
        "after": {"answer": flip.answer_after, "score": flip.after},
    }


def _texts(item: TaskCheck) -> tuple[str, ...]:
    tier = " (watched)" if item.tier == "watched" else ""
    group = "".join(f", {name}={value}" for name, value in (item.group or {}).items())
    one = item.comparison
    if one is None:
        return (f"{item.task}{tier}", *[""] * (len(COLUMNS) - 2), item.word)
    gain = item.gain.value if item.gain is not None else math.nan
    return (
        f"{item.task}{group}{tier}",
        f"{SCALE * one.before:.2f}",
        f"{SCALE * one.after:.2f}",
        _signed(SCALE * one.difference, ".2f"),
        interval_text(one.low, one.high, sign="+"),
        f"{item.p:.2g}" if item.p == item.p else "",
        f"{SCALE * item.detectable:.2f}" if item.detectable == item.detectable else "",
        f"{_signed(SCALE * gain, '.1f')} %" if gain == gain else "",
        item.word,
    )


def _about(item: TaskCheck, shown: int) -> Iterator[str]:
    one = item.comparison
    if one is None:
        yield f"{item.task}: {item.word}: {item.why}"
    else:
        counts = f"{one.n:,} examples in {one.clusters:,} clusters, {one.changed:,} changed"
        moved = f" ({one.risen:,} up, {one.fallen:,} down)" if one.risen or one.fallen else ""
        method = f"{one.method}, " if one.method != item.why else ""
        yield f"{item.task}: {item.word}: {item.why}; {item.metric}, {method}{counts}{moved}"
    yield from item.notes
    for which, names in (("base", item.only_before), ("run", item.only_after)):
        if names:
            yield f"only in the {which}: {len(names):,} examples ({listed(names)})"
    for flip in item.flips[:shown]:
        yield f"{flip.id}: {_cut(flip.answer_before)!r} -> {_cut(flip.answer_after)!r}{_scores(flip)}"
    if shown and len(item.flips) > shown:
        yield f"... {len(item.flips) - shown:,} more changed; --json lists all"


def _folded(item: TaskCheck) -> str:
    shown = _ends(item)
    rows = tuple(
        tuple(
            Cell(text)
            for text in (flip.id, _cut(flip.answer_before), _cut(flip.answer_after), _scores(flip).strip(" ()"))
        )
        for flip in shown
    )
    title = f"{item.task}: {len(item.flips):,} examples changed, {len(shown):,} shown"
    grid = render(Table(title=title, columns=("example", "before", "after", "scores"), rows=rows), "md")
    body = grid.partition("\n\n")[2].rstrip()
    return f"<details><summary>{escape_markdown(title)}</summary>\n\n{body}\n\n</details>"


def _ends(item: TaskCheck) -> tuple[Flip, ...]:
    """The largest falls and the largest rises."""
    if len(item.flips) <= 2 * MARKDOWN_FLIPS:
        return item.flips
    return (*item.flips[:MARKDOWN_FLIPS], *item.flips[-MARKDOWN_FLIPS:])


def _scores(flip: Flip) -> str:
    if flip.before is None or flip.after is None:
        return ""
    return f" ({SCALE * flip.before:.4g} -> {SCALE * flip.after:.4g})"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_ANSWER else f"{text[: LONGEST_ANSWER - 1]}…"


def _signed(value: float, form: str) -> str:
    text = f"{value:+{form}}"
    return text[1:] if float(text) == 0 else text


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
