"""The plots of a report of several runs, parsed: marks, labels, axes; and what each is computed from."""

import re
import shutil
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from playwright.sync_api import Browser

from anymal_eval.records import Example
from anymal_eval.report.gallery import panels
from anymal_eval.report.gallery.answer_plots import curve
from anymal_eval.report.gallery.content import Report, RunRecord, Side
from anymal_eval.report.gallery.facts import fact_groups
from anymal_eval.report.gallery.panels import Answers
from anymal_eval.report.gallery.plots import FEWEST, groups, measured
from anymal_eval.report.gallery.rows import Dot, Row, Rows, axis_svg, row_svg, unlike
from anymal_eval.report.gallery.spread import spread
from anymal_eval.store.manifest import Manifest
from anymal_eval.store.results import Measurement
from tests.report.gallery.conftest import call, demo_run, scores, watched
from tests.report.gallery.test_sentences import ENTRY, page_of


@pytest.fixture(scope="module")
def several(runs: tuple[Path, Path], world: Path) -> Path:
    """Three runs, two of them with a step, against a fourth."""
    before, after = runs
    steps = [shutil.copytree(run, world / f"step-{step}") for run, step in ((before, 10), (after, 20))]
    call("report", after, *steps, "--against", before, "--media", "none", "--out", world / "several")
    return world / "several"


def figures(page: Path) -> list[str]:
    return re.findall(r"<figure.*?</figure>", page.read_text(encoding="utf-8"), re.DOTALL)


def labels(figure: str) -> list[str]:
    return re.findall(r'<div class="chart-label">(?:<a[^>]*>|<span>)(.*?)<', figure)


def drawn(text: str) -> list[Xml.Element]:
    """The outer drawings of a figure, as XML."""
    found, depth, start = [], 0, 0
    for tag in re.finditer(r"<svg|</svg>", text):
        depth += 1 if tag[0] == "<svg" else -1
        if depth == 1 and tag[0] == "<svg":
            start = tag.start()
        if depth == 0:
            found.append(Xml.fromstring(text[start : tag.end()]))  # noqa: S314  # our own
    return found


def shapes(drawing: Xml.Element) -> list[str]:
    return [each.get("class", "") for each in drawing.iter("path")]


def test_every_run_is_on_every_row_with_its_own_mark_and_name(several: Path) -> None:
    pages = [several / "index.html", *sorted((several / "tasks").glob("*.html"))]
    marks: dict[str, set[str]] = {}
    rows = 0
    for page in pages:
        for figure in figures(page):
            for drawing in drawn(figure):
                names = [re.sub(r"^[-+\d.]+ ", "", "".join(text.itertext())) for text in drawing.iter("text")
                         if text.get("class") == "mark-label"]  # fmt: skip
                if not names:
                    continue
                rows += 1
                assert len(set(names)) == len(names)
                expected = {"after", "step 10", "step 20"} | ({"before"} if "Change against" not in figure else set())
                assert set(names) == expected
                for name, shape in zip(names, shapes(drawing), strict=True):
                    marks.setdefault(name, set()).add(shape.removesuffix(" hollow"))
    assert rows > 20
    assert all(len(found) == 1 for found in marks.values())
    one_each = [next(iter(found)).split()[1:] for found in marks.values()]
    assert len({shape for shape, _ in one_each}) == len({colour for _, colour in one_each}) == 4


def test_no_label_is_twice_on_a_plot(several: Path) -> None:
    counted = 0
    for page in several.rglob("*.html"):
        for figure in figures(page):
            names = labels(figure)
            counted += len(names)
            assert Counter(names).most_common(1)[0][1] == 1 if names else True
            for drawing in drawn(figure):
                ticks = [text.text for text in drawing.iter("text")
                         if text.get("text-anchor") == "middle" and text.get("class") is None]  # fmt: skip
                assert len(set(ticks)) == len(ticks)
    assert counted > 25


