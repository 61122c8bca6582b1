"""The abstract's claims follow from the registry."""

from typing import Any

import pytest

from anymal_eval import published
from anymal_eval.errors import NotInCatalog, WrongUse
from anymal_eval.report.gains import COLUMNS, gains_table, recomputed
from anymal_eval.report.rendering import Table
from anymal_eval.store.results import parse_results


def rows(table: Table) -> list[dict[str, str]]:
    return [dict(zip(COLUMNS, (cell.text for cell in row), strict=True)) for row in table.rows]


def test_the_abstract_of_anymal() -> None:
    found = rows(gains_table("anymal-2023"))
    assert [(row["benchmark"], row["against"], row["relative gain"], row["claimed"]) for row in found] == [
        ("vqav2 accuracy", "IDEFICS-80B", "+7.0 %", "+7.0 %"),
        ("coco CIDEr", "IDEFICS-80B", "+8.4 %", "+8.4 %"),
        ("audiocaps CIDEr", "ACT", "+14.6 %", "+14.5 %"),
    ]
    assert [row["notes"].startswith("differs from the claim") for row in found] == [False, False, True]
    paper = published.load("anymal-2023")
    exact = [recomputed(paper, claim) for claim in paper.gains]
    # 64.2 / 60.0, 99.5 / 91.8, 77.8 / 67.9
    assert exact == pytest.approx([7.0, 8.387799564270153, 14.580265095729015], abs=1e-9)


def test_a_run_is_held_against_the_same_row() -> None:
    measured: dict[str, Any] = {
        "task": "coco", "split": "test", "data": "official", "protocol": "p", "metric": "cider", "version": "1",
        "output": "cider", "signature": "s", "value": 1.0098, "unit": "cider", "better": "higher", "ci_low": 0.918,
        "ci_high": 1.1016, "ci_method": "bootstrap", "n": 5000, "n_expected": 5000, "states": {"ok": 5000},
        "group": None, "headline": True,
    }  # fmt: skip
    run = parse_results({"schema": 1, "run": "ours", "measurements": [measured]}, "x")
    found = rows(gains_table("anymal-2023", [run]))
    assert [row["row"] for row in found].index("ours") == 2
    assert found[2]["relative gain"] == "+10.0 % [0.0, +20.0]"
    assert len(found) == 4


def test_papers_without_claims() -> None:
    with pytest.raises(WrongUse, match="anymal-2023"):
        gains_table("blip2-2023")
    with pytest.raises(NotInCatalog):
        gains_table("nobody-2023")
