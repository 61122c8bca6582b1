"""Every task from every source it has: golden rows give the very examples that were worked by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anymal_eval import catalog
from anymal_eval.records import Example, Media
from anymal_eval.sources.hub_media import open_media
from anymal_eval.task import Task
from tests.conftest import GOLDEN_TASKS, SHIPPED, TASKS, golden_cases

ROWS = [(name, case) for name in TASKS for case in golden_cases(name)]


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def named(medium: Media, root: Path) -> str:
    return f"row:{medium.uri.rpartition('#')[2]}" if medium.uri.startswith("row:") else str(
        Path(medium.uri).relative_to(root)
    )  # fmt: skip


@pytest.mark.parametrize(("name", "case"), ROWS, ids=[f"{name}-{case['source']}" for name, case in ROWS])
def test_rows_give_the_examples_worked_by_hand(
    name: str, case: dict[str, Any], load: Callable[..., list[Example]], tmp_path: Path
) -> None:
    found = load(name, case, tmp_path)
    assert len(found) == len(case["expected"]) >= 2
    for example, expected in zip(found, case["expected"], strict=True):
        wanted = dict(expected)
        media = wanted.pop("media")
        assert [medium.kind for medium in example.media] == [medium["kind"] for medium in media]
        assert [named(medium, tmp_path / name) for medium in example.media] == [medium["uri"] for medium in media]
        for medium, want in zip(example.media, media, strict=True):
            assert (medium.start_s, medium.end_s) == (want.get("start_s"), want.get("end_s"))
        assert {key: plain(getattr(example, key)) for key in wanted} == wanted


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, case in ROWS if case.get("media")])
def test_media_in_rows_can_be_opened(
    name: str, case: dict[str, Any], load: Callable[..., list[Example]], tmp_path: Path
) -> None:
    for example in load(name, case, tmp_path):
        for medium in example.media:
            assert open_media(medium.uri) == f"medium {medium.uri.rpartition('#')[2]}".encode()


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_golden_rows_of_every_source(name: str) -> None:
    cases = golden_cases(name)
    sources = {"official", "hub"} if catalog.tasks().get(name, "TASK", Task).hub else {"official"}
    assert {case["source"] for case in cases} == sources, f"write {GOLDEN_TASKS / name}.json, with cases of {sources}"
    assert all(case["why"] for case in cases)


def test_no_golden_rows_are_left_over() -> None:
    assert {file.stem for file in GOLDEN_TASKS.glob("*.json")} <= set(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_task_files_hold_together(name: str) -> None:
    task = catalog.tasks().get(name, "TASK", Task)
    assert task.headline in task.metrics
    assert task.hub is not None or name not in SHIPPED
    described = catalog.tasks().module(name).__doc__ or ""
    assert all(f"\n{word} " in described for word in ("Paper", "Split", "Reported")), "say so in the file's docstring"
    for split in task.splits:
        assert all(file.origin for file in task.official.files(split))
