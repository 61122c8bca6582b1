"""Copies on the hub of several files: empty ones, damaged ones, other types, cut off, other configurations."""

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.errors import HfHubHTTPError

from anymal_eval import catalog
from anymal_eval.errors import BadData, MediaError, MissingData
from anymal_eval.records import Example
from anymal_eval.sources import hub, hub_media
from anymal_eval.sources.dataset import DataOptions, load_dataset
from anymal_eval.sources.hub import Hub
from anymal_eval.sources.hub_media import open_media
from anymal_eval.sources.load import load_examples, with_hub_id
from anymal_eval.task import Task
from anymal_eval.training.sources import open_data
from tests.sources import test_hub

hub_of_its_own = test_hub.hub_of_its_own
SPLIT = "val2014"
both = pytest.mark.parametrize("large", [False, True], ids=["prepared", "streamed"])


def rows(start: int, end: int, name: Callable[[int], Any] = str) -> list[dict[str, Any]]:
    return [
        {"question_id": name(1000 + n), "image": {"bytes": b"p%d" % n, "path": None}, "question": f"question {n}?",
         "answers": ["a"] * 10, "question_type": "one", "answer_type": "other"}
        for n in range(start, end)
    ]  # fmt: skip


def shard(folder: Path, number: int, ending: str = "parquet", split: str = SPLIT) -> Path:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    return folder / "data" / f"{split}-{number:05d}-of-00003.{ending}"


def copy(folder: Path, ends: Sequence[int] = (5, 9, 12)) -> list[Path]:
    """Twelve rows in three parquet files, as plain bytes."""
    for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        table = pa.Table.from_pylist(rows(start, end) or rows(0, 1)).slice(0, end - start)
        pq.write_table(table, shard(folder, number), compression="none", use_dictionary=False)
    return [shard(folder, number) for number in range(3)]


def forget() -> None:
    """Within one command a data set does not change; here it does."""
    for cached in (hub.load, hub.resolve, hub_media._shards):
        cached.cache_clear()


def read(folder: Path, large: bool) -> list[Example]:
    forget()
    task = with_hub_id(catalog.tasks().get("okvqa", "TASK", Task), str(folder))
    assert isinstance(task.hub, Hub)
    return load_examples(replace(task, hub=replace(task.hub, large=large)), task.splits[0], "hub", folder)


def refused(folder: Path, large: bool, kind: type[Exception] | tuple[type[Exception], ...] = BadData) -> str:
    with pytest.raises(kind) as caught:
        read(folder, large)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@both
@pytest.mark.parametrize("ends", [(0, 5, 9), (5, 5, 9), (5, 9, 9), (0, 0, 9)])
def test_an_empty_file_is_empty(tmp_path: Path, large: bool, ends: Sequence[int]) -> None:
    copy(tmp_path / "copy", ends)
    found = read(tmp_path / "copy", large)
    assert [example.id for example in found] == [str(1000 + n) for n in range(9)]
    assert [open_media(example.media[0].uri) for example in found] == [b"p%d" % n for n in range(9)]


@both
def test_files_that_are_all_empty(tmp_path: Path, large: bool) -> None:
    copy(tmp_path / "copy", (0, 0, 0))
    assert str(tmp_path / "copy") in refused(tmp_path / "copy", large)


@both
def test_damaged_bytes(tmp_path: Path, large: bool) -> None:
    file = copy(tmp_path / "copy")[1]
    content = file.read_bytes()
    at = content.index(b"question 6?")
    file.write_bytes(content[: at - 4] + b"\xff" * 4 + content[at:])
    assert refused(tmp_path / "copy", large).startswith(f"{file}: rows 1 to 4: column 'question' is damaged: ")


@both
def test_a_file_that_is_cut_off(tmp_path: Path, large: bool) -> None:
    files = copy(tmp_path / "copy")
    whole = files[2].read_bytes()
    for content in (whole[:-50], whole[:3], b""):
        files[2].write_bytes(content)
        assert refused(tmp_path / "copy", large).startswith(f"{files[2]}: ")


@both
def test_ids_of_other_types(tmp_path: Path, large: bool) -> None:
    files = copy(tmp_path / "copy")
    pq.write_table(pa.Table.from_pylist(rows(0, 5, int)), files[0])
    pq.write_table(pa.Table.from_pylist(rows(5, 9, lambda n: f"q{n}")), files[1])
    message = refused(tmp_path / "copy", large)
    assert message.startswith(f"{files[1]}: row 1: column 'question_id' holds string, and int64 in {files[0]}")


@both
def test_a_line_that_is_cut_off(tmp_path: Path, large: bool) -> None:
    lines = [json.dumps(row | {"image": "a.png"}) + "\n" for row in rows(0, 9)]
    for number, part in enumerate([lines[:5], [], lines[5:]]):
        shard(tmp_path / "copy", number, "jsonl").write_text("".join(part))
    (tmp_path / "copy" / "a.png").write_bytes(b"a picture")
    assert len(read(tmp_path / "copy", large)) == 9
    file = shard(tmp_path / "copy", 2, "jsonl")
    file.write_text("".join(lines[5:])[:-20])
    assert refused(tmp_path / "copy", large).startswith(f"{file}: line 4: ")


def network_error() -> Exception:
    """Of the HTTP library that the hub's client has in this version."""
    kind: type[Exception] = next(base for base in HfHubHTTPError.__bases__ if base is not OSError)
    return kind("the peer closed the connection")


