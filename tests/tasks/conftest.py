"""Writes golden rows as the official files or as a hub copy, and reads them through the task."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anymal_eval import catalog
from anymal_eval.records import Example
from anymal_eval.sources import hub, hub_media
from anymal_eval.sources.load import load_examples, with_hub_id
from anymal_eval.task import Task

Load = Callable[[str, dict[str, Any], Path], list[Example]]


@pytest.fixture(autouse=True)
def hub_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network, and a cache that no other test has filled."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    yield
    for cached in (hub.load, hub.resolve, hub_media._shards):
        cached.cache_clear()


@pytest.fixture
def load() -> Load:
    """Write one golden case under a folder and read it."""

    def read(name: str, case: dict[str, Any], root: Path) -> list[Example]:
        task = catalog.tasks().get(name, "TASK", Task)
        if case["source"] == "hub":
            task = with_hub_id(task, str(write_copy(case, root / "copy")))
        else:
            write_files(case["files"], root / name)
        return load_examples(task, task.split(case["split"]), case["source"], root)

    return read


def write_files(files: dict[str, Any], folder: Path) -> None:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".jsonl"):
            content = "".join(f"{json.dumps(row)}\n" for row in content)
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def write_copy(case: dict[str, Any], folder: Path) -> Path:
    """A hub repository with these rows: JSON lines where its split is a file, else parquet with media as bytes."""
    theirs = case["their_split"]
    if "." in theirs:
        write_files({theirs: case["rows"]}, folder)
        return folder
    rows = [dict(row) for row in case["rows"]]
    for number, row in enumerate(rows):
        if case["media"] and case["media"] not in row:
            row[case["media"]] = {"bytes": f"medium {number}".encode(), "path": f"{number}.bin"}
    place = folder / case.get("config", "data")
    place.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), place / f"{theirs}-00000-of-00001.parquet", row_group_size=2)
    if "config" in case:
        card = (
            f"configs:\n- config_name: {case['config']}\n  data_files:\n  - split: {theirs}\n    path: {place.name}/*"
        )
        (folder / "README.md").write_text(f"---\n{card}\n---\n", encoding="utf-8")
    return folder
