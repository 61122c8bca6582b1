"""Measured rows beside published ones, and what the footnotes say."""

import csv
import io
import re
from typing import Any

import pytest

from anymal_eval.errors import NotInCatalog, WrongUse
from anymal_eval.report.paper_table import Choice, paper_table
from anymal_eval.report.rendering import FORMATS, Cell, Format, Table, render
from anymal_eval.store.results import Results, parse_results


def one(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "task": "coco", "split": "test", "data": "official", "protocol": "anymal-2023", "metric": "cider",
        "version": "1", "output": "cider", "signature": "s", "value": 1.3816, "unit": "cider", "better": "higher",
        "ci_low": 1.36, "ci_high": 1.40, "ci_method": "bootstrap", "n": 5000, "n_expected": 5000,
        "states": {"ok": 5000, "empty": 0, "unparsable": 0, "error": 0}, "group": None, "headline": True,
    }  # fmt: skip
    return {**plain, **changes}


VQA = {"task": "vqav2", "split": "val", "metric": "vqa_accuracy", "version": "2021", "output": "vqa_accuracy",
       "unit": "fraction", "value": 0.7, "ci_low": 0.69, "ci_high": 0.71}  # fmt: skip


def run(*measurements: dict[str, Any], model: str = "ours", **facts: Any) -> Results:
    data = {"schema": 1, "run": {"name": "night", "model": model, **facts}, "measurements": list(measurements)}
    return parse_results(data, "x")


def cell(table: Table, label: str, column: str) -> Cell:
    at = [name for name in table.columns if name.startswith(column)]
    row = next(row for row in table.rows if row[0].text == label)
    return row[table.columns.index(at[0])]


def footnotes(table: Table, found: Cell) -> list[str]:
    letters = re.search(r"\(([a-z,]+)\)$", found.text)
    return [note for mark in (letters[1].split(",") if letters else []) for note in table.notes if f"({mark})" in note]


def test_a_measured_row_stands_below_and_looks_different() -> None:
    table = paper_table([run(one())], "anymal-2023/2")

    assert [row[0].text for row in table.rows][-3:] == ["AnyMAL 13B (ViT-G)", "AnyMAL 70B (ViT-G)", "ours"]
    assert table.columns == ("model", "from", "coco CIDEr", "mmit_cap CIDEr")
    ours = cell(table, "ours", "coco")
    assert ours.text == "138.2 [136.0, 140.0]"
    assert (ours.bold, ours.italic) == (True, False)
    theirs = cell(table, "AnyMAL 13B (ViT-G)", "coco")
    assert (theirs.text, theirs.bold, theirs.underline, theirs.italic) == ("99.5", False, True, True)
    assert cell(table, "ours", "mmit_cap").text == ""
    assert [row[1].text for row in table.rows][-2:] == ["Table 2", "measured, anymal-2023"]
    assert any(note.startswith("Italic: as published") for note in table.notes)


def test_flags_and_the_papers_own_errors_are_footnotes() -> None:
    table = paper_table([], "anymal-2023/4")
    blip = cell(table, "BLIP-2 (FlanT5-XXL)", "vqav2")
    assert footnotes(table, blip) == ["(b) trained on this benchmark's training data."]
    wrong = footnotes(table, cell(table, "InstructBLIP (V-13B)", "hateful_memes"))
    assert wrong == ["(d) 53.7 is BLIP-2 Vicuna-13B; InstructBLIP Vicuna-13B has 57.5."]
    assert cell(table, "AnyMAL 70B (ViT-G)", "vqav2").bold
    assert not cell(table, "AnyMAL 70B (MM-IT; ViT-G)", "vqav2").bold


def test_a_column_that_is_flagged_as_a_whole_is_still_ranked() -> None:
    table = paper_table([], "anymal-2023/5")
    assert cell(table, "AnyMAL 70B (CLAP)", "audiocaps CIDEr").bold
    assert cell(table, "AnyMAL 13B (CLAP)", "audiocaps CIDEr").underline


@pytest.mark.parametrize(
    ("change", "says", "ranked"),
    [
        ({"split": "val"}, "138.2 measured on val, the column is Karpathy test", False),
        ({"data": "demo"}, "demo data, not the benchmark", False),
        ({"data": "hub"}, "data: hub", True),
        ({"n": 500, "states": {"ok": 500}}, "subset 500/5,000", False),
        ({"n": 4999, "states": {"ok": 4999, "error": 1}}, "1 of 5,000 are errors", False),
    ],
)
def test_differences_from_the_published_number_are_footnotes(change: dict[str, Any], says: str, ranked: bool) -> None:
    table = paper_table([run(one(**change))], "anymal-2023/2")
    label = "ours (demo data)" if change.get("data") == "demo" else "ours"
    found = cell(table, label, "coco")
    assert any(says in note for note in footnotes(table, found))
    assert found.bold == ranked
    assert ("demo" in table.title) == (change.get("data") == "demo")


