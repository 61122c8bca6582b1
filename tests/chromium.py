"""The real Chromium that opens pages in tests."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


@contextmanager
def launched() -> Iterator[Browser]:
    """The browser, for one module: Playwright's event loop must not outlive it, others start loops of their own."""
    program = os.environ.get("ANYMAL_EVAL_CHROMIUM", "/usr/bin/chromium")
    if not Path(program).is_file():
        pytest.skip(f"Chromium is not here: apt-get install chromium, or name it in ANYMAL_EVAL_CHROMIUM ({program})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()
