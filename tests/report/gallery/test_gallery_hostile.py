"""Whatever a model says is text: in Chromium nothing of it runs, and nothing of it hides."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.report.gallery.conftest import Tab, call, demo_run, scores, watched

SAYINGS = {
    "script": "<script>window.hacked = 1; alert(1)</script>",
    "picture": '<img src=x onerror="window.hacked = 1"><svg onload="window.hacked = 1">',
    "link": '[click](javascript:window.hacked=1) javascript:window.hacked=1 <a href="javascript:window.hacked=1">x</a>',
    "closing": "</pre></script></style>--></textarea><script src=https://example.org/x.js></script>",
    "json": '"); window.hacked = 1; ("\\u0027 \\ ` ${window.hacked = 1} \u2028 \u2029 </script>',
    "template": "{{ 7 * 7 }} {% raw %} ${7*7}",
    "right-to-left": "abc \u202egnp.exe\u202c \u200f\u2067 שלום",
    "emoji": "family 👨‍👩‍👧‍👦 flag 🇺🇳 face 🙂",
    "nul": "before\0after \x07 \x1b[31m",
    "long": "word " * 20_000,
    "unbroken": "x" * 3_000,
}
FOLDER = '<img src=x onerror=window.hacked=1> & "quoted"'


@pytest.fixture(scope="module")
def hostile(world: Path, runs: tuple[Path, Path]) -> tuple[Path, dict[str, str]]:
    """A report of a run whose answers, and whose folder's name, are an attack; and each output by kind of attack."""
    ids = list(scores(runs[1], "vqav2"))
    outputs = dict(zip(ids, SAYINGS.values(), strict=False))
    file = world / "hostile.jsonl"
    rest = {id_: "yes" for id_ in ids[len(outputs) + 1 :]}
    rows = [{"id": id_, "answer": text} for id_, text in (outputs | rest).items()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = demo_run(world / FOLDER, f"replay:{file}", tasks="vqav2")
    call("report", run, "--against", runs[1], "--out", world / "hostile")
    return world / "hostile", dict(zip(SAYINGS, outputs, strict=True))


@pytest.fixture
def tab(chromium: Browser, hostile: tuple[Path, dict[str, str]]) -> Iterator[Tab]:
    for tab in watched(chromium, hostile[0]):
        yield tab
        assert tab.page.evaluate("window.hacked") is None


@pytest.mark.parametrize("name", SAYINGS)
def test_an_answer_shows_as_text(tab: Tab, hostile: tuple[Path, dict[str, str]], name: str) -> None:
    page = tab.open("tasks/vqav2.html", f"#{hostile[1][name]}")
    page.wait_for_selector(".answer .words")
    page.wait_for_timeout(50)
    box = page.locator(".answer").last.locator(".words").first
    shown = box.text_content() or ""
    marks: dict[str, str | int | None] = {
             "\0": "␀", "\x07": "␇", "\x1b": "␛", "\u202e": "U+202E", "\u202c": "U+202C", "\u200f": "U+200F",
             "\u2067": "U+2067", "\u2028": "U+2028", "\u2029": "U+2029"}  # fmt: skip
    assert shown == SAYINGS[name].translate(str.maketrans(marks))
    assert box.locator(":not(.mark, .extra)").count() == 0
    assert page.locator("#example a[href^='javascript']").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    if name == "long":
        assert box.bounding_box()["height"] < 400  # type: ignore[index]
    if name == "right-to-left":
        assert page.evaluate("getComputedStyle(document.querySelector('.answer .words')).unicodeBidi") != "normal"


def test_names_of_folders_are_text_too(tab: Tab) -> None:
    page = tab.open("index.html")
    assert page.inner_text(".eyebrow").startswith(FOLDER)
    assert FOLDER in page.inner_text(".run-keys")
    page = tab.open("tasks/vqav2.html")
    assert FOLDER in page.inner_text("header")
    page.keyboard.press("j")
    page.wait_for_selector(".answer h4")
    assert any(FOLDER in text for text in page.locator(".answer h4").all_inner_texts())


def test_an_error_is_shown_as_one_and_not_compared(tab: Tab) -> None:
    page = tab.open("tasks/vqav2.html")
    assert "1 of 24 answers of the run are errors" in page.inner_text(".said")
    page.select_option("#show", "error")
    assert tab.shown() == 1
    page.click("#list a")
    page.wait_for_selector(".answer")
    assert "has no answer to" in page.inner_text("#example")


def test_the_policy_stops_what_would_be_put_in(tab: Tab) -> None:
    page = tab.open("tasks/vqav2.html")
    stopped: dict[str, str | None] = {}
    page.on("requestfailed", lambda request: stopped.update({request.url: request.failure}))
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.hacked = 1";
        document.body.append(script);
        const image = new Image();
        image.src = "https://example.org/leak.png";
        document.body.append(image);
    }""")
    page.wait_for_timeout(200)
    assert any("Content Security Policy" in complaint for complaint in tab.complaints)
    assert stopped == {"https://example.org/leak.png": "csp"}
    tab.complaints.clear()
    tab.requests.remove("https://example.org/leak.png")
