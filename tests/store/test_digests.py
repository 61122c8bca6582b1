"""Digests notice edits, read compressed copies, and say what to do."""

import gzip
from pathlib import Path

import pytest

from anymal_eval.errors import BadData, MissingData
from anymal_eval.store import digests


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "coco").mkdir()
    for name in ("manifest.json", "results.json", "coco/scores.jsonl", "coco/statistics.npz"):
        (tmp_path / name).write_text(f"content of {name}\n")
    digests.write(tmp_path, ["coco", "not scored yet"])
    return tmp_path


def test_the_same_files_give_the_same_bytes(run: Path) -> None:
    before = (run / "digests.json").read_bytes()
    digests.write(run, ["not scored yet", "coco"])
    assert (run / "digests.json").read_bytes() == before
    digests.verify(run)


@pytest.mark.parametrize("name", ["manifest.json", "results.json", "coco/scores.jsonl", "coco/statistics.npz"])
def test_an_edit_is_noticed(run: Path, name: str) -> None:
    (run / name).write_text("edited")
    with pytest.raises(BadData, match="has changed since it was scored"):
        digests.verify(run)
    (run / name).unlink()
    with pytest.raises(MissingData, match="is missing"):
        digests.verify(run)


def test_a_compressed_copy_stands_for_the_file(run: Path) -> None:
    file = run / "coco" / "scores.jsonl"
    packed = file.with_name("scores.jsonl.gz")
    packed.write_bytes(gzip.compress(file.read_bytes(), mtime=0))
    file.unlink()
    digests.verify(run)
    packed.write_bytes(packed.read_bytes()[:-5])
    with pytest.raises(BadData, match="is the file whole"):
        digests.verify(run)


def test_a_file_of_digests_that_is_none(run: Path) -> None:
    (run / "digests.json").write_text('{"schema": 1}')
    with pytest.raises(BadData, match="schema 1"):
        digests.verify(run)
    (run / "digests.json").unlink()
    with pytest.raises(MissingData, match="scoring has not finished"):
        digests.verify(run)
