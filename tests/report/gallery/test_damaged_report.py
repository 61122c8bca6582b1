"""A report whose files are missing, damaged or of another report, in Chromium: a message says which and what to do."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from anymal_eval.report.gallery import data_files
from tests.report.gallery.conftest import Tab, call, demo_run, scores, watched

TASK = "tasks/vqav2.html"
COPY_AGAIN = "Copy the whole folder of the report again"


@pytest.fixture(scope="module")
def alone(world: Path) -> Path:
    """A run alone: it names every other picture's colour, and fails on two."""
    run = demo_run(world / "first-answers", "constant", "-o", "says=red", tasks="vqav2")
    said = world / "said.jsonl"
    rows = [
        f'{{"id": "{name}", "answer": "{("red", "no idea")[at % 2]}"}}' for at, name in enumerate(scores(run, "vqav2"))
    ]
    said.write_text("\n".join(rows[:-2]))
    return demo_run(world / "alone", f"replay:{said}", tasks="vqav2")


@pytest.fixture(scope="module")
def whole(alone: Path, world: Path) -> Path:
    """Its report, with ten rows in a file and three examples in another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_files, "ROWS", 10)
        patch.setattr(data_files, "CHUNK_EXAMPLES", 3)
        call("report", alone, "--media", "none", "--out", world / "whole")
    return world / "whole"


@pytest.fixture
def tab(chromium: Browser, whole: Path) -> Iterator[Tab]:
    for tab in watched(chromium, whole):
        yield tab
        # The browser itself complains of a file that is not there, or no script.
        tab.complaints[:] = [
            each for each in tab.complaints if "ERR_FILE_NOT_FOUND" not in each and "Invalid" not in each
        ]


def harmed(whole: Path, target: Path, name: str, harm: Callable[[Path], None]) -> Path:
    shutil.copytree(whole, target)
    harm(target / "data" / "vqav2" / name)
    return target


def removed(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200])


def no_json(file: Path) -> None:
    file.write_text(file.read_text().replace('"[', '"[}', 1))


def cut_json(file: Path) -> None:
    file.write_text(file.read_text().replace('"{', '"[{', 1))


def of_the_last_rows(file: Path) -> None:
    file.write_text(file.with_name("rows-2.js").read_text().replace("rows-2", "rows-0"))


HARMS: dict[str, Callable[[Path], None]] = {"missing": removed, "damaged": cut, "no json": no_json}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", ["rows-0.js", "rows-2.js"])
def test_a_file_of_rows(tab: Tab, whole: Path, tmp_path: Path, name: str, harm: str) -> None:
    report = harmed(whole, whole.parent / tmp_path.name, name, HARMS[harm])
    page = tab.open(TASK, report=report)
    tab.until("!document.querySelector('#broken').hidden")
    message = page.inner_text("#broken")
    assert message.startswith(f"data/vqav2/{name} is {'missing' if harm == 'missing' else 'damaged'}. {COPY_AGAIN}")
    # What is there is shown: ids and scores, and every example in full.
    assert page.locator("#list a").count() == 24
    tab.until("document.querySelector('#example .answer') !== null")
    page.fill("#search", "no idea")
    tab.until("document.querySelector('#count').innerText.includes(' of ')")
    assert not page.is_hidden("#broken")


@pytest.mark.parametrize("harm", HARMS)
def test_the_index(tab: Tab, whole: Path, tmp_path: Path, harm: str) -> None:
    report = harmed(whole, whole.parent / tmp_path.name, "index.js", HARMS[harm] if harm != "no json" else cut_json)
    tab.page.goto((report / TASK).as_uri())
    tab.until("!document.querySelector('#broken').hidden")
    assert COPY_AGAIN in tab.page.inner_text("#broken")
    assert tab.page.inner_text("#count") == "no examples"


def test_an_example(tab: Tab, whole: Path, tmp_path: Path) -> None:
    report = harmed(whole, whole.parent / tmp_path.name, "chunk-0.js", removed)
    page = tab.open(TASK, report=report)
    tab.until("document.querySelector('#example .note') !== null")
    assert page.inner_text("#example").startswith("data/vqav2/chunk-0.js is missing.")
    page.click("#list li:nth-child(4) a")  # it lies in another file
    tab.until("document.querySelector('#example .answer') !== null")


def test_a_file_of_another_report(tab: Tab, whole: Path, tmp_path: Path) -> None:
    report = harmed(whole, whole.parent / tmp_path.name, "rows-0.js", of_the_last_rows)
    page = tab.open(TASK, report=report)
    tab.until("!document.querySelector('#broken').hidden")
    assert page.inner_text("#broken").startswith("data/vqav2/rows-0.js is of another report.")


def test_a_run_alone_opens_with_the_worst(tab: Tab, alone: Path) -> None:
    page = tab.open(TASK)
    tab.until("document.querySelector('#example-title') !== null")
    rows = scores(alone, "vqav2")
    shown = [(link.get_attribute("href") or "")[1:] for link in page.query_selector_all("#list a")]
    errors = [name for name, row in rows.items() if row["state"] == "error"]
    assert len(errors) == 2
    assert shown[:2] == errors
    values = [rows[name]["scores"]["vqa_accuracy@2021"] for name in shown[2:]]
    assert values == sorted(values)
    assert values[0] < values[-1]
    assert page.inner_text("#example-title") == shown[0]
    assert page.input_value("#sort") == "low"
    page.select_option("#sort", "data")
    tab.until("(id) => document.querySelector('#list a').hash === '#' + id", next(iter(rows)))
