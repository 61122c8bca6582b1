"""How a table of several runs stands in a paper, and the same numbers for programs."""

from collections.abc import Iterator, Mapping, Sequence

from anymal_eval.published import Column
from anymal_eval.report.comparison import NOT_STATED, Line, header
from anymal_eval.report.gains import PercentGain
from anymal_eval.report.rendering import PaperLayout

Gains = Mapping[tuple[str, str], PercentGain]  # by the label of a row and the key of a column


def layout(
    title: str, columns: Sequence[Column], lines: Sequence[Line], label: str, footnotes: Mapping[str, str],
    remarks: tuple[str, ...],
) -> PaperLayout:  # fmt: skip
    """The table in a paper: without where each row is from, which the caption says."""
    theirs = sum(line.is_published for line in lines)
    facts = {line.label: line.origin.removeprefix("measured, ") for line in lines[theirs:]}
    stated = {header(column): column.split for column in columns if column.split not in NOT_STATED}
    caption = [title]
    if len(protocols := set(facts.values())) == 1:
        caption.append(f"Protocol of the rows measured here: {protocols.pop()}")
    elif facts:
        caption.append(f"Protocols: {'; '.join(f'{name}, {protocol}' for name, protocol in facts.items())}")
    if len(splits := set(stated.values())) == 1 and len(stated) == len(columns):
        caption.append(f"Split: {splits.pop()}")
    elif stated:
        caption.append(f"Splits: {'; '.join(f'{name}, {split}' for name, split in stated.items())}")
    return PaperLayout(
        caption=". ".join(caption) + ".",
        label=label,
        heads=(("model",), (), *(tuple(header(column).split(" ", 1)) for column in columns)),
        rule_before=theirs if theirs < len(lines) else 0,
        footnotes=footnotes,
        remarks=remarks,
    )


def tidy(columns: Sequence[Column], lines: Sequence[Line], gains: Gains) -> Iterator[Mapping[str, str]]:
    """One row for each number, with its bounds in columns of their own."""
    for line in lines:
        for column in columns:
            place = line.places.get(column.key)
            if place is not None:
                low, high = place.interval or (None, None)
                gain, ends = gains.get((line.label, column.key), (None, None))
                yield {
                    "model": line.label,
                    "from": line.origin,
                    "kind": "published" if line.is_published else "measured",
                    "task": column.our_task,
                    "metric": column.metric,
                    "split": column.split,
                    "value_x100": _number(place.value, 2 if line.is_published else 4),
                    "ci_low_x100": _number(low, 4),
                    "ci_high_x100": _number(high, 4),
                    "gain_percent": _number(gain, 2),
                    "gain_low_percent": _number(ends[0] if ends else None, 2),
                    "gain_high_percent": _number(ends[1] if ends else None, 2),
                    "demo": "yes" if place.is_demo else "no",
                    "notes": "; ".join(place.footnotes),
                }


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
