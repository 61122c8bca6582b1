"""Takes the screenshots of docs/judging.md: a study of two made-up systems on the demo world, in Chromium.

python -m docs.screenshots_judging            writes docs/images/judging*.png
"""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anymal_eval import catalog
from anymal_eval.sources.load import load_examples
from anymal_eval.task import Task
from docs.screenshots import FLAGS, HERE, SYSTEMS, answer, call, shrink

TASK = "mmit_cap"
EXAMPLES = 40
GUIDELINE = """Which answer would you rather read to someone who cannot see the picture?

Count what is false before what is missing: a wrong colour is worse than none. Length is no merit."""


def runs(folder: Path) -> list[Path]:
    """Two systems that repeat the references, and are wrong now and then."""
    task = catalog.tasks().get(TASK, "TASK", Task)
    examples = load_examples(task, task.splits[0], "demo", folder, demo_examples=EXAMPLES)
    made = []
    for system, wrong in SYSTEMS.items():
        file = folder / f"{system}.json"
        file.write_text(json.dumps({one.id: answer(one, examples, system, wrong) for one in examples}), "utf-8")
        made.append(folder / "runs" / system)
        call("run", "--tasks", TASK, "--data", "demo", "--demo-examples", EXAMPLES, "--model",
             "docs.screenshots:Speaker", "-o", f"file={file}", "--protocol", "plain", "--out", made[-1])  # fmt: skip
    return made


@contextmanager
def served(*given: object) -> Iterator[str]:
    """The command, serving a study; its address."""
    command = [sys.executable, "-m", "anymal_eval", "judge", *map(str, given), "--no-browser"]
    process = subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None  # noqa: S101
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def vote(page: Any, keys: Sequence[str]) -> None:
    """Give votes by keys, each after the one before was taken."""
    for key in keys:
        before = page.locator("#count").inner_text()
        page.keyboard.press(key)
        page.wait_for_function("text => document.getElementById('count').textContent !== text", arg=before)


def take(browser: Any, url: str, images: Path, mode: str) -> None:
    """The start and a trial of a comparison, or a trial of a rating."""
    page = browser.new_page(viewport={"width": 1280, "height": 700})
    page.goto(url)
    page.wait_for_selector("#codes input")
    if mode == "pairwise":
        page.screenshot(path=images / "judging-start.png")
    page.keyboard.press("Enter")
    page.wait_for_selector("#trial:not([hidden])")
    if mode == "pairwise":
        vote(page, "abtabbaaxab")
    else:
        page.keyboard.press("3")
        page.keyboard.press("2")
    page.wait_for_function("() => [...document.images].every(one => one.complete)")
    page.screenshot(path=images / {"rating": "judging-ratings.png", "pairwise": "judging.png"}[mode])
    page.close()


if __name__ == "__main__":
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        both = runs(folder)
        file = folder / "guideline.txt"
        file.write_text(GUIDELINE, "utf-8")
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        for mode in ("pairwise", "rating"):
            given = ("--mode", mode, "--annotators", "ana,ben", "--guideline", file, "--limit", 20)
            with served(*both, *given, "--out", folder / mode) as address:
                take(browser, address, HERE / "images", mode)
        browser.close()
        for each in (HERE / "images").glob("judging*.png"):
            shrink(each)
