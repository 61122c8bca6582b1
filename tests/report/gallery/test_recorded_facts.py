"""Every key of a row of scores and of a response: where the page of its example shows it, or why it does not."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from anymal_eval.models import PLAIN_WORDING, PlainText, Prepared
from anymal_eval.records import ALL_MEDIA, Failure, Request, Response
from anymal_eval.report.gallery.details import NOTES
from anymal_eval.scoring.answer_notes import NOTED
from anymal_eval.store.results import WHAT
from tests.report.gallery.conftest import Tab, call, demo_run, scores, watched

TASKS = "vqav2,hateful_memes,scienceqa"
WRITTEN: Sequence[Mapping[str, Any]] = (
    {"answer": "a quite long tale", "finish": "length", "new_tokens": 32, "prompt_tokens": 1490},
    {"answer": "<think>Is it a cat?</think>red", "finish": "stop", "new_tokens": 17},
    {"answer": "blue", "thinking": "The sky, hence blue.", "finish": "stop", "prompt_tokens": 77},
    {"answer": "green<|im_end|>", "finish": "stop", "new_tokens": 4},
    {"answer": "<think>And then again, and again", "finish": "length", "new_tokens": 31},
    {"failure": Failure(kind="timeout", message="no answer within 60 s")},
    {"answer": "  ", "finish": "stop"},
)


class Recorded:
    """A model whose responses hold everything that a response can hold."""

    accepts = ALL_MEDIA
    wording = PLAIN_WORDING
    opens_media = False
    fingerprint = "recorded"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """None."""

    def __init__(self, options: Options) -> None:
        del options
        self._made = 0

    def prepare(self, request: Request) -> PlainText:
        return PlainText(request)

    def answer(self, batch: Sequence[Prepared]) -> list[Response]:
        return [self._one(item.request) for item in batch]

    def _one(self, request: Request) -> Response:
        self._made += 1
        count = len(request.candidates)
        if not count:
            return Response(id=request.id, **WRITTEN[self._made % len(WRITTEN)])
        return Response(
            id=request.id,
            option_scores=tuple(-1.25 - (at * 7 + self._made) % 5 for at in range(count)),
            option_tokens=tuple(2 + at for at in range(count)),
            finish="ranked",
        )

    def close(self) -> None:
        pass


OR = "\0"


def number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def texts(value: object) -> list[str]:
    return [line for line in str(value).split("\n") if line.strip()]


# What of a value stands on the page of its example. None: it is not shown, for the reason beside it.
ENDS = {"stop": "ended by itself", "length": "cut at the limit", "ranked": "options ranked"}
STATES = {"ok": "", "error": "error", "empty": "empty answer", "unparsable": "no option could be read"}
OF_SCORES: Mapping[str, Callable[[Any], list[str]] | None] = {
    "id": lambda value: [value],
    "cluster": None,  # an id for the intervals alone
    "key": lambda value: [f"key: {value}"],
    "state": lambda value: [STATES[value]],
    "raw": lambda value: [number(each, 2) for each in value] if isinstance(value, list) else texts(value or ""),
    "answer": texts,
    "choice": lambda _: ["chosen"],
    "p_yes": lambda value: [f"{value:.3f}"],
    "groups": lambda value: [f"{name.replace('_', ' ')}: {text}" for name, text in value.items()],
    "cut": lambda _: ["cut at the limit"],
    "thinking": lambda _: ["Thinking, "],
    "template": lambda _: ["holds tokens of the template"],
    # Of a choice it is a word.
    "scores": lambda value: [f"{100 * each:.1f}{OR}{'right' if each else 'wrong'}" for each in value.values()],
}  # fmt: skip
OF_RESPONSES: Mapping[str, Callable[[Any], list[str]] | None] = {
    "id": lambda value: [value],
    "answer": texts,
    "failure": lambda value: [value["kind"], value["message"]],
    "option_scores": lambda value: [number(each, 2) for each in value],
    "option_tokens": lambda value: [f"log p of {each} tokens" for each in value],
    "finish": lambda value: [ENDS[value]],
    "thinking": texts,
    "prompt_tokens": lambda value: [f"prompt of {value:,} tokens"],
    "new_tokens": lambda value: [f"{value} new tokens"],
    "crc": None,  # of the line
}


@dataclass(frozen=True)
class Reported:
    run: Path
    report: Path


@pytest.fixture(scope="module")
def reported(world: Path) -> Reported:
    run = demo_run(world / "recorded", f"{__name__}:Recorded", tasks=TASKS)
    call("report", run, "--media", "none", "--out", world / "recorded-report")
    return Reported(run, world / "recorded-report")


@pytest.fixture(scope="module")
def tab(chromium: Browser, reported: Reported) -> Iterator[Tab]:
    yield from watched(chromium, reported.report)


def test_every_key_is_listed(reported: Reported) -> None:
    assert {field.name for field in fields(Response)} | {"crc"} == OF_RESPONSES.keys()
    assert set(NOTED) == set(NOTES) < OF_SCORES.keys()
    rows = [row for task in TASKS.split(",") for row in scores(reported.run, task).values()]
    assert {key for row in rows for key in row} | {"key"} == OF_SCORES.keys()
    lines = [line for task in TASKS.split(",") for line in responses(reported.run, task).values()]
    assert {key for row in lines for key in row} == OF_RESPONSES.keys()


def responses(run: Path, task: str) -> dict[str, dict[str, Any]]:
    lines = (run / task / "responses.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def seen(tab: Tab, task: str, name: str) -> str:
    """All that the page of an example shows, with what folds and tooltips hold."""
    tab.page.goto("about:blank")
    page = tab.open(f"tasks/{task}.html", f"#{name}")
    tab.until("(id) => document.querySelector('#example-title')?.innerText === id", name)
    return str(
        page.evaluate("""() => {
        const shown = document.querySelector('#example');
        for (const each of shown.querySelectorAll('details')) each.open = true;
        return shown.innerText + [...shown.querySelectorAll('[title]')].map((each) => '\\n' + each.title).join('');
    }""")
    )


@pytest.mark.parametrize("task", TASKS.split(","))
def test_every_recorded_fact_is_on_the_page_of_its_example(tab: Tab, reported: Reported, task: str) -> None:
    rows, given = scores(reported.run, task), responses(reported.run, task)
    kinds = {(*sorted(row), row["state"], given[name].get("finish"), *sorted(given[name])): name
             for name, row in rows.items()}  # fmt: skip
    for name in kinds.values():
        page = re.sub(r"\s+", " ", seen(tab, task, name))
        assert "Raw output, 0 characters" not in page
        for found, known in ((rows[name], OF_SCORES), (given[name], OF_RESPONSES)):
            for key, value in found.items():
                words = known[key]
                if words is not None:
                    expected = [re.sub(r"\s+", " ", each).strip() for each in words(value)]
                    missing = [each for each in expected if not any(word in page for word in each.split(OR))]
                    assert not missing, (task, name, key)


def test_notes_are_counted_on_the_page_of_the_task(reported: Reported) -> None:
    page = (reported.report / "tasks" / "vqav2.html").read_text(encoding="utf-8")
    rows = scores(reported.run, "vqav2").values()
    for note in NOTED:
        assert f"{sum(note in row for row in rows)} of {len(rows)} answers {WHAT[note]}" in page


def test_what_is_noted_of_the_data_stands_with_the_number(world: Path) -> None:
    from dataclasses import replace

    from anymal_eval.evaluation.report_content import ReportOptions, read_report
    from anymal_eval.report.gallery.write import Media, write_report

    options = ReportOptions(runs=[world / "recorded"], against=(), data_root=Path("data"), examples=None, tasks_dir=(),
                            accepted=world)  # fmt: skip
    found = read_report(options)
    entry = replace(found.pages[0].entry, source={"notes": ["3 of 24 pictures are <lost>"]})
    noted = replace(found, pages=[replace(found.pages[0], entry=entry)])
    write_report(world / "noted", noted, Media(copied=False), lambda _: None)
    assert "<li>3 of 24 pictures are &lt;lost&gt;</li>" in (world / "noted" / "tasks" / "vqav2.html").read_text()
