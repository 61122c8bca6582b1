"""The table of one run: what stands in it, and the same in each format."""

import csv
import html
import io
import re
from dataclasses import replace
from typing import Any

import pytest

from anymal_eval.report.rendering import FORMATS, Table, escape_latex, render
from anymal_eval.report.run_table import COLUMNS, files_of, run_table
from anymal_eval.store.results import Results, parse_results


def one(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "task": "vqav2", "split": "val", "data": "official", "protocol": "plain", "metric": "vqa_accuracy",
        "version": "2021", "output": "vqa_accuracy", "signature": "vqa_accuracy@2021|val", "value": 0.64213,
        "unit": "fraction", "better": "higher", "ci_low": 0.63, "ci_high": 0.6541, "ci_method": "clustered",
        "n": 4998, "n_expected": 5000, "states": {"ok": 4990, "empty": 8, "unparsable": 0, "error": 2},
        "group": None, "headline": True,
    }  # fmt: skip
    return {**plain, **changes}


def results(*measurements: dict[str, Any], **changes: Any) -> Results:
    data = {"schema": 1, "run": {"name": "night", "model": "tiny"}, "measurements": list(measurements), **changes}
    return parse_results(data, "x")


def row(table: Table, at: int = 0) -> dict[str, str]:
    return {name: cell.text for name, cell in zip(table.columns, table.rows[at], strict=True)}


CIDER = one(task="coco", metric="cider", version="1", output="cider", unit="cider", value=1.381600541481167)
FULL = results(
    one(),
    one(metric="vqa_accuracy", version="2016", headline=False),
    one(group={"answer_type": "yes/no"}, headline=False, n_expected=None),
    CIDER,
    not_computed=[{"task": "coco", "metric": "spice@1", "why": "no Java runtime; apt-get install default-jre"}],
)


def test_a_row_says_everything_about_its_number() -> None:
    assert row(run_table(FULL)) == {
        "task": "vqav2 val",
        "metric": "vqa_accuracy@2021",
        "value x100": "64.21",
        "95 % interval": "[63.00, 65.41]",
        "method": "clustered",
        "n of N": "4,998 of 5,000",
        "states": "ok 4,990, empty 8, error 2",
        "notes": "",
        "signature": "vqa_accuracy@2021|val",
    }


def test_headlines_come_first_then_other_metrics_then_groups() -> None:
    table = run_table(FULL)
    assert [(row(table, at)["task"], row(table, at)["metric"]) for at in range(5)] == [
        ("vqav2 val", "vqa_accuracy@2021"),
        ("coco val", "cider@1"),
        ("vqav2 val", "vqa_accuracy@2016"),
        ("vqav2 val, answer_type=yes/no", "vqa_accuracy@2021"),
        ("coco", "spice@1"),
    ]
    assert row(table, 1)["value x100"] == "138.16"
    assert (row(table, 4)["value x100"], row(table, 4)["notes"]) == (
        "not computed",
        "not computed: no Java runtime; apt-get install default-jre",
    )


def test_what_is_less_than_the_benchmark_says_so() -> None:
    small = one(n=198, states={"ok": 198, "error": 2})
    assert row(run_table(results(small)))["notes"] == "subset 200/5,000"
    limited = results(small, run={"name": "r", "model": "m", "limit": 200})
    assert row(run_table(limited))["notes"] == "limit 200 of 5,000"


def test_demo_and_chance_are_in_title_rows_and_notes() -> None:
    table = run_table(results(one(data="demo"), run={"name": "r", "model": "constant"}))
    assert table.title == "r: constant (chance), demo data"
    assert row(table)["task"] == "vqav2 val (demo)"
    assert row(table)["notes"] == "chance"
    assert any(note.startswith("chance:") for note in table.notes)
    assert any(note.startswith("demo:") for note in table.notes)


def test_no_interval_is_no_interval() -> None:
    assert row(run_table(results(one(ci_low=None, ci_high=None, ci_method=""))))["95 % interval"] == ""


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_the_same_content(format: Any) -> None:
    table = replace(run_table(FULL), tidy=(), paper=None)
    plain = render(table, format)
    if format == "latex":
        plain = re.sub(r"\\text(?:bf|it)\{(.*?)\}(?= *&)", r"\1", plain)
        for raw, escaped in (("_", r"\_"), ("%", r"\%"), ("|", r"\textbar{}"), ("[", "{[}"), ("]", "{]}")):
            plain = plain.replace(escaped, raw)
    if format == "md":
        plain = plain.replace(r"\|", "|")
    if format == "html":
        plain = html.unescape(plain)
    for cells in table.rows:
        for cell in cells:
            assert cell.text in plain
    for text in (table.title, *table.notes, *COLUMNS):
        assert text in plain


def test_the_csv_has_one_value_a_cell() -> None:
    rows = list(csv.DictReader(io.StringIO(render(run_table(FULL), "csv"))))
    by_group = {(row["task"], row["metric"], row["output"], row["group"]): row for row in rows}
    for item in FULL.measurements:
        group = " ".join(f"{key}={value}" for key, value in (item.group or {}).items())
        row = by_group[item.task, item.rule, item.output, group]
        assert float(row["value_x100"]) == pytest.approx(100 * item.value, abs=1e-3)
        bounds = [row[f"{name}_x100"] and float(row[f"{name}_x100"]) for name in ("ci_low", "ci_high")]
        assert bounds == [
            pytest.approx(100 * end, abs=1e-3) if end is not None else "" for end in (item.ci_low, item.ci_high)
        ]
        assert [int(row[state]) for state in item.states] == list(item.states.values())
        assert (row["headline"] == "yes") == item.headline
    lacking = [row for row in rows if row["kind"] == "not computed"]
    assert [(row["metric"], row["notes"]) for row in lacking] == [(one.metric, one.why) for one in FULL.not_computed]


def test_a_paper_has_the_headlines_and_no_groups() -> None:
    page = render(run_table(FULL), "latex")
    assert "\\label{tab:night}" in page
    for row in run_table(FULL).rows:
        is_shown = "=" not in row[0].text
        assert (escape_latex(row[0].text) in page) == is_shown, row[0].text


def test_files_of_a_run_folder() -> None:
    assert sorted(files_of(FULL)) == ["table.csv", "table.md", "table.tex"]