def test_an_axis_has_one_unit(several: Path) -> None:
    captions = {"CIDEr", "SPIDEr"}
    found = [(re.search(r'class="unit">([^<]*)<', figure)[1], labels(figure))  # type: ignore[index]
             for figure in figures(several / "tasks" / "audiocaps.html") if "<h3>Scores</h3>" in figure]  # fmt: skip
    assert [unit for unit, _ in found] == ["CIDEr x100", "x100"]
    assert set(found[0][1]) <= captions
    assert not set(found[1][1]) & captions


def test_the_curve_has_the_runs_with_steps(several: Path) -> None:
    text = (several / "index.html").read_text(encoding="utf-8")
    found = next(figure for figure in figures(several / "index.html") if "Checkpoints" in figure)
    panels_ = drawn(found)
    assert len(panels_) == 5
    for panel in panels_:
        assert len(panel.findall(".//polyline")) == 1
        assert len(list(panel.iter("path"))) == 2
        # ``before`` has no step.
        assert len([line for line in panel.iter("line") if line.get("class") == "guess"]) == 1
    assert '<th scope="row">10</th>' in text
    assert '<th scope="row">20</th>' in text


def test_two_trainings_of_the_same_steps_are_two_curves() -> None:
    values = {("a", 10): 0.1, ("a", 20): 0.2, ("b", 10): 0.5, ("b", 20): 0.4}
    sides = [side_of(f"{name}/{step}", measurement(value, 100, None)) for (name, step), value in values.items()]
    page = page_of("t", [], *sides)
    runs = [RunRecord(name=side.label, step=step, training=name, model="", manifests=())
            for side, (name, step) in zip(sides, values, strict=True)]  # fmt: skip
    report = Report(title="", is_demo=False, pages=[page], runs=runs, reported=4, pairs=())
    plot, series = curve(report)
    assert plot is not None
    assert [one.name for one in series] == ["T, accuracy, a", "T, accuracy, b"]
    assert [[(point.step, point.value) for point in one.points] for one in series] == [
        [(10, 10.0), (20, 20.0)],
        [(10, 50.0), (20, 40.0)],
    ]
    heights = [[float(mark.get("y") or "") for mark in drawn(each.svg)[0].findall("g/svg")] for each in plot.panels]
    assert heights[0][0] > heights[0][1] > heights[1][1] > heights[1][0]  # on one scale


def test_a_task_that_the_first_run_lacks(chromium: Browser, runs: tuple[Path, Path], world: Path) -> None:
    lone = demo_run(world / "lone", "constant", tasks="vqav2")
    call("report", lone, runs[1], "--against", runs[0], "--media", "none", "--out", world / "lacking")
    for tab in watched(chromium, world / "lacking"):
        page = tab.open("index.html")
        assert "this run does not have the task" in page.inner_text(".matrix tbody tr:nth-child(4) td:nth-child(3)")
        page = tab.open("tasks/audiocaps.html")
        page.wait_for_selector(".answer")
        page = tab.open("tasks/audiocaps.html", "#overview")
        assert "does not have this task" in page.inner_text(".run-keys")


def test_every_recorded_fact_is_there(several: Path, runs: tuple[Path, Path]) -> None:
    text = (several / "index.html").read_text(encoding="utf-8")
    manifest = (runs[1] / "manifest.json").read_text(encoding="utf-8").rpartition('"sha256"')[0]
    for value in re.findall(r'": "([^"\\]{12,})"', manifest):
        assert value.replace("'", "&#39;").replace(">", "&gt;").replace("<", "&lt;") in text, value
    digest = re.findall(r'"([0-9a-f]{64})"', (runs[1] / "digests.json").read_text(encoding="utf-8"))[0]
    assert digest in text
    assert "started" in text


