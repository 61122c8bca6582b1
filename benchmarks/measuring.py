"""Interleaved rounds, the ratios of their times, and their table in ``README.md``."""

import os
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

README = Path(__file__).parent / "README.md"


@dataclass(frozen=True)
class Row:
    """A line of the table: ``value`` against ``bound``, which is the least (or the most, where ``most``)."""

    what: str
    value: float
    bound: float
    most: bool = False
    unit: str = "x"

    @property
    def met(self) -> bool:
        return self.value <= self.bound if self.most else self.value >= self.bound


def timed(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> tuple[float, Any]:
    start = clock()
    result = work()
    return clock() - start, result


def interleaved(
    ways: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of every way, round by round, and the last result of each."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for number in range(rounds):
        for name, way in ways.items():
            spent, results[name] = timed(way, clock)
            seconds[name].append(spent)
            print(f"  round {number + 1}: {name} {spent:.2f} s", file=sys.stderr)
    return seconds, results


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The median of the rounds' ratios: a disturbance of the machine affects both times of a round."""
    return float(np.median([one / other for one, other in zip(slow, fast, strict=True)]))


def shared_rows(what: str, seconds: dict[str, list[float]]) -> list[Row]:
    """The engine against one question at a time, and against a loop by hand that shares prefixes."""
    return [
        Row(f"{what}: against one question at a time", ratio(seconds["plain"], seconds["engine"]), 3.0),
        Row(
            f"{what}: against a hand-written loop that shares prefixes",
            ratio(seconds["by hand"], seconds["engine"]),
            0.9,
        ),
    ]


def table(rows: Sequence[Row], rounds: int, threads: int) -> str:
    """The table as Markdown, with the machine's name."""
    named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = named[0].split(":")[1].strip() if named else platform.machine()
    machine = f"{os.cpu_count()} cores of {processor}, {threads} of them computing"
    lines = [f"`python -m benchmarks.throughput --write`; medians of {rounds} interleaved rounds; {machine}.", ""]
    lines += ["| what | measured | required |", "|---|---|---|"]
    for row in rows:
        value = f"{row.value:,.0f}" if row.value > 100 else f"{row.value:.2f}"
        bound = f"{row.bound:,.0f}" if row.bound > 100 else f"{row.bound:g}"
        lines.append(f"| {row.what} | {value}{row.unit} | {'at most' if row.most else 'at least'} {bound}{row.unit} |")
    return "\n".join(lines)


def write_section(name: str, text: str, file: Path = README) -> None:
    """Replace the part of a page between its marks."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    content = file.read_text() if file.is_file() else "# Benchmarks\n\nOne command a table; ratios in one run.\n"
    part = f"{begin}\n{text}\n{end}"
    if begin in content:
        content = re.sub(f"{re.escape(begin)}.*{re.escape(end)}", lambda _: part, content, flags=re.DOTALL)
    else:
        content = f"{content.rstrip()}\n\n## {name.capitalize()}\n\n{part}\n"
    file.write_text(content)
