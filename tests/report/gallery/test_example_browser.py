"""One example in Chromium: words compared, options and their probabilities, thinking, cuts, pictures enlarged."""

import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.report.gallery.conftest import Tab, watched

SHOW = "([example, index]) => AnyMALExample.show(document.getElementById('example'), example, index)"


@pytest.fixture(scope="module")
def opened(chromium: Browser, report: Path) -> Iterator[Tab]:
    for tab in watched(chromium, report):
        tab.open("tasks/vqav2.html")
        yield tab


def example(*sides: dict[str, Any], **more: Any) -> dict[str, Any]:
    defaults = {"scores": {"cider@1": 0.5}, "score": 0.5, "outcome": None, "state": "ok", "raw": ""}
    return {
        "id": "7", "kind": "caption", "groups": {}, "question": "", "context": {}, "options": [], "label": None,
        "references": [], "media": [], "sent": [], "sides": [defaults | each for each in sides],
    } | more  # fmt: skip


def show(page: Page, shown: dict[str, Any], base: int = 1) -> None:
    metrics = {"cider@1": {"name": "CIDEr", "better": "higher", "top": 2.0, "headline": True},
               "chair@1": {"name": "CHAIR", "better": "lower", "top": 1.0}}  # fmt: skip
    runs = ["new", "old", "third"][: len(shown["sides"])]
    page.evaluate(
        SHOW,
        [
            shown,
            {
                "runs": runs,
                "base": min(base, len(runs) - 1),
                "marks": [["M0 0H4V4Z", 0]] * 3,
                "sameWords": [True] * len(runs),
                "metrics": metrics,
            },
        ],
    )


def distance(one: Sequence[str], other: Sequence[str]) -> int:
    """The edits between two lists by the definition."""

    @cache
    def between(a: int, b: int) -> int:
        if not a or not b:
            return a + b
        replaced = between(a - 1, b - 1) + (one[a - 1] != other[b - 1])
        return min(replaced, between(a - 1, b) + 1, between(a, b - 1) + 1)

    return between(len(one), len(other))


def test_words_are_compared_by_the_fewest_edits(opened: Tab) -> None:
    draw = random.Random(7)
    pairs = [[" ".join(draw.choices("abcd", k=draw.randrange(9))) for _ in range(2)] for _ in range(60)]
    found = opened.page.evaluate(
        """(pairs) => pairs.map(([one, other]) => {
            const { edits, from, to } = AnyMALWords.compare(one, other);
            return [edits, ...[from, to].map((words) => words.filter((each) => each.kept).map((each) => each.key))];
        })""",
        pairs,
    )
    for (one, other), (edits, kept, also) in zip(pairs, found, strict=True):
        assert edits == distance(one.split(), other.split())
        assert kept == also  # what both keep is the same, in the same order
    nearest = "(args) => { const { place, edits } = AnyMALWords.nearest(...args); return [place, edits]; }"
    references = ["the cat sat", "A dog, runs fast!", "a dog runs fast"]
    assert opened.page.evaluate(nearest, ["a dog runs", references]) == [1, 1]
    # Too long to compare word by word: nothing is marked, and the page does not stop.
    assert opened.page.evaluate("AnyMALWords.compare('a '.repeat(3000), 'b '.repeat(3000))") is None


def test_a_caption_has_a_score_and_a_change_and_is_not_right_or_wrong(opened: Tab) -> None:
    page = opened.page
    now = {
        "answer": "a big dog runs",
        "raw": "a big dog runs",
        "score": 1.5,
        "scores": {"cider@1": 1.5, "chair@1": 0.4},
    }
    before = {"answer": "a big cat sleeps", "raw": "a big cat sleeps", "scores": {"cider@1": 0.5, "chair@1": 0.1}}
    show(page, example(now, before, references=["a dog runs now", "unlike all"]))
    assert page.locator(".answer h4").all_inner_texts() == ["old", "new"]
    assert page.locator(".answer .badge").count() == 0
    assert page.locator(".score-value").all_inner_texts() == ["50.0", "150.0"]
    card = page.locator(".answer").last
    assert card.locator(".headline-score .change.rise").inner_text() == "▲ +100.0"
    assert card.locator(".scores .change.fall").inner_text() == "▲ +30.0"  # lower is better
    assert card.locator(".meter-fill").first.evaluate("(fill) => fill.style.width") == "75%"
    assert card.locator(".extra").all_inner_texts() == ["big"]
    assert card.locator(".missing").all_inner_texts() == ["now"]
    assert card.locator("del").all_inner_texts() == ["cat sleeps"]
    assert card.locator("ins").all_inner_texts() == ["dog runs"]


