"""Two small runs on the demo world and their report, and the real Chromium that opens it from the file system."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page

from anymal_eval.cli.main import cli
from tests.chromium import launched

TASKS = "vqav2,hateful_memes,nextqa,audiocaps,imu_caption"
EXAMPLES = "24"


WORLD: list[Path] = []  # where runs and the cache of this session lie, once there is one


def call(*arguments: object) -> Any:
    """The command line in this process: what it returns is its exit code.

    It has a cache of its own, and finds no Java: METEOR would take most of the time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nothing/is/here")
        if WORLD:
            patch.setenv("ANYMAL_EVAL_CACHE", str(WORLD[-1] / "cache"))
        return cli.main([str(each) for each in arguments], standalone_mode=False)


def demo_run(out: Path, model: str, *more: str, tasks: str = TASKS) -> Path:
    call("run", "--tasks", tasks, "--data", "demo", "--demo-examples", EXAMPLES, "--model", model, *more, "--out", out)
    return out


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for runs."""
    WORLD.append(tmp_path_factory.mktemp("gallery"))
    return WORLD[-1]


@pytest.fixture(scope="session")
def runs(world: Path) -> tuple[Path, Path]:
    """Before and after: one always says red, the other yes."""
    before = demo_run(world / "before", "constant", "-o", "says=red")
    after = demo_run(world / "after", "constant", "-o", "says=yes")
    return before, after


@pytest.fixture(scope="session")
def report(runs: tuple[Path, Path], world: Path) -> Path:
    """The report of the second run against the first."""
    before, after = runs
    call("report", after, "--against", before, "--out", world / "report")
    # It was written elsewhere than it is read: nothing in it may name where it lay.
    return Path(shutil.move(world / "report", world / "moved"))


def scores(run: Path, task: str) -> dict[str, dict[str, Any]]:
    lines = (run / task / "scores.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


@pytest.fixture(scope="module")  # Playwright's event loop must not outlive these tests: others start loops of their own
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@dataclass
class Tab:
    """A page, with its requests and its complaints."""

    page: Page
    report: Path
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, name: str, hash_: str = "", report: Path | None = None) -> Page:
        self.page.goto(((report or self.report) / name).as_uri() + hash_)
        if name.startswith("tasks/"):
            self.page.wait_for_selector("html[data-ready]")
        return self.page

    def complain(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def dismiss(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def until(self, condition: str, arg: object = None) -> None:
        """Wait for a condition. Playwright's own way evaluates a string in the page, which the policy forbids."""
        end = time.monotonic() + 10
        while not self.page.evaluate(condition, arg):
            assert time.monotonic() < end, condition
            self.page.wait_for_timeout(20)

    def shown(self) -> int:
        """How many examples are found, as the page says."""
        return int(self.page.inner_text("#count").split()[0].replace(",", ""))


def watched(browser: Browser, report: Path, **how: Any) -> Iterator[Tab]:
    context = browser.new_context(viewport=how.pop("viewport", {"width": 1280, "height": 900}), **how)
    tab = Tab(context.new_page(), report)
    tab.page.set_default_timeout(10_000)
    tab.page.on("request", lambda request: tab.requests.append(request.url))
    tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.page.on("console", tab.complain)
    tab.page.on("dialog", tab.dismiss)
    yield tab
    context.close()
    assert not tab.complaints
    home = report.parent.as_uri()
    assert tab.requests
    assert [url for url in tab.requests if not url.startswith((home, "data:"))] == []


@pytest.fixture
def tab(chromium: Browser, report: Path) -> Iterator[Tab]:
    """A page of a laptop's width. At its end: no error, and no request that leaves the folder."""
    yield from watched(chromium, report)
