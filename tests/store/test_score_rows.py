"""Rows of scores: the columns are those of the rows that ``json`` reads, of regular rows and others."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anymal_eval.errors import BadData
from anymal_eval.evaluation.report_selection import RowsById
from anymal_eval.store.score_rows import ScoreRows
from anymal_eval.store.stored import StoredRun

REGULAR: list[dict[str, Any]] = [
    {"id": "1", "cluster": "a", "state": "ok", "raw": "No.", "answer": "no", "scores": {"m": 1.0}, "p_yes": 0.25},
    {"id": "2", "cluster": "a", "state": "error", "raw": None, "answer": "", "groups": {"g": "x"}, "scores": {}},
    {"id": "3", "cluster": "b", "state": "ok", "raw": [-1.5, 2], "answer": "yes", "key": "k", "scores": {"m": 1.0}},
]


def _read(rows: list[Any]) -> ScoreRows:
    return ScoreRows.read("".join(f"{json.dumps(row)}\n" for row in rows).encode(), Path("scores.jsonl"))


@pytest.mark.parametrize("extra", [[], [{"id": 4, "cluster": "b", "state": "ok", "answer": "", "scores": {}}]])
def test_columns_are_those_of_the_rows(extra: list[Any]) -> None:
    rows = REGULAR + extra  # a number as an id makes all of them irregular
    found = _read(rows)
    assert list(found) == rows
    assert len(found) == len(rows)
    for key in ("id", "cluster", "state", "answer", "scores", "raw", "key", "p_yes", "choice"):
        assert found.column(key) == [row.get(key) for row in rows], key
    assert found.column("groups") == [row.get("groups", {}) for row in rows]
    assert found.within("scores", "m") == [row["scores"].get("m") for row in rows]
    some = found.take([2, 0])
    assert list(some) == [rows[2], rows[0]]
    assert some.column("raw") == [[-1.5, 2], "No."]
    assert list(found[1:3]) == rows[1:3]


def test_a_line_that_is_no_json_is_named() -> None:
    with pytest.raises(BadData, match=r"scores\.jsonl"):
        ScoreRows.read(b'{"id": "1"}\n{"id": \n', Path("scores.jsonl"))


@pytest.mark.parametrize(
    "extra", [[], [{"id": "4", "cluster": "b", "state": "ok", "answer": "", "scores": {}, "x": 1}]]
)
def test_rows_by_id_are_the_rows(extra: list[Any]) -> None:
    rows = REGULAR + extra
    found = RowsById(_read(rows))
    keys = ("state", "answer", "raw", "scores", "choice", "p_yes", "cut", "thinking", "template")
    assert dict(found) == {row["id"]: {key: row.get(key) for key in keys} for row in rows}
    assert "5" not in found
    assert found.get("5") is None
    # Another run's, of the same ids or of others.
    assert dict(RowsById(_read(rows), found)) == dict(found)
    assert dict(RowsById(_read(rows[1:]), found)) == {row["id"]: found[row["id"]] for row in rows[1:]}
    assert dict(RowsById(_read(rows[::-1]), found)) == dict(found)


def test_held_rows_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "vqav2").mkdir()
    file = tmp_path / "vqav2" / "scores.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in REGULAR))
    run = StoredRun(tmp_path)
    vars(run)["manifest"] = SimpleNamespace(tasks={"vqav2": SimpleNamespace(n=3)})
    run.hold_rows()
    first = run.score_rows("vqav2")
    file.write_text("")
    assert run.score_rows("vqav2") is first
    run.release_rows()
    assert list(run.score_rows("vqav2")) == []