def test_plots_of_answers_are_over_all_examples_not_those_shown(runs: tuple[Path, Path], tmp_path: Path) -> None:
    call("report", runs[1], "--examples", "2", "--media", "none", "--out", tmp_path / "few")
    page = (tmp_path / "few" / "tasks" / "audiocaps.html").read_text(encoding="utf-8")
    words = [len(row["answer"].split()) for row in scores(runs[1], "audiocaps").values()]
    assert f"median {sorted(words)[12]}, mean {sum(words) / 24:.1f}" in page


def row_of(item: dict[str, object]) -> dict[str, object]:
    return {"state": "ok", "answer": "a b", "scores": {"cider@1": 0.5}, **item}


def test_errors_are_in_no_plot() -> None:
    examples = [Example(id=str(at), cluster="1", kind="caption") for at in range(3)]
    found = spread(examples, {"0": row_of({}), "1": row_of({"state": "error", "answer": ""})})
    assert (found.lengths, found.scores) == ([2], [0.5])


def test_probabilities_of_options() -> None:
    examples = [Example(id=str(at), cluster="1", kind="choice", options=("a", "b"), label=1) for at in range(3)]
    rows = {"0": row_of({"raw": [-1.0, -1.0], "choice": 0}), "1": row_of({"raw": [-30.0, 0.0], "choice": 1}),
            "2": row_of({"raw": "B", "choice": 1})}  # fmt: skip
    found = spread(examples, rows)
    assert found.right == [0, 1]
    assert found.confidence == pytest.approx([0.5, 1.0])
    assert spread(examples, rows, by_token=True).confidence == []


def test_the_area_under_roc_is_that_of_all_pairs() -> None:
    truth, p = [1, 0, 1, 1, 0, 0, 1], [0.9, 0.8, 0.8, 0.7, 0.3, 0.3, 0.3]
    pairs = [(1.0 if yes > no else 0.5 if yes == no else 0.0)
             for label, yes in zip(truth, p, strict=True) if label
             for other, no in zip(truth, p, strict=True) if not other]  # fmt: skip
    ((_, name, area),) = panels.roc([Answers(name="run", mark=(0, 0), truth=truth, p=p)]).keys
    assert (name, area) == ("run", f"{100 * sum(pairs) / len(pairs):.1f}")


def test_a_bin_of_few_answers_is_hollow() -> None:
    truth, p = [1] * 25 + [0] * 3, [0.95] * 25 + [0.05] * 3
    (drawing,) = drawn(panels.reliability(Answers(name="run", mark=(1, 2), truth=truth, p=p), "x", "y").svg)
    assert shapes(drawing) == ["mark-shape s1 c2 hollow", "mark-shape s1 c2"]


def measurement(value: float, n: int, group: dict[str, str] | None, split: str = "test") -> Measurement:
    return Measurement(task="t", split=split, data="official", protocol="plain", metric="choice_accuracy", version="1",
                       output="choice_accuracy", signature="", value=value, unit="fraction", better="higher",
                       ci_low=value - 0.1, ci_high=value + 0.1, ci_method="t", n=n, n_expected=None, states={"ok": n},
                       group=group, headline=group is None)  # fmt: skip


def side_of(name: str, *items: Measurement) -> Side:
    return Side(label=name, rows={}, headline=items[0], groups=items[1:], counts={"ok": 100}, measurements=items)


def two_runs(sides: list[Side], reported_split: str = "") -> tuple[Report, list[Rows], list[Rows]]:
    import dataclasses

    page = dataclasses.replace(page_of("t", [None], *sides), base=1, reported=reported_split, entry=ENTRY)
    runs = [RunRecord(name=side.label, step=None, model="", manifests=()) for side in sides]
    report = Report(title="", is_demo=False, pages=[page], runs=runs, reported=1, pairs=())
    return report, measured(report, page), groups(report, page)