def test_rules_are_named_where_they_differ_or_are_not_known() -> None:
    table = paper_table([run(one(**VQA))], "anymal-2023/4")
    notes = footnotes(table, cell(table, "ours", "vqav2"))
    assert any("measured by vqa_accuracy@2021; the published rule is not stated" in note for note in notes)
    assert any("measured on val; the published split is not stated" in note for note in notes)
    other = paper_table([run(one(**VQA))], "blip2-2023/vqa")
    found = next(row for row in other.rows if row[0].text == "ours")
    at = other.columns.index("vqav2 val accuracy")
    assert any("the column by vqa_accuracy@2016" in note for note in footnotes(other, found[at]))
    assert not found[at].bold


def test_the_papers_rule_is_taken_where_the_run_has_it() -> None:
    both = run(one(**VQA), one(**{**VQA, "version": "2016", "value": 0.69, "headline": False}))
    table = paper_table([both], "blip2-2023/vqa")
    found = next(row for row in table.rows if row[0].text == "ours")[table.columns.index("vqav2 val accuracy")]
    assert found.text == "69.0 [69.0, 71.0]"
    assert found.bold


def test_the_headline_of_a_subset_is_the_headline() -> None:
    image = {**VQA, "task": "scienceqa", "split": "test", "metric": "choice_accuracy", "version": "1",
             "output": "choice_accuracy", "value": 0.7, "group": {"context": "image"}}  # fmt: skip
    whole = {**image, "value": 0.8, "group": None, "headline": False, "ci_high": 0.82}
    table = paper_table([run(one(**whole), one(**image))], "anymal-2023/4")
    assert cell(table, "ours", "scienceqa").text.startswith("70.0")


def test_what_was_not_computed_says_why() -> None:
    measured = run(one(task="audiocaps"))
    lacking = [{"task": "audiocaps", "metric": "spice@1", "why": "no Java runtime"}]
    data = {"schema": 1, "run": "night", "measurements": [one(task="audiocaps")], "not_computed": lacking}
    table = paper_table([measured, parse_results(data, "x")], "anymal-2023/5")
    spice = cell(table, "night", "audiocaps SPICE")
    assert spice.text.startswith("not computed")
    assert footnotes(table, spice) == ["(d) not computed: no Java runtime."]
    assert cell(table, "ours", "audiocaps SPICE").text == ""


def test_motion_is_measured_under_another_name() -> None:
    table = paper_table([run(one(task="imu_caption", value=0.5))], "anymal-2023/imu")
    assert cell(table, "ours", "ego4d_imu CIDEr").text.startswith("50.0")


def test_chance_and_blind_rows_are_shown_and_never_best() -> None:
    chance, blind = run(one(), model="constant"), run(one(value=1.39), ablate="no-media")
    table = paper_table([chance, blind, run(one(value=0.9))], "anymal-2023/2")
    assert [row[0].text for row in table.rows][-3:] == ["constant (chance)", "ours (no-media)", "ours"]
    assert cell(table, "AnyMAL 13B (ViT-G)", "coco").bold
    assert not cell(table, "ours (no-media)", "coco").bold


def test_runs_alone_are_compared_with_each_other() -> None:
    weak, strong = run(one(**VQA), one()), run(one(value=1.4), model="theirs")
    table = paper_table([weak, strong])
    assert table.columns == ("model", "from", "coco cider@1", "vqav2 vqa_accuracy@2021")
    assert cell(table, "theirs", "coco").bold
    assert cell(table, "ours", "coco").underline
    assert not cell(table, "ours", "vqav2").bold


def test_runs_of_the_same_sample_may_be_compared_others_not() -> None:
    few = {"n": 200, "states": {"ok": 200}}
    table = paper_table([run(one(**few), limit=200), run(one(**few, value=1.4), model="theirs", limit=200)])
    assert cell(table, "theirs", "coco").bold
    assert "limit 200 of 5,000" in footnotes(table, cell(table, "theirs", "coco"))[0]
    mixed = paper_table([run(one()), run(one(**few, value=1.5), model="theirs", limit=200)])
    assert not cell(mixed, "theirs", "coco").bold
    demo = paper_table([run(one(data="demo")), run(one(data="demo", value=1.4), model="theirs")])
    assert cell(demo, "theirs (demo data)", "coco").bold


def test_runs_of_one_model_bear_the_runs_name() -> None:
    table = paper_table([run(one()), run(one(), name="day")])
    assert [row[0].text for row in table.rows] == ["ours, night", "ours, day"]


