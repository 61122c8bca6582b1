"""The hub source: the revision that was read, media opened again by row, streaming, and no network."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anymal_eval import catalog
from anymal_eval.errors import BadData, MediaError, MissingData, WrongUse
from anymal_eval.sources import hub, hub_media
from anymal_eval.sources.hub import Hub
from anymal_eval.sources.load import data_fingerprint, load_examples, missing_media, with_hub_id
from anymal_eval.task import Task

ROWS = 50


@pytest.fixture(autouse=True)
def hub_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    yield
    for cached in (hub.load, hub.resolve, hub_media._shards):
        cached.cache_clear()


def copy(folder: Path, rows: int = ROWS, **columns: Any) -> Path:
    """An OK-VQA copy in two shards of several row groups, its pictures typed as ``datasets`` writes them."""
    (folder / "data").mkdir(parents=True)
    features = datasets.Features(
        {
            "question_id": datasets.Value("string"),
            "image": datasets.Image(decode=False),
            "question": datasets.Value("string"),
            "answers": datasets.List(datasets.Value("string")),
            "question_type": datasets.Value("string"),
            "answer_type": datasets.Value("string"),
        }
    )
    made = [
        {
            "question_id": f"{1000 + n // 2}{n % 2}",
            "image": {"bytes": f"picture {n}".encode(), "path": None},
            "question": f"question {n}?",
            "answers": ["a"] * 10,
            "question_type": "one",
            "answer_type": "other",
        }
        | columns
        for n in range(rows)
    ]
    table = datasets.Dataset.from_list(made, features=features).data.table
    middle = rows * 3 // 5
    for number, part in enumerate((table.slice(0, middle), table.slice(middle))):
        pq.write_table(part, folder / "data" / f"val2014-{number:05d}-of-00002.parquet", row_group_size=8)
    return folder


def okvqa(source: Path | str, large: bool = True) -> Task:
    task = with_hub_id(catalog.tasks().get("okvqa", "TASK", Task), str(source))
    assert isinstance(task.hub, Hub)
    return dataclasses.replace(task, hub=dataclasses.replace(task.hub, large=large))


@pytest.mark.parametrize("large", [True, False], ids=["streamed", "prepared"])
def test_media_are_opened_by_row(large: bool, tmp_path: Path) -> None:
    task = okvqa(copy(tmp_path / "copy"), large)
    found = load_examples(task, task.split(None), "hub", tmp_path)
    assert [example.question for example in found] == [f"question {n}?" for n in range(ROWS)]
    assert len({example.cluster for example in found}) == ROWS // 2
    assert missing_media(found) == []
    order = [*range(ROWS), *range(ROWS - 1, -1, -7)]
    assert [hub_media.open_media(found[n].media[0].uri) for n in order] == [f"picture {n}".encode() for n in order]


def test_streamed_and_prepared_rows_are_the_same_data(tmp_path: Path) -> None:
    prints = set()
    for place, large in (("one", True), ("two", False)):
        task = okvqa(copy(tmp_path / place), large)
        prints.add(data_fingerprint(load_examples(task, task.split(None), "hub", tmp_path), tmp_path / "okvqa"))
    assert len(prints) == 1


def test_listing_a_large_copy_reads_no_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = okvqa(copy(tmp_path / "copy"))
    calls: list[Any] = []
    plain = datasets.load_dataset

    def watched(*args: Any, **more: Any) -> Any:
        calls.append(more)
        return plain(*args, **more)

    monkeypatch.setattr(datasets, "load_dataset", watched)
    load_examples(task, task.split(None), "hub", tmp_path)
    assert all(more["streaming"] for more in calls)
    assert "image" not in calls[-1]["columns"]


def test_media_are_opened_from_many_threads(tmp_path: Path) -> None:
    task = okvqa(copy(tmp_path / "copy"))
    found = load_examples(task, task.split(None), "hub", tmp_path)
    got: dict[int, bytes] = {}

    def open_some(first: int) -> None:
        for n in range(first, ROWS, 4):
            got[n] = hub_media.open_media(found[n].media[0].uri)

    threads = [threading.Thread(target=open_some, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {n: f"picture {n}".encode() for n in range(ROWS)}


def test_the_revision_is_resolved_and_in_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = okvqa(copy(tmp_path / "copy"))
    assert isinstance(task.hub, Hub)
    assert task.hub.revision.startswith("local-")
    uri = load_examples(task, task.split(None), "hub", tmp_path)[3].media[0].uri
    assert uri == f"row:{tmp_path / 'copy'}@{task.hub.revision}/-/val2014/image#3"
    commit = "0123456789abcdef0123456789abcdef01234567"
    pinned = Hub(id="some/where", splits={}, read=iter, pinned=commit)
    assert pinned.revision == commit
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    class Info:
        sha = commit[::-1]

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: Info)
    assert Hub(id="some/where", splits={}, read=iter).revision == commit[::-1]


def test_offline_reads_the_newest_commit_in_the_cache(tmp_path: Path) -> None:
    commit = "ab" * 20
    (tmp_path / "datasets" / "some___where" / "default" / "0.0.0" / commit).mkdir(parents=True)
    assert Hub(id="some/where", splits={}, read=iter).revision == commit
    with pytest.raises(MissingData, match=r"other/where is not in the cache .* HF_HUB_OFFLINE is set"):
        _ = Hub(id="other/where", splits={}, read=iter).revision


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    task = okvqa("")
    with pytest.raises(WrongUse, match="--hub-id"):
        load_examples(task, task.split(None), "hub", tmp_path)
    test_only = with_hub_id(catalog.tasks().get("nextqa", "TASK", Task), str(tmp_path))
    with pytest.raises(WrongUse, match="has no split val; it has test"):
        load_examples(test_only, test_only.split("val"), "hub", tmp_path)
    (tmp_path / "empty").mkdir()
    task = okvqa(tmp_path / "empty")
    with pytest.raises(BadData, match=r"hub data set .*empty val2014 cannot be loaded"):
        load_examples(task, task.split(None), "hub", tmp_path)


def test_a_row_that_is_wrong_is_named(tmp_path: Path) -> None:
    task = okvqa(copy(tmp_path / "nine", answers=["a"] * 9))
    with pytest.raises(BadData, match=r"nine val2014: row 1: 'answers' holds 9 answers"):
        load_examples(task, task.split(None), "hub", tmp_path)
    task = okvqa(copy(tmp_path / "double", question_id="12"))
    with pytest.raises(BadData, match=r"double val: 1 double id: 12"):
        load_examples(task, task.split(None), "hub", tmp_path)


def test_a_medium_that_cannot_be_opened_is_an_error_of_its_request(tmp_path: Path) -> None:
    task = okvqa(copy(tmp_path / "copy"))
    uri = load_examples(task, task.split(None), "hub", tmp_path)[0].media[0].uri
    for bad in (uri.replace("#0", "#999"), uri.replace("/image#", "/question#"), uri.replace("#0", "#x")):
        with pytest.raises(MediaError, match="row:"):
            hub_media.open_media(bad)


def test_a_path_in_a_row_stays_in_the_repository(tmp_path: Path) -> None:
    repository = tmp_path / "memes"
    (repository / "img").mkdir(parents=True)
    (repository / "img" / "1.png").write_bytes(b"meme")
    lines = [
        f'{{"id": {n}, "img": "{img}", "label": 0, "text": ""}}\n'
        for n, img in enumerate(("img/1.png", "../x", "/etc/passwd"))
    ]
    (repository / "dev_seen.jsonl").write_text("".join(lines))
    (tmp_path / "x").write_bytes(b"outside")
    task = with_hub_id(catalog.tasks().get("hateful_memes", "TASK", Task), str(repository))
    uris = [example.media[0].uri for example in load_examples(task, task.split(None), "hub", tmp_path)]
    assert hub_media.open_media(uris[0]) == b"meme"
    for uri in uris[1:]:
        with pytest.raises(MediaError, match="data folder"):
            hub_media.open_media(uri)


@pytest.mark.parametrize("large", [True, False], ids=["streamed", "prepared"])
def test_sound_is_never_decoded(large: bool, tmp_path: Path) -> None:
    types = {"audio": {"_type": "Audio"}, "youtube_id": {"_type": "Value", "dtype": "string"}}
    types |= {"start_time": {"_type": "Value", "dtype": "int64"}, "caption": {"_type": "Value", "dtype": "string"}}
    row = {"audio": {"bytes": b"RIFF", "path": "a.wav"}, "youtube_id": "y", "start_time": 3, "caption": "a bell"}
    table = pa.Table.from_pylist([row]).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": types}})}
    )
    (tmp_path / "copy" / "data").mkdir(parents=True)
    pq.write_table(table, tmp_path / "copy" / "data" / "test-00000-of-00001.parquet")
    task = with_hub_id(catalog.tasks().get("audiocaps", "TASK", Task), str(tmp_path / "copy"))
    assert isinstance(task.hub, Hub)
    task = dataclasses.replace(task, hub=dataclasses.replace(task.hub, large=large))
    (found,) = load_examples(task, task.split(None), "hub", tmp_path)
    assert (found.id, found.references) == ("y", ("a bell",))
    assert hub_media.open_media(found.media[0].uri) == b"RIFF"