def test_options_show_the_label_each_choice_and_their_probabilities(opened: Tab) -> None:
    page = opened.page
    options: dict[str, Any] = {"kind": "choice", "options": ["red", "blue"], "label": 1, "references": None}
    ranked = {"raw": [-1.0, -1.0986123], "option_tokens": [1, 3], "choice": 0, "answer": "red", "outcome": "wrong"}
    written = {"raw": "(B)", "choice": 1, "answer": "blue", "outcome": "right"}
    show(page, example(ranked, written, **options))
    assert page.locator(".option.gold .option-text").all_inner_texts() == ["blue"]
    assert page.locator(".option").nth(0).locator(".option-run:has(.chosen.wrong) .run").all_inner_texts() == ["new"]
    assert page.locator(".option").nth(1).locator(".option-run:has(.chosen.right) .run").all_inner_texts() == ["old"]
    assert page.locator(".share").all_inner_texts() == ["52 %", "48 %"]  # exp(-1) and 1/3 of their sum
    assert page.locator(".log").all_inner_texts() == ["−1.00", "−1.10"]
    prompt = {
        "messages": [],
        "prefix": "",
        "candidates": ["red", "blue"],
        "perToken": True,
        "limit": 9,
        "how": "ranked",
    }
    show(page, example(ranked, written, prompt=prompt, **options))
    assert page.locator(".share").all_inner_texts() == ["35 %", "65 %"]  # log p a token: -1 and -0.3662
    assert page.locator(".answer .badge").all_inner_texts() == ["right", "wrong"]
    broken = {"raw": [None, None], "state": "error", "answer": "option scores are not finite"}
    show(page, example(broken, {"raw": "neither", "answer": "", "state": "unparsable"}, **options))
    assert page.locator(".answer .badge").all_inner_texts() == ["no option could be read", "error"]
    assert page.locator(".answer .words").all_inner_texts() == ["neither", "option scores are not finite"]


def test_cut_thinking_errors_and_a_missing_template_are_stated(opened: Tab) -> None:
    page = opened.page
    thought = {
        "raw": "<think>Hm.</think>a dog",
        "answer": "a dog",
        "thinking": "Hm.",
        "finish": "length",
        "new_tokens": 8,
    }
    failed: dict[str, Any] = {
        "state": "error",
        "answer": "<b>no answer</b> in 60 s",
        "failure": "timeout",
        "scores": {},
        "score": None,
    }
    show(page, example(thought, failed, {"state": "empty", "answer": ""}, references=["a dog"]), base=0)
    cards = page.locator(".answer")
    assert cards.nth(0).locator(".badge").inner_text() == "cut at the limit"
    assert not cards.nth(0).locator(".fold .words").first.is_visible()
    cards.nth(0).locator("summary").first.click()
    assert cards.nth(0).locator(".fold .words").first.inner_text() == "Hm."
    assert "<b>no answer</b> in 60 s" in cards.nth(1).inner_text()
    assert "timeout" in cards.nth(1).inner_text()
    assert cards.nth(2).locator(".badge").inner_text() == "empty answer"
    assert "Not recorded for new, old, third:" in (page.locator(".prompt").text_content() or "")
    sent = [{"runs": [0], "parts": [["‹s›", True], ["<b>Is</b> ‹s›", False]], "tokens": 4, "special": 1}]
    show(page, example(thought, {"answer": "x"}, sent=sent))
    assert page.locator(".sent .token").all_text_contents() == ["‹s›"]
    assert page.locator(".readers").all_text_contents() == [
        "new4 tokens, 1 of them special or of media, which are marked"
    ]
    assert "Not recorded for old:" in (page.locator(".prompt").text_content() or "")


def test_pictures_are_numbered_and_enlarged_by_mouse_and_keyboard(opened: Tab, report: Path) -> None:
    page = opened.page
    file = next((report / "media").rglob("*.png")).relative_to(report)
    picture = {"kind": "image", "file": str(file), "width": 64, "height": 64}
    show(page, example({"answer": "a"}, media=[picture | {"name": "<b>one"}, picture | {"name": "two"}]))
    assert page.locator("#example figcaption").all_inner_texts() == ["1<b>one", "2two"]
    page.locator(".picture").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".zoom-title").inner_text() == "1 of 2: <b>one 64 x 64"
    width = "document.querySelector('.zoom img').clientWidth"
    fitted = page.evaluate(width)
    page.keyboard.press("+")
    assert page.evaluate(width) > 1.4 * fitted
    page.keyboard.press("0")
    page.keyboard.press("ArrowRight")
    assert page.locator(".zoom-title").inner_text() == "2 of 2: two 64 x 64"
    page.keyboard.press("j")  # a key of the page behind: nothing
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")  # a browser closes it in a task of its own
    assert page.locator("dialog").count() == 0
    assert page.locator("#example-title").inner_text() == "7"
    assert page.evaluate("document.activeElement.className").startswith("picture")


def test_a_clip_shows_the_frames_of_its_request(opened: Tab) -> None:
    page = opened.open("tasks/nextqa.html")
    page.click("#list a")
    page.wait_for_selector(".frame")
    times = [float(text.removesuffix(" s")) for text in page.locator(".frame-time").all_inner_texts()]
    assert len(times) == 8
    assert times == pytest.approx([0.125 + 0.25 * at for at in range(8)], abs=0.006)  # clips of 2 s
    page.locator(".frame").nth(4).click()
    opened.until("Math.abs(document.querySelector('video').currentTime - 1.125) < 0.02")