def test_gains_over_a_named_row() -> None:
    table = paper_table([run(one(value=1.8, ci_low=1.7, ci_high=1.9))], "anymal-2023/2", "IDEFICS-80B")
    # 180 / 91.8, 170 / 91.8, 190 / 91.8
    assert cell(table, "ours", "coco").text == "180.0 [170.0, 190.0] +96.1 % [+85.2, +107.0]"
    assert cell(table, "AnyMAL 13B (ViT-G)", "coco").text == "99.5 +8.4 %"
    assert cell(table, "IDEFICS-80B", "coco").text.startswith("91.8 (")
    demo = paper_table([run(one(data="demo"))], "anymal-2023/2", "IDEFICS-80B")
    assert "%" not in cell(demo, "ours (demo data)", "coco").text
    with pytest.raises(NotInCatalog, match="IDEFICS-80B"):
        paper_table([], "anymal-2023/2", "nobody")


def test_a_number_without_an_interval_says_so() -> None:
    table = paper_table([run(one(ci_low=None, ci_high=None))], "anymal-2023/2")
    assert cell(table, "ours", "coco").text == "138.2 [no interval]"


def test_wrong_names() -> None:
    with pytest.raises(WrongUse, match="--like"):
        paper_table([])
    with pytest.raises(NotInCatalog, match="anymal-2023"):
        paper_table([], "anymal-2024/4")
    with pytest.raises(NotInCatalog, match="2, 4, 5, 6"):
        paper_table([], "anymal-2023")


@pytest.mark.parametrize("format", FORMATS)
def test_a_hostile_model_name_stays_text(format: Format) -> None:
    name = "<script>x</script>\n| a_b & 100%"
    page = render(paper_table([run(one(), model=name)], "anymal-2023/2"), format)
    if format in ("html", "md"):
        assert "<script>" not in page
    if format == "latex":
        assert r"a\_b \& 100\%" in page
    assert "</script>\n" not in page


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_every_number(format: Format) -> None:
    table = paper_table([run(one())], "anymal-2023/4")
    page = render(table, format)
    for row in table.rows:
        for found in row:
            number = re.match(r"[\d.]+", found.text)
            if number:
                assert number[0] in page
    for note in table.notes:
        text = note.split(") ", 1)[1].rstrip(".") if note.startswith("(") else note
        is_of_no_number = format == "csv" and not note.startswith("(")
        assert is_of_no_number or text.split(":")[0].split("'")[0] in page


def test_the_csv_has_one_value_a_cell() -> None:
    weak = run(one(value=0.5, ci_low=0.4, ci_high=0.6), model="=1+1")
    page = render(paper_table([weak, run(one())], "anymal-2023/2", "AnyMAL 13B (ViT-G)"), "csv")
    rows = list(csv.DictReader(io.StringIO(page)))
    theirs, ours = (next(row for row in rows if row["model"] == name) for name in ("AnyMAL 70B (ViT-G)", "ours"))
    assert (theirs["task"], theirs["kind"], theirs["value_x100"], theirs["ci_low_x100"]) == (
        "coco", "published", "95.90", "",
    )  # fmt: skip
    assert [float(ours[f"{name}_x100"]) for name in ("value", "ci_low", "ci_high")] == [138.16, 136.0, 140.0]
    assert float(ours["gain_percent"]) == pytest.approx(100 * (138.16 / 99.5 - 1), abs=0.01)
    assert [row["model"] for row in rows if row["kind"] == "measured"] == ["'=1+1", "ours"]
    assert len(rows) == sum(bool(cell.text) for row in paper_table([run(one()), weak], "anymal-2023/2").rows
                            for cell in row[2:])  # fmt: skip


def test_columns_names_and_intervals_are_chosen() -> None:
    measured = [run(one(), one(**VQA)), run(one(value=1.4), one(**VQA), ablate="no-media")]
    table = paper_table(measured, choice=Choice(columns=("vqav2",), names=("Mine", ""), intervals=False))
    assert table.columns == ("model", "from", "vqav2 vqa_accuracy@2021")
    assert [row[0].text for row in table.rows] == ["Mine", "ours (no-media)"]
    assert [row[2].text for row in table.rows] == ["70.0", "70.0"]
    theirs = paper_table([], "anymal-2023/2", choice=Choice(columns=("coco",)))
    assert "LLaVA" not in [row[0].text for row in theirs.rows], "it has no number there"
    with pytest.raises(NotInCatalog, match="no column 'cooc'; there are coco, mmit_cap"):
        paper_table([], "anymal-2023/2", choice=Choice(columns=("cooc",)))


def test_a_paper_gets_a_caption_a_label_and_a_rule_above_its_own_rows() -> None:
    page = render(paper_table([run(one())], "anymal-2023/2"), "latex")
    assert "\\label{tab:anymal-2023-2}" in page
    assert "Protocol of the rows measured here: anymal-2023. Splits: coco CIDEr, Karpathy test" in page
    lines = page.splitlines()
    (own,) = (at for at, line in enumerate(lines) if line.startswith("ours & "))
    assert lines[own - 1] == "\\midrule"
    assert "AnyMAL 70B (ViT-G)" in lines[own - 2]
    assert "\\textbf{138.2} \\\\ {\\scriptsize {[}136.0, 140.0{]}}" in lines[own]
    assert "Table 2" not in lines[own - 2], "the caption says where from"
