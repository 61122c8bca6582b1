"""The demo world comes through the official source of every task, whole and the same each time."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from anymal_eval import catalog
from anymal_eval.errors import WrongUse
from anymal_eval.evaluation.resolve import choose_tasks
from anymal_eval.records import ALL_MEDIA
from anymal_eval.sources.load import data_fingerprint, data_root, load_examples, missing_media, unavailable
from anymal_eval.task import Task
from tests.conftest import DEMO_TASKS, EXAMPLES, TASKS


@pytest.mark.parametrize("name", DEMO_TASKS)
def test_demo_data_is_read_as_official_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = catalog.tasks().get(name, "TASK", Task)
    prints = []
    for cache in ("one", "two"):
        monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / cache))
        found = load_examples(task, task.split(None), "demo", tmp_path, demo_examples=24)
        prints.append(data_fingerprint(found, data_root(task, task.split(None), "demo", tmp_path, (24, 0))))
    assert len(found) == 24
    assert missing_media(found) == []
    assert all(example.references for example in found)
    assert {example.groups["wording"] for example in found} <= {"seen", "held-out"}
    assert prints[0] == prints[1]


def test_a_task_without_demo_data_says_so(tmp_path: Path) -> None:
    task = replace(catalog.tasks().get("vqav2", "TASK", Task), name="plain", hub=None)
    with pytest.raises(WrongUse, match=r"^task plain has no demo data; give its own data with --data official"):
        load_examples(task, task.split(None), "demo", tmp_path)
    with pytest.raises(WrongUse, match=r"^task plain has no copy on the hub; use --data official$"):
        load_examples(task, task.split(None), "hub", tmp_path)
    assert unavailable(task, "demo") == "it has no demo data"
    assert unavailable(task, "hub") == "it has no known copy on the hub"
    assert unavailable(task, "official") == ""


def test_all_tasks_skip_those_without_demo_data(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "adding_a_task" / "gqa.py", tmp_path)
    tasks, skipped = choose_tasks(("all",), ALL_MEDIA, (tmp_path,), "model x", "demo")
    assert skipped == {name: "it has no demo data" for name in {*TASKS, "gqa"} - set(DEMO_TASKS)}
    assert [task.name for task in tasks] == DEMO_TASKS
    tasks, skipped = choose_tasks(("all",), {"audio"}, (tmp_path,), "model x", "demo")
    assert skipped["gqa"] == skipped["vqav2"] == "model x does not take its media"
    (task,), skipped = choose_tasks(("gqa",), ALL_MEDIA, (tmp_path,), "model x", "demo")
    assert (task.name, skipped) == ("gqa", {})


def test_demo_has_no_other_split(tmp_path: Path) -> None:
    task = catalog.tasks().get("vqav2", "TASK", Task)
    with pytest.raises(WrongUse, match="no split test-dev of vqav2"):
        load_examples(task, task.split("test-dev"), "demo", tmp_path)
