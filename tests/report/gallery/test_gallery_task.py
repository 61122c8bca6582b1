"""A task's page in real Chromium: what is found in few actions, its address, its keyboard, its layout at all widths."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page

from anymal_eval.report.gallery import data_files
from tests.report.gallery.conftest import Tab, call, demo_run, scores, watched

RULE = "vqa_accuracy@2021"
TASK = "tasks/vqav2.html"
SIZES = {(1440, 900): "light", (1024, 768): "dark", (768, 1024): "light", (390, 844): "dark"}


@dataclass(frozen=True)
class Compared:
    """A report of a run with errors against another one, and the rows of both by example id."""

    report: Path
    before: dict[str, dict[str, Any]]
    after: dict[str, dict[str, Any]]

    def fall(self, name: str) -> float | None:
        """How much the score of an example fell; None for an error."""
        now, was = (rows[name]["scores"].get(RULE) for rows in (self.after, self.before))
        return None if now is None or was is None else float(was - now)


def examples_in(file: Path) -> list[dict[str, Any]]:
    """The examples of a file of details."""
    text = file.read_text(encoding="ascii")
    found: list[dict[str, Any]] = json.loads(json.loads(text[text.index('", "') + 3 : text.rindex(")")]))
    return sorted(found, key=lambda each: str(each["id"]))


@pytest.fixture(scope="module")
def compared(world: Path, report: Path) -> Compared:
    """The first run is wrong on every third example, the second on every other one, and it fails on three."""
    examples = examples_in(report / "data" / "vqav2" / "chunk-0.js")
    made = []
    for name, every, failing in (("first", 3, 0), ("second", 2, 3)):
        rows = [
            {"id": each["id"], "answer": "no idea" if at % every == 0 else each["references"][0]}
            for at, each in enumerate(examples)
            if at >= failing
        ]
        file = world / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        made.append(demo_run(world / name, f"replay:{file}", tasks="vqav2"))
    call("report", made[1], "--against", made[0], "--out", world / "compared")
    return Compared(world / "compared", *(scores(run, "vqav2") for run in made))


@pytest.fixture(scope="module")
def tab(chromium: Browser, compared: Compared) -> Iterator[Tab]:
    """One page for all tests."""
    yield from watched(chromium, compared.report, viewport={"width": 1440, "height": 900})


def opened(
    tab: Tab, name: str = TASK, hash_: str = "", size: tuple[int, int] = (1440, 900), report: Path | None = None
) -> Page:
    """The page as somebody sees it who comes from elsewhere."""
    tab.page.goto("about:blank")
    tab.page.set_viewport_size({"width": size[0], "height": size[1]})
    page = tab.open(name, hash_, report)
    if name == TASK:
        tab.until("document.querySelector('#count').innerText.includes('example')")
    return page


def listed(page: Page) -> list[str]:
    return [(link.get_attribute("href") or "")[1:] for link in page.query_selector_all("#list a")]


class User:
    """Somebody who opens the report; every click, key and text typed is one action."""

    def __init__(self, tab: Tab) -> None:
        self.page = opened(tab, "index.html")
        self.tab = tab
        self.actions = 0

    def click(self, selector: str) -> None:
        self.actions += 1
        self.page.locator(selector).first.click()

    def select(self, selector: str, value: str) -> None:
        self.actions += 1
        self.page.select_option(selector, value)

    def press(self, key: str) -> None:
        self.actions += 1
        self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        self.actions += 1
        self.page.keyboard.type(text)

    def task(self) -> None:
        self.click("a[href^='tasks/vqav2.html']")
        self.page.wait_for_selector("html[data-ready] #list a")


IN_VIEW = """(selector) => [...document.querySelectorAll(selector)].map((each) => each.getBoundingClientRect())
    .filter((box) => box.height && box.top >= 0 && box.bottom <= innerHeight && box.right <= innerWidth).length"""


def test_everything_is_found_in_four_actions(tab: Tab, compared: Compared) -> None:
    falls = {name: compared.fall(name) or 0.0 for name in compared.after}
    user = User(tab)
    user.task()
    worst = sorted(falls.values(), reverse=True)[:10]
    assert [falls[name] for name in listed(user.page)[:10]] == worst
    assert worst[0] == 1
    tab.until("document.querySelector('#example-title') !== null")
    assert user.page.inner_text("#example-title") == listed(user.page)[0]  # the largest fall is open
    list_ = user.page.locator("#list").bounding_box()
    tenth = user.page.locator("#list li").nth(9).bounding_box()
    assert list_
    assert tenth
    assert tenth["y"] + tenth["height"] <= list_["y"] + list_["height"] + 1  # seen without scrolling
    assert user.actions <= 4

    user = User(tab)
    user.task()
    user.click("#quick button:has-text('Errors')")
    assert sorted(listed(user.page)) == sorted(name for name, row in compared.after.items() if row["state"] == "error")
    assert tab.shown() == 3
    assert user.actions <= 4

    user = User(tab)
    user.task()
    kinds = [row["groups"]["question_type"] for name, row in compared.after.items() if falls[name] > 0]
    kind = max(kinds, key=kinds.count)
    user.select("#group", f"question_type: {kind}")
    user.click("#quick button:has-text('Worse')")
    meant = {name for name, row in compared.after.items() if falls[name] > 0 and row["groups"]["question_type"] == kind}
    tab.until("(count) => document.querySelectorAll('#list a').length === count", len(meant))
    assert set(listed(user.page)) == meant
    assert user.actions <= 4

    user = User(tab)
    user.task()
    wanted = list(compared.after)[13]
    user.press("/")
    user.type(wanted)
    tab.until("(id) => document.querySelector('#example-title')?.innerText === id", wanted)
    assert user.actions <= 4


def test_the_address_holds_what_is_shown(tab: Tab, compared: Compared) -> None:
    page = opened(tab)
    assert "#" not in page.url
    page.select_option("#sort", "high")
    page.click("#quick button:has-text('Better')")
    page.fill("#search", "shape")
    tab.until("location.hash.includes('search=shape')")
    page.locator("#list a").nth(1).click()
    tab.until("location.hash.includes('id=')")
    sent, shown, title = page.url, listed(page), page.inner_text("#example-title")
    opened(tab, TASK, "#" + sent.partition("#")[2])
    tab.until("(id) => document.querySelector('#example-title')?.innerText === id", title)
    assert listed(page) == shown
    assert (page.input_value("#show"), page.input_value("#sort"), page.input_value("#search")) == (
        "rose",
        "high",
        "shape",
    )
    page.click("#tab-measurements")
    assert page.is_visible("#measurements table")
    assert "tab=measurements" in page.url
    page.go_back()
    tab.until("document.documentElement.dataset.tab === 'examples'")
    assert page.is_visible("#list")


@pytest.mark.parametrize("name", ["show", "group", "sort", "tab", "run", "against", "search", "id", "__proto__"])
def test_hostile_values_in_the_address_are_text(tab: Tab, name: str) -> None:
    attack = '<img src=x onerror="window.hacked=1">constructor'
    page = opened(tab, TASK, f"#{name}={quote(attack)}&x&=&%E0%A4%A=1")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src='x']").count() == 0
    assert page.evaluate("document.documentElement.dataset.tab") == "examples"
    if name == "search":
        assert tab.shown() == 0
        assert page.is_visible("#nothing")
        page.click("#clear-all")  # the way out
    else:
        assert page.input_value("#show") == "all"
    assert tab.shown() == 24
    assert ("There is no example" in page.inner_text("#example")) == (name == "id")


def test_search_escape_and_j_one_after_another(tab: Tab) -> None:
    page = opened(tab)
    page.keyboard.press("/")
    page.keyboard.type("shape")
    page.keyboard.press("Escape")  # what was typed last is searched all the same
    assert page.evaluate("document.activeElement.id") != "search"
    tab.until("document.querySelector('#count').innerText.includes(' of ')")
    tab.until("document.activeElement.matches('#list a')")
    first = listed(page)[0]
    page.keyboard.press("j")
    tab.until("(id) => document.querySelector('#example-title')?.innerText === id", listed(page)[1])
    assert page.input_value("#search") == "shape"
    page.keyboard.press("k")
    tab.until("(id) => document.querySelector('#example-title')?.innerText === id", first)


def test_j_stays_in_the_pane(tab: Tab) -> None:
    page = opened(tab)
    for _ in range(23):
        page.keyboard.press("j")
    tab.until("document.querySelector('#where').innerText === '24 of 24'")
    assert page.is_disabled("#next")
    assert page.evaluate("window.scrollY") == 0
    row, list_ = (page.locator(each).bounding_box() for each in ("#list [aria-current]", "#list"))
    assert row
    assert list_
    assert list_["y"] <= row["y"] <= row["y"] + row["height"] <= list_["y"] + list_["height"]
    page.click("#previous")
    tab.until("document.querySelector('#where').innerText === '23 of 24'")


def test_captions_have_a_score_and_a_change_but_no_right_and_wrong(tab: Tab, report: Path) -> None:
    page = opened(tab, "tasks/audiocaps.html", report=report)
    offered = " ".join(page.locator("#show option").all_inner_texts())
    assert "worse than before" in offered
    assert not any(word in offered for word in ("right", "wrong"))
    assert not any(word in page.inner_text("#list") for word in ("right", "wrong"))


def test_a_list_of_many_files(tab: Tab, compared: Compared, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of examples are in many files; here one holds seven rows, or three examples."""
    monkeypatch.setattr(data_files, "ROWS", 7)
    monkeypatch.setattr(data_files, "CHUNK_EXAMPLES", 3)
    call("report", world / "second", "--against", world / "first", "--media", "none", "--examples", "all",
         "--out", world / "many")  # fmt: skip
    folder = world / "many" / "data" / "vqav2"
    assert {file.name for file in folder.iterdir()} == {
        "index.js", *(f"rows-{at}.js" for at in range(4)), *(f"chunk-{at}.js" for at in range(8))
    }  # fmt: skip
    page = opened(tab, report=world / "many")
    assert sorted(listed(page)) == sorted(compared.after)
    page.select_option("#sort", "data")
    tab.until("(id) => document.querySelector('#list a').hash === '#' + id", next(iter(compared.after)))
    assert listed(page) == list(compared.after)
    page.fill("#search", "no idea")
    tab.until("document.querySelector('#count').innerText.includes(' of ')")
    answered = [rows[name] for rows in (compared.before, compared.after) for name in rows]
    assert set(listed(page)) == {row["id"] for row in answered if row.get("answer") == "no idea"}
    last = listed(page)[-1]
    page.locator("#list a").last.click()
    tab.until("(id) => document.querySelector('#example-title')?.innerText === id", last)


