"""``results/tables/``: the tables of the accepted runs, and whether those on disk are theirs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anymal_eval.report.comparison import measured_place
from anymal_eval.report.paper_table import named_table, paper_table
from anymal_eval.report.rendering import FORMATS, SUFFIXES, render
from anymal_eval.store import digests
from anymal_eval.store.accepted import accepted_runs
from anymal_eval.store.atomic import write_atomic
from anymal_eval.store.results import Results

TABLES = Path("results") / "tables"
LIKE = ("anymal-2023/2", "anymal-2023/4", "anymal-2023/5", "anymal-2023/6")


def accepted_tables(accepted: Path) -> Mapping[str, str]:
    """File name -> text: all accepted runs, and the paper's tables with the runs that belong there below them.

    Args:
        accepted: the folder of the accepted runs.

    Raises:
        BadData: an accepted run was edited.
    """
    runs = []
    for run in accepted_runs(accepted):
        digests.verify(run.root, only=["results.json"])
        runs.append(run.results)
    if not runs:
        return {}
    tables = {"accepted": paper_table(runs)}
    for like in LIKE:
        fitting = _fitting(runs, like)
        if fitting:
            tables[like.replace("/", "-table-")] = paper_table(fitting, like)
    return {f"{name}{SUFFIXES[format]}": render(table, format) for name, table in tables.items() for format in FORMATS}


def write_tables(accepted: Path, tables: Path) -> list[Path]:
    """Make ``tables`` hold the tables of the accepted runs and no others of ours.

    Returns:
        The files, in order.
    """
    made = accepted_tables(accepted)
    tables.mkdir(parents=True, exist_ok=True)
    for old in _ours(tables):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        write_atomic(tables / name, text)
    return [tables / name for name in made]


def stale(accepted: Path, tables: Path) -> list[str]:
    """The files of ``tables`` that are not what the accepted runs give, each with what is wrong."""
    made = accepted_tables(accepted)
    there = {file.name: file.read_text(encoding="utf-8") for file in _ours(tables)}
    wrong = [f"{name} is missing" for name in made if name not in there]
    wrong += [f"{name} belongs to no accepted run" for name in there if name not in made]
    wrong += [f"{name} is stale" for name, text in made.items() if there.get(name, text) != text]
    return sorted(wrong)


def _ours(tables: Path) -> list[Path]:
    return sorted(file for file in tables.glob("*") if file.suffix in SUFFIXES.values())


def _fitting(runs: list[Results], like: str) -> list[Results]:
    """The runs that measured a column of that table."""
    columns = named_table(like)[1].columns
    return [run for run in runs if any(measured_place(run, column) is not None for column in columns)]
