"""The gallery in real Chromium, from the file system: opened, searched, filtered, played, compared, by keyboard."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.report.gallery.conftest import Tab, call, scores, watched

Runs = tuple[Path, Path]


def ids(page: Page) -> list[str]:
    return [link.get_attribute("href") or "" for link in page.query_selector_all("#list a")]


def test_it_opens_and_leads_to_every_task(tab: Tab) -> None:
    page = tab.open("index.html")
    assert page.inner_text("h1") == "No task is worse or better: 4 the same; 1 undecided"
    assert page.inner_text(".eyebrow") == "after against before"
    assert "constant (chance)" in page.inner_text(".run-keys")
    assert "demo data" in page.inner_text("header")
    names = page.locator("tbody th a").all_inner_texts()
    assert names == ["VQAv2", "Hateful Memes", "NExT-QA", "AudioCaps", "IMU captions"]
    for name in names:
        page = tab.open("index.html")
        page.click(f"tbody th a:text-is('{name}')")
        page.wait_for_selector("html[data-ready]")
        assert tab.shown() == 24
        broken = (
            "[...document.images].filter((image) => image.complete && !image.naturalWidth).map((image) => image.src)"
        )
        assert page.evaluate(broken) == []


def test_search_and_groups(tab: Tab, runs: Runs) -> None:
    page = tab.open("tasks/vqav2.html")
    rows = scores(runs[1], "vqav2")
    wanted = list(rows)[7]
    page.fill("#search", wanted)
    tab.until("document.querySelectorAll('#list li').length === 1")
    assert ids(page) == [f"#{wanted}"]
    page.fill("#search", "no such thing")
    tab.until("document.querySelectorAll('#list li').length === 0")
    page.fill("#search", "")
    held_out = sum(row["groups"]["wording"] == "held-out" for row in rows.values())
    page.select_option("#group", label=f"wording: held-out ({held_out})")
    assert tab.shown() == held_out


def test_filters_tell_what_the_scores_tell(tab: Tab, runs: Runs) -> None:
    before, after = (scores(run, "vqav2") for run in runs)
    pairs = [(row["scores"]["vqa_accuracy@2021"], before[id_]["scores"]["vqa_accuracy@2021"])
             for id_, row in after.items()]  # fmt: skip
    rules: dict[str, Callable[[float, float], bool]] = {
        "fixed": lambda now, was: now == 1 and was == 0,
        "broken": lambda now, was: was == 1 and now == 0,
        "both-wrong": lambda now, was: now == was == 0,
        "both-right": lambda now, was: now == was == 1,
        "rose": lambda now, was: now > was,
        "fell": lambda now, was: now < was,
        "error": lambda now, was: False,
    }
    page = tab.open("tasks/vqav2.html")
    for name, meant in rules.items():
        page.select_option("#show", name)
        assert tab.shown() == sum(meant(now, was) for now, was in pairs), name
        assert tab.shown() or name not in ("fixed", "broken")


def test_two_runs_side_by_side_and_sorted_by_change(tab: Tab) -> None:
    page = tab.open("tasks/vqav2.html")
    page.select_option("#sort", "fall")
    page.click("#list li:first-child a")
    page.wait_for_selector("#example-title")
    assert page.locator(".answer h4").all_inner_texts() == ["before", "after"]
    assert page.locator(".score-value").all_inner_texts() == ["100.0", "0.0"]
    assert page.locator(".headline-score .change").all_inner_texts() == ["▼ −100.0"]
    assert page.locator(".answer .words").all_inner_texts() == ["red", "yes"]
    page.select_option("#sort", "rise")
    page.click("#list li:first-child a")
    tab.until("document.querySelector('.headline-score .change')?.innerText === '▲ +100.0'")
    page.click(".prompt summary")
    assert "Answer with a single word or phrase." in page.inner_text(".prompt")


def test_a_deep_link_opens_its_example(tab: Tab, runs: Runs) -> None:
    wanted = list(scores(runs[1], "nextqa"))[-1]
    page = tab.open("tasks/nextqa.html", f"#{wanted}")
    page.wait_for_selector("#example-title")
    assert page.inner_text("#example-title") == wanted
    assert page.get_attribute("#list [aria-current]", "href") == f"#{wanted}"
    assert page.locator(".options .gold").count() == 1
    page.goto(page.url.partition("#")[0] + "#not-there")
    page.wait_for_selector("#example .note")
    assert "There is no example not-there here." in page.inner_text("#example")


@pytest.mark.parametrize(("task", "player"), [("audiocaps", "audio"), ("nextqa", "video")])
def test_sounds_and_clips_play(tab: Tab, task: str, player: str) -> None:
    page = tab.open(f"tasks/{task}.html")
    page.keyboard.press("j")
    tab.until(f"document.querySelector('{player}')?.readyState >= 2")
    page.focus(player)
    page.keyboard.press("Space")
    tab.until(f"document.querySelector('{player}').currentTime > 0.1")
    if player == "audio":
        tab.until("Number(document.querySelector('.wave-hand').getAttribute('x1')) > 0")
        assert page.locator(".wave[role=img]").count() == 1


def test_motions_are_drawn(tab: Tab) -> None:
    page = tab.open("tasks/imu_caption.html")
    page.click("#list li:first-child a")
    page.wait_for_selector(".imu-plot")
    assert page.locator(".imu-plot polyline").count() == 6


@pytest.mark.parametrize("task", ["vqav2", "audiocaps", "nextqa", "imu_caption"])
def test_nothing_lies_over_something_else(tab: Tab, task: str) -> None:
    page = tab.open(f"tasks/{task}.html")
    page.keyboard.press("j")
    page.wait_for_selector(".answer")
    below = 0.0
    for part in (".example-head", ".example-top", ".answers", ".prompt"):
        box = page.locator(part).bounding_box()
        assert box
        assert box["y"] >= below, part
        deepest = (
            "(top) => Math.max(...[...top.querySelectorAll('*')].map((each) => each.getBoundingClientRect().bottom))"
        )
        below = page.locator(part).evaluate(deepest)


def test_the_keyboard_is_enough(tab: Tab) -> None:
    page = tab.open("tasks/vqav2.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    page.wait_for_selector("#example-title")
    first = page.inner_text("#example-title")
    page.keyboard.press("ArrowDown")
    tab.until("(old) => document.querySelector('#example-title').innerText !== old", arg=first)
    page.keyboard.press("k")
    tab.until("(old) => document.querySelector('#example-title').innerText === old", arg=first)
    assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
    page.keyboard.press("/")
    page.keyboard.type("jk")
    assert page.input_value("#search") == "jk"
    for _ in range(2):
        page.keyboard.press("Backspace")
    page.keyboard.press("Tab")
    for _ in range(6):
        page.keyboard.press("ArrowDown")
    tab.until("document.querySelector('#count').innerText.includes('of 24')")
    assert page.input_value("#show") == "broken"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    tab.until("document.activeElement.matches('#list a')")


def test_the_matrix_by_pointer_and_by_keyboard(tab: Tab) -> None:
    page = tab.open("index.html")
    page.hover(".matrix tr:nth-child(4) .cell.worse .cell-link, .matrix tr:nth-child(4) td:nth-child(3) .cell-link")
    assert page.locator(".tip:visible").count() == 1
    assert "cider@1" in page.inner_text(".tip:visible")
    assert "against before" in page.inner_text(".tip:visible")
    page.mouse.move(1, 1)
    assert page.locator(".tip:visible").count() == 0
    page.focus(".matrix tbody tr:first-child td .cell-link")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    tip = page.locator(".tip:visible")
    assert tip.get_attribute("id") == page.evaluate("document.activeElement.getAttribute('aria-describedby')")
    assert "ROC AUC" in page.inner_text(f".matrix tr:has(#{tip.get_attribute('id')}) th")
    page.keyboard.press("Escape")
    assert tip.count() == 0
    page.keyboard.press("Enter")
    page.wait_for_selector("html[data-ready]")
    assert page.url.endswith("tasks/hateful_memes.html#overview")


LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}},
}


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's own script, which this package carries."""
    found = importlib.util.find_spec("axe_playwright_python")
    assert found
    assert found.origin
    return Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("look", "name"),
    [
        *(("light", f"tasks/{task}.html") for task in ("vqav2", "audiocaps", "nextqa", "hateful_memes")),
        *((look, name) for look in LOOKS for name in ("index.html", "tasks/imu_caption.html")),
    ],
)
def test_axe_finds_no_serious_fault(chromium: Browser, report: Path, axe: str, look: str, name: str) -> None:
    for tab in watched(chromium, report, **LOOKS[look]):
        page = tab.open(name)
        if name != "index.html":
            page.keyboard.press("j")
            page.wait_for_selector("#example-title")
            page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        page.evaluate(axe)
        # Preloading would fetch the style sheet, which the policy forbids and no rule of weight needs.
        found = page.evaluate("axe.run({ preload: false, resultTypes: ['violations'] })")
        serious = [(each["id"], each["nodes"][0]["html"], each["nodes"][0]["failureSummary"])
                   for each in found["violations"] if each["impact"] in ("serious", "critical")]  # fmt: skip
        assert serious == []
        assert len(found["passes"]) > 10
        # Nothing stands out of the page's width: no sideways scrolling on a phone.
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_on_a_phone_the_example_takes_the_place_of_the_list(chromium: Browser, report: Path) -> None:
    for tab in watched(chromium, report, viewport={"width": 360, "height": 740}, has_touch=True):
        page = tab.open("tasks/vqav2.html")
        page.tap("#list li:nth-child(2) a")
        page.wait_for_selector("#example-title")
        assert not page.is_visible("#list")
        page.tap("#back")
        assert page.is_visible("#list")
        assert not page.is_visible("#example-title")


def test_against_two_runs_of_one_name(chromium: Browser, runs: Runs, tmp_path: Path) -> None:
    before, after = runs
    call("report", after, "--against", before, "--against", after, "--media", "none", "--out", tmp_path / "two")
    for tab in watched(chromium, tmp_path / "two"):
        page = tab.open("tasks/vqav2.html")
        page.select_option("#show", "fixed")
        assert tab.shown()
        page.select_option("#base", label="after (2)")
        assert tab.shown() == 0
        tab.until("location.hash.includes('against=')")
        page.reload()
        page.wait_for_selector("html[data-ready]")
        assert page.locator("#base option:checked").inner_text() == "after (2)"
        assert tab.shown() == 0
        page.select_option("#show", "all")
        page.click("#list a")
        page.wait_for_selector(".answer")
        titles = page.locator(".answer h4").all_inner_texts()
        assert titles == ["after (2)", "after", "before"]