SMALL = """() => {
    const found = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const parent = walk.currentNode.parentElement;
        if (!walk.currentNode.data.trim() || !parent.getClientRects().length) continue;
        if (parseFloat(getComputedStyle(parent).fontSize) < 11) found.push(walk.currentNode.data);
    }
    return found;
}"""


def test_an_example_is_seen_at_all_widths(chromium: Browser, compared: Compared, report: Path) -> None:
    wanted = list(compared.after)[-1]
    for tab in watched(chromium, compared.report):
        for size, scheme in SIZES.items():
            tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            for name in ("index.html", TASK, "tasks/audiocaps.html"):
                page = opened(tab, name, size=size, report=report)
                for each in ("examples", "overview", "measurements") if name != "index.html" else ("",):
                    if each:
                        page.click(f"#tab-{each}")
                    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
                        size,
                        name,
                        each,
                    )
                    assert page.evaluate(SMALL) == [], (size, name, each)
            page = opened(tab, size=size)
            if size[0] > 400:
                tab.until("document.querySelector('#example-title') !== null")
            seen = "#list li:first-child a" if size[0] < 400 else "#example-title"
            assert page.evaluate(IN_VIEW, seen) == 1, size
            page = opened(tab, TASK, f"#{wanted}", size=size)
            tab.until("(id) => document.querySelector('#example-title')?.innerText === id", wanted)
            assert page.evaluate(IN_VIEW, "#example-title") == 1, size
            assert page.evaluate("window.scrollY") == 0