def test_the_network_fails_while_rows_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, usual, diagnosed = tmp_path / "copy", hub._streamed, []
    copy(folder)

    def first_six(*arguments: Any) -> tuple[Any, list[str]]:
        found, columns = usual(*arguments)

        def broken() -> Iterator[Any]:
            yield from itertools.islice(found, 6)
            raise network_error()

        return broken(), columns

    monkeypatch.setattr(hub, "_streamed", first_six)
    monkeypatch.setattr(hub, "files_with_rows", lambda *arguments: diagnosed.append(arguments))
    expected = f"hub data set {folder}: row 7: the peer closed the connection"
    assert refused(folder, large=True, kind=MissingData) == expected
    assert not diagnosed


@both
def test_the_network_fails_while_files_are_diagnosed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    folder, usual = tmp_path / "copy", pq.ParquetFile.read_row_group
    files = copy(folder)
    pq.write_table(pa.Table.from_pylist(rows(0, 5, int)), files[0])
    pq.write_table(pa.Table.from_pylist(rows(5, 9, lambda n: f"q{n}")), files[1])

    def broken(opened: pq.ParquetFile, *arguments: Any, **options: Any) -> pa.Table:
        if options.get("columns") == ["question"]:
            raise network_error()
        return usual(opened, *arguments, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", broken)
    message = refused(folder, large, (BadData, MissingData))
    assert message.startswith(f"hub data set {folder}")
    assert "the peer closed" not in message


def test_the_network_fails_while_media_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy(tmp_path / "copy")
    (example, *_) = read(tmp_path / "copy", large=True)

    def broken(*arguments: Any, **options: Any) -> pa.Table:
        raise network_error()

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", broken)
    with pytest.raises(MediaError, match="the peer closed the connection"):
        open_media(example.media[0].uri)


def test_media_that_are_not_read_are_not_diagnosed(tmp_path: Path) -> None:
    """A copy that is streamed has an empty file, which is left out, and a damaged picture, which no row needs."""
    file = copy(tmp_path / "copy", (0, 5, 9))[1]
    content = file.read_bytes()
    at = content.index(b"p3")
    file.write_bytes(content[: at - 4] + b"\xff" * 4 + content[at:])
    assert len(read(tmp_path / "copy", large=True)) == 9
    assert "column 'image' is damaged" in refused(tmp_path / "copy", large=False)


def configurations(folder: Path, **splits: str) -> None:
    lines = [
        f"- config_name: {name}\n  data_files:\n  - split: {split}\n    path: data/*" for name, split in splits.items()
    ]
    (folder / "README.md").write_text("---\nconfigs:\n" + "\n".join(lines) + "\n---\n")


@both
def test_another_configuration_is_found(tmp_path: Path, large: bool) -> None:
    copy(tmp_path / "copy")
    for splits in ({"mine": SPLIT}, {"a": "train", "b": SPLIT}, {"b": SPLIT, "default": "train"}):
        configurations(tmp_path / "copy", **splits)
        assert len(read(tmp_path / "copy", large)) == 12, splits
    configurations(tmp_path / "copy", a=SPLIT, b=SPLIT)
    message = refused(tmp_path / "copy", large)
    assert message.endswith(f"its configurations a, b have the split {SPLIT}; name one with --hub-config")
    configurations(tmp_path / "copy", a="train", b="test")
    assert "none of its configurations a, b has the split" in refused(tmp_path / "copy", large)


def test_a_configuration_is_named(tmp_path: Path) -> None:
    copy(tmp_path / "copy")
    configurations(tmp_path / "copy", a=SPLIT, b=SPLIT)
    task = catalog.tasks().get("okvqa", "TASK", Task)
    options = DataOptions(data="hub", hub_id=str(tmp_path / "copy"), hub_config="b", data_root=tmp_path)
    found = load_dataset(task, options)
    assert len(found.examples) == 12
    assert found.source["config"] == "b"
    assert "/b/" in found.examples[0].media[0].uri
    with pytest.raises(BadData, match="name one with --hub-config"):
        load_dataset(task, replace(options, hub_config="c"))


@both
def test_any_damaged_byte(tmp_path: Path, large: bool) -> None:
    """Whatever byte of a file is wrong: the rows, or one line that names the file or the row."""
    drawn = random.Random(9)
    files = copy(tmp_path / "copy")
    whole = files[1].read_bytes()
    for _ in range(12):
        at = drawn.randrange(len(whole))
        files[1].write_bytes(whole[:at] + bytes([whole[at] ^ (1 << drawn.randrange(8))]) + whole[at + 1 :])
        try:
            assert len(read(tmp_path / "copy", large)) == 12
        except BadData as error:
            assert str(tmp_path / "copy") in str(error)  # noqa: PT017  # both endings are right
            assert "\n" not in str(error)  # noqa: PT017


def test_training_data_too(tmp_path: Path) -> None:
    for number in range(3):
        made = [{"image": {"bytes": b"p", "path": None}, "caption": f"caption {n}"} for n in range(2)]
        table = pa.Table.from_pylist(made).slice(0, 0 if number == 1 else 2)
        pq.write_table(table, shard(tmp_path / "copy", number, split="train"), compression="none", use_dictionary=False)
    assert len(open_data(f"datasets:{tmp_path}/copy").samples or []) == 4
    file = shard(tmp_path / "copy", 2, split="train")
    file.write_bytes(file.read_bytes()[:-9])
    forget()
    with pytest.raises(BadData, match=f"^{file}: "):
        open_data(f"datasets:{tmp_path}/copy")