def test_groups_are_facets_the_largest_fall_first_and_small_ones_folded() -> None:
    sizes = {"many": 40, "some": FEWEST, "few": FEWEST - 1, "one": 1}
    falls = {"many": 0.05, "some": -0.2, "few": -0.5, "one": -0.9}
    sides = [
        side_of(name, measurement(0.5, 100, None),
                *(measurement(0.6 + sign * falls[key], n, {"size": key}) for key, n in sizes.items()),
                measurement(0.4, 30, {"other": "yes"}), measurement(0.5, 100, {"whole": "all"}))
        for name, sign in (("now", 1), ("before", 0))
    ]  # fmt: skip
    _, _, found = two_runs(sides)
    assert [plot.title for plot in found] == ["Accuracy by size", "Accuracy in other groups"]
    size = found[0]
    assert [(row.label, row.end) for row in size.rows] == [("some", "-20.0"), ("many", "+5.0")]
    assert [row.label for row in size.folded] == ["one", "few"]
    one = size.folded[0]
    assert (one.dots, one.end, one.remark) == ([], "", "one example: no result")
    assert all(len(row.dots) == 2 for row in size.rows)


def test_one_example_is_no_result(world: Path) -> None:
    for name in ("one", "other"):
        call("run", "--tasks", "audiocaps", "--data", "demo", "--demo-examples", 1, "--model", "constant",
             "-o", f"says={name}", "--out", world / name)  # fmt: skip
    call("report", world / "one", "--against", world / "other", "--media", "none", "--out", world / "single")
    assert "Change against" not in (world / "single" / "index.html").read_text(encoding="utf-8")
    text = (world / "single" / "tasks" / "audiocaps.html").read_text(encoding="utf-8")
    head = text[text.index('class="headlines"') : text.index('id="tabs"')]
    assert head.count("one example: no result") == 2
    assert "0.00" not in head


def test_numbers_over_few_examples_are_grey(report: Path) -> None:
    text = (report / "tasks" / "vqav2.html").read_text(encoding="utf-8")
    found = re.findall(r'<td class="number( few)?">.*? n (\d+)</span></td>', text)
    assert {bool(few) for few, _ in found} == {True, False}
    assert all(bool(few) == (int(count) < FEWEST) for few, count in found)
    assert f"fewer than {FEWEST} examples" in text


def test_a_score_over_another_split_than_papers_report_is_hollow() -> None:
    sides = [side_of("now", measurement(0.5, 100, None, "val")), side_of("before", measurement(0.4, 100, None))]
    _, (plot,), _ = two_runs(sides, reported_split="test")
    (drawing,) = drawn(row_svg(plot, plot.rows[0]))
    assert shapes(drawing) == ["mark-shape s0 c0 hollow", "mark-shape s6 c6"]
    assert any("another split" in note for note in plot.notes)
    _, (plot,), _ = two_runs(sides)
    assert not any(dot.hollow for dot in plot.rows[0].dots)


def test_marks_lie_where_the_axis_says() -> None:
    plot = Rows(id="p", title="t", what="x100", rows=[Row(label="a", dots=[Dot(value=40.0, mark=(0, 0), name="run")]),
                                                      Row(label="b", dots=[Dot(value=80.0, mark=(0, 0))])])  # fmt: skip
    (axis,) = drawn(axis_svg(plot))
    places = {text.text: float((text.get("x") or "").rstrip("%")) for text in axis.iter("text")}
    for row, value in zip(plot.rows, ("40", "80"), strict=True):
        (drawing,) = drawn(row_svg(plot, row))
        (mark,) = drawing.findall("g/svg")
        assert float((mark.get("x") or "").rstrip("%")) == pytest.approx(places[value])
        (label,) = [text for text in drawing.iter("text") if text.get("class") == "mark-label"]
        assert "".join(label.itertext()) == f"{value}.0{' run' if value == '40' else ''}"


def test_hostile_labels_stay_text_and_apart() -> None:
    bad = '<script>"x"</script>\u202e'
    rows = unlike([Row(label=bad, dots=[Dot(value=1.0, mark=(0, 0), name=bad, about=bad)]), Row(label=bad, dots=[])])
    assert rows[1].label == f"{bad} (2)"
    plot = Rows(id="p", title=bad, what="x100", rows=rows)
    (drawing,) = drawn(row_svg(plot, rows[0]))
    assert drawing.findall(".//script") == []
    assert '<script>"x"</script><U+202E>' in "".join(drawing.itertext())


