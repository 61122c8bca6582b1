"""The page of a study in a real browser: two annotators, a killed server, hostile answers, strangers."""

import html
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from anymal_eval.cli.main import cli
from anymal_eval.judge import study as studies
from anymal_eval.judge.design import trials
from anymal_eval.judge.results import judged
from anymal_eval.judge.votes import read
from tests.chromium import launched
from tests.conftest import ROOT

ITEMS = 40
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
expect.set_options(timeout=30_000)  # milliseconds: other tests run beside it


def call(*given: object) -> Any:
    return cli.main([str(each) for each in given], standalone_mode=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("judged")
    made = []
    for name, says in (("first", HOSTILE), ("second", "a plain answer")):
        call("run", "--tasks", "mmit_cap", "--data", "demo", "--demo-examples", ITEMS, "--model", "constant",
             "-o", f"says={says}", "--protocol", "plain", "--out", place / name)  # fmt: skip
        made.append(place / name)
    return made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


class Served:
    """The command, running; with a ``browser`` it opens the page in that program by itself."""

    def __init__(self, *given: object, browser: str = "") -> None:
        own = [] if browser else ["--no-browser"]
        command = [sys.executable, "-m", "anymal_eval", "judge", *map(str, given), *own]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "BROWSER": browser},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", self.url), self.process.communicate(timeout=60)
        self.host, self.token = urlsplit(self.url).netloc, urlsplit(self.url).path

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGINT)

    def end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def request(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        sent = {"Host": self.host, "Origin": f"http://{self.host}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = None if body is None else body if isinstance(body, str) else json.dumps(body)
        try:
            connection.request(method, path, content, sent)
            reply = connection.getresponse()
            text = reply.read().decode()
        finally:
            connection.close()
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = text
        return reply.status, parsed, dict(reply.getheaders())


def begin(page: Page, served: Served, code: str) -> None:
    page.goto(served.url)
    page.get_by_label(code, exact=True).check()
    page.get_by_label(code, exact=True).press("Enter")
    expect(page.locator("#count")).to_contain_text("of")


def give(page: Page, keys: str, upto: int) -> None:
    """Press keys in turn until so many votes are given."""
    while True:
        text = page.locator("#count").inner_text()
        done = int(text.split()[0])
        if done >= upto:
            return
        page.keyboard.press(keys[done % len(keys)])
        expect(page.locator("#count")).not_to_have_text(text)


def test_two_annotators_vote_a_whole_study_by_keyboard(runs: list[Path], chromium: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    served = Served(*runs, "--out", folder, "--annotators", "ana,ben", "--repeats", 0)
    ana, ben = chromium.new_page(), chromium.new_page()
    begin(ana, served, "ana")
    expect(ana.locator("#count")).to_have_text(f"0 of {ITEMS}")
    # What the model wrote is text, and nothing on the page names a system.
    assert HOSTILE in ana.locator("#answers").inner_text()
    assert ana.title() == "Judging"
    assert ana.locator("#answers img, #answers b").count() == 0
    for name in ("first", "second", "constant", "human"):
        assert name not in ana.content()
    give(ana, "abtx", 12)
    begin(ben, served, "ben")
    give(ben, "a", 10)
    ben.close()  # one closes the browser
    ana.keyboard.press("u")
    expect(ana.locator("#count")).to_have_text(f"11 of {ITEMS}")
    give(ana, "s", 12)
    assert served.end(signal.SIGKILL) == -signal.SIGKILL
    acknowledged = Counter(vote.annotator for vote in read(folder))
    assert acknowledged == {"ana": 14, "ben": 10}, "one line for each key, the one taken back too"
    ana.keyboard.press("a")
    expect(ana.locator("#error")).to_contain_text("The command is not running")

    with Served(folder) as again:
        begin(ana, again, "ana")
        expect(ana.locator("#count")).to_have_text(f"12 of {ITEMS}")
        give(ana, "ab", ITEMS - 1)
        ana.keyboard.press("b")
        expect(ana.locator("#done")).to_be_visible()
        ben = chromium.new_page()
        begin(ben, again, "ben")
        give(ben, "a", ITEMS - 1)
        ben.keyboard.press("a")
        expect(ben.locator("#done")).to_be_visible()

    found = judged(folder)
    assert [(one.votes, one.skipped, one.trials) for one in found.annotators] == [(39, 1, 40), (40, 0, 40)]
    of_ben = [one for one in found.comparisons if one.annotator == "ben"]
    assert sum(one.first_left for one in of_ben) == ITEMS / 2, "balanced exactly"
    assert sum(one.score for one in of_ben) == ITEMS / 2, "who always takes the left one prefers nobody"
    study = studies.read(folder)
    shown = {trial.id: trial.shown for name in study.annotators for trial in trials(study.design, name)}
    left = {vote.trial for vote in read(folder) if vote.annotator == "ben"}
    assert {shown[id][0] for id in left} == {0, 1}
    for page in (ana, ben):
        page.close()


def test_the_page_opens_itself(runs: list[Path], tmp_path: Path) -> None:
    program, opened = tmp_path / "browser", tmp_path / "opened"
    # Like a browser, it does not end before it is closed.
    program.write_text(
        f'#!/bin/sh\nprintf %s "$1" > {opened}.new && mv {opened}.new {opened}\nexec sleep 5 >/dev/null 2>&1\n'
    )
    program.chmod(0o700)
    with Served(*runs, "--out", tmp_path / "study", "--limit", 4, browser=f"{program} %s") as served:
        status, state, _ = served.request("GET", f"{served.token}state?annotator=one")
        assert (status, state["done"]) == (200, 0)
        for _ in range(2400):  # two minutes on a machine that does other things
            if not opened.exists():
                time.sleep(0.05)
        assert opened.read_text() == served.url


def test_a_form_of_another_page_gives_no_vote(runs: list[Path], chromium: Browser, tmp_path: Path) -> None:
    page = chromium.new_page()
    with Served(*runs, "--out", tmp_path / "study", "--limit", 4, "--repeats", 0) as served:
        _, state, _ = served.request("GET", f"{served.token}state?annotator=one")
        vote = json.dumps({"annotator": "one", "n": 0, "trial": state["trial"]["id"], "choice": "left", "seconds": 1})
        # A form that is sent as text can hold JSON; who made the page has even learned the token.
        field = html.escape(vote[:-1] + ', "x": "')
        form = f'<form method="post" enctype="text/plain" action="{served.url}vote">'
        page.set_content(f'{form}<input name="{field}" value=\'"}}\'></form>')
        with page.expect_response(f"{served.url}vote") as reply:
            page.evaluate("document.forms[0].submit()")
        assert reply.value.status == 403
        assert list(read(tmp_path / "study")) == []
    page.close()


def test_strangers_and_repetitions_are_refused(runs: list[Path], tmp_path: Path) -> None:
    with Served(*runs, "--out", tmp_path / "study", "--limit", 4, "--repeats", 0) as served:
        ask = served.request
        status, state, headers = ask("GET", f"{served.token}state?annotator=one")
        assert status == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        assert state.keys() == {"n", "done", "total", "mode", "scales", "trial"}
        assert state["trial"].keys() == {"id", "prompt", "media", "answers"}
        vote = {"annotator": "one", "n": 0, "trial": state["trial"]["id"], "choice": "left", "seconds": 2.5}
        path = f"{served.token}vote"
        assert ask("POST", "/vote", vote)[0] == 403, "no token"
        assert ask("POST", f"/{'x' * 32}/vote", vote)[0] == 403, "another token"
        assert ask("POST", path, vote, Host="evil.example")[0] == 403, "a name that leads here"
        assert ask("POST", path, vote, Origin="http://evil.example")[0] == 403, "a form of another page"
        assert ask("POST", path, vote, Origin="null")[0] == 403
        form = "application/x-www-form-urlencoded"
        assert ask("POST", path, "choice=left", Content_Type=form)[0] == 415
        assert ask("POST", path, "x" * 5000)[0] == 413
        for wrong in ("[1]", "{", {**vote, "choice": "best"}, {**vote, "annotator": "eve"}, "[" * 4000):
            assert ask("POST", path, wrong)[0] == 400, wrong
        assert ask("POST", path, {**vote, "n": True})[0] == 409
        assert list(read(tmp_path / "study")) == []
        assert ask("POST", path, vote)[0] == 200
        assert ask("POST", path, vote)[0] == 409, "the same request again"
        assert ask("POST", path, {**vote, "n": 1})[0] == 409, "its trial is no longer shown"
        (kept,) = read(tmp_path / "study")
        assert (kept.trial, kept.choice, kept.seconds) == (vote["trial"], "left", 2.5)
        for outside in (
            "media/../study.json",
            "media/%2e%2e/study.json",
            "study.json",
            "votes.jsonl",
            "..%2fstudy.json",
        ):
            assert ask("GET", f"{served.token}{outside}")[0] == 404, outside


def test_ratings_on_the_papers_three_scales(runs: list[Path], chromium: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    page = chromium.new_page()
    with Served(runs[1], "--out", folder, "--mode", "rating", "--limit", 3, "--repeats", 0) as served:
        begin(page, served, "one")
        for keys in ("332", "112", "231"):
            before = page.locator("#count").inner_text()
            for key in (*keys, "Enter"):
                page.keyboard.press(key)
            if keys != "231":
                expect(page.locator("#count")).not_to_have_text(before)
        expect(page.locator("#done")).to_be_visible()
    page.close()
    values: dict[str, list[float]] = {}
    for one in judged(folder).ratings:
        values.setdefault(one.scale, []).append(one.value)
    assert list(values.values()) == [[1.0, 0.0, 0.5], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    assert list(values) == ["response accuracy", "object recognition accuracy", "integrity"]
