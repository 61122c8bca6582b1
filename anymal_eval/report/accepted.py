"""Accepted runs: what a run needs to be accepted, and the tables of all accepted runs in ``results/tables/``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from anymal_eval.codec import decode, read_json, write_json_pretty
from anymal_eval.errors import IncompleteRun
from anymal_eval.locks import hold
from anymal_eval.paths import inside
from anymal_eval.report.comparison import measured_place
from anymal_eval.report.pairing import task_run
from anymal_eval.report.paper_table import named_table, paper_table
from anymal_eval.report.rendering import FORMATS, SUFFIXES, render
from anymal_eval.scoring.verification import open_verified
from anymal_eval.store.accepted import accepted_runs
from anymal_eval.store.atomic import delete_drafts, storage_errors, write_atomic, write_files
from anymal_eval.store.results import Results
from anymal_eval.store.stored import StoredRun

TABLES = Path("results") / "tables"
INDEX = ".written.json"  # the names of the tables that were written; other files beside them are the user's
LIKE = ("anymal-2023/2", "anymal-2023/4", "anymal-2023/5", "anymal-2023/6")


def require_whole(run: StoredRun) -> Results:
    """Ensure that every task of a run is complete, scored and free of errors.

    Raises:
        IncompleteRun: a task is not; the message names each such task and the reason.
    """
    wrong = []
    for task, entry in run.manifest.tasks.items():
        if not (run.root / task / "scores.jsonl").is_file() and not (run.root / task / "scores.jsonl.gz").is_file():
            wrong.append(f"{task} is not scored")
            continue
        one = task_run(run, task)
        if len(one.rows) != entry.n:
            wrong.append(f"{task} has {len(one.rows):,} of {entry.n:,} answers")
        elif one.errors:
            wrong.append(f"{task} has {one.errors:,} errors among {len(one.rows):,} answers")
        elif one.headline is None:
            wrong.append(f"{task} has no headline number: {one.why_not}")
    if wrong:
        raise IncompleteRun(
            f"{run.root}: {'; '.join(wrong)}; the same run command requests only what is missing, then accept"
        )
    return run.results


def accepted_tables(accepted: Path) -> Mapping[str, str]:
    """File name -> text: a table of all accepted runs, and the paper's tables followed by the runs that fit.

    Args:
        accepted: the folder of the accepted runs.

    Raises:
        BadData: an accepted run was edited.
    """
    stored = [open_verified(run.root) for run in accepted_runs(accepted)]
    if not stored:
        return {}
    runs = [run.results for run in stored]
    tables = {"accepted": paper_table(runs, stored=stored)}
    for like in LIKE:
        fitting = _fitting(runs, like)
        if fitting:
            where = [run for run in stored if run.results in fitting]
            tables[like.replace("/", "-table-")] = paper_table(fitting, like, stored=where)
    return {f"{name}{SUFFIXES[format]}": render(table, format) for name, table in tables.items() for format in FORMATS}


def write_tables(accepted: Path, tables: Path) -> list[Path]:
    """Write the tables of the accepted runs into ``tables`` and delete those written before that are of no run now.

    Returns:
        The files, in order.

    Raises:
        BadData: an accepted run or the index of the tables was edited.
        StorageFull, WrongUse: no space, or no permission to write.
    """
    # The last of several processes reads what all have accepted.
    with storage_errors(tables), _hold(tables):
        made = accepted_tables(accepted)
        before = _written(tables)
        tables.mkdir(parents=True, exist_ok=True)
        delete_drafts(tables, (INDEX, *before))
        # Before any table, so that a process that is killed leaves none that the next one takes for the user's.
        _write_index(tables, {*before, *made})
        for name in before - made.keys():
            inside(tables, name).unlink(missing_ok=True)
        write_files(tables, made)
        _write_index(tables, made)
    return [tables / name for name in made]


@contextlib.contextmanager
def _hold(tables: Path) -> Iterator[None]:
    tables.parent.mkdir(parents=True, exist_ok=True)
    with hold(tables.with_name(f".{tables.name}.lock")):
        yield


def stale(accepted: Path, tables: Path) -> list[str]:
    """The problems of the files in ``tables``: missing, of no accepted run, or out of date."""
    made = accepted_tables(accepted)
    files = [inside(tables, name) for name in sorted({*_written(tables), *made})]
    found = {file.name: file.read_text(encoding="utf-8") for file in files if file.is_file()}
    wrong = [f"{name} is missing" for name in made if name not in found]
    wrong += [f"{name} belongs to no accepted run" for name in found if name not in made]
    wrong += [f"{name} is stale" for name, text in made.items() if found.get(name, text) != text]
    return sorted(wrong)


def _written(tables: Path) -> set[str]:
    """The names in the index that are names of tables; without an index, none."""
    index = tables / INDEX
    names = decode(dict[str, list[str]], read_json(index), str(index)).get("tables", []) if index.is_file() else []
    return {inside(tables, name).name for name in names if name.endswith(tuple(SUFFIXES.values()))}


def _write_index(tables: Path, names: Iterable[str]) -> None:
    write_atomic(tables / INDEX, write_json_pretty({"tables": sorted(names)}))


def _fitting(runs: list[Results], like: str) -> list[Results]:
    """The runs with a measurement for a column of a table."""
    columns = named_table(like)[1].columns
    return [run for run in runs if any(measured_place(run, column) is not None for column in columns)]