def test_thousands_of_groups_make_no_page_of_thousands_of_plots() -> None:
    many = [measurement(0.5, 30, {"of": f"g{at}"}) for at in range(3_000)]
    sides = [side_of(name, measurement(0.5, 100, None), *many) for name in ("now", "before")]
    _, _, (plot,) = two_runs(sides)
    assert (len(plot.rows), len(plot.folded)) == (12, 88)
    assert "2,900 more are in the table of measurements." in plot.notes


SMALL = """[...document.querySelectorAll("main *, .top *")].filter((one) =>
    [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) && one.getClientRects().length &&
    parseFloat(getComputedStyle(one).fontSize) * (one.ownerSVGElement?.viewBox?.baseVal?.width
        ? one.ownerSVGElement.getBoundingClientRect().width / one.ownerSVGElement.viewBox.baseVal.width : 1) < 10.9
).map((one) => one.outerHTML)"""


@pytest.mark.parametrize("width", [1440, 1024, 768, 390])
def test_overviews_fit_every_width(chromium: Browser, several: Path, width: int) -> None:
    for tab in watched(chromium, several, viewport={"width": width, "height": 900}):
        for name, hash_ in (("index.html", ""), ("tasks/audiocaps.html", "#overview"),
                            ("tasks/hateful_memes.html", "#measurements")):  # fmt: skip
            page = tab.open(name, hash_)
            page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
            assert page.evaluate(SMALL) == []
        assert page.locator(".numbers-table:visible").count() == 1


def test_facts_that_differ_are_marked_and_none_is_lost() -> None:
    def manifest(run: str, seed: int) -> Manifest:
        return Manifest(run=run, identity={"model": "m", "o": {"seed": seed}}, environment={"torch": "2"})

    records = [
        RunRecord(name="one", step=None, model="m", manifests=[manifest("r1", 1)], digests={"a": "11"},
                  sessions=[{"command": "anymal-eval run", "started": "2026-01-01"}]),
        RunRecord(name="two", step=7, model="m", manifests=[manifest("r2", 2)], digests={"a": "22"}),
    ]  # fmt: skip
    report = Report(title="", is_demo=False, pages=[], runs=records, reported=1, pairs=())
    found = {(group.title, fact.name): (tuple(fact.values), fact.differs)
             for group in fact_groups(report) for fact in group.facts}  # fmt: skip
    assert found["Identity", "model"] == (("m", "m"), False)
    assert found["Identity", "o.seed"] == (("1", "2"), True)
    assert found["Environment", "torch"] == (("2", "2"), False)
    assert found["Commands and times", "command"] == (("anymal-eval run", ""), True)
    assert found["SHA-256 of the results' files", "a"] == (("11", "22"), True)
    assert found["Run", "step"] == (("", "7"), True)


def test_names_that_begin_alike_differ_in_the_list(runs: tuple[Path, Path], world: Path, chromium: Browser) -> None:
    """Twenty runs whose names differ in their last letters alone, at the width where least fits."""
    names = [f"experiment-with-a-long-name-{at}" for at in range(20)]
    folders = [shutil.copytree(runs[at % 2], world / "alike" / name) for at, name in enumerate(names)]
    call("report", *folders, "--media", "none", "--examples", "6", "--out", world / "twenty")
    for tab in watched(chromium, world / "twenty", viewport={"width": 768, "height": 1024}):
        page = tab.open("tasks/vqav2.html")
        shown = page.locator("#list li:first-child .which").all_inner_texts()
        assert len(set(shown)) == 2, shown
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        marks = page.evaluate("""[...document.querySelectorAll('#overview .run-keys path')].map(
            (each) => each.getAttribute('class') + each.getAttribute('d'))""")
        assert len(set(marks)) == len(marks) == 20
