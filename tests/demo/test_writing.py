"""A folder is whole or not there; a second call finds it; nothing that is not ours is touched."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run

import pytest

from anymal_eval.demo import default_root, tasks, write_task, writing
from anymal_eval.errors import MissingData, WrongUse
from tests.conftest import SHIPPED


def test_a_second_call_writes_nothing(tmp_path: Path) -> None:
    folder = write_task("coco", tmp_path, examples=3)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_task("coco", tmp_path, examples=3) == folder == tmp_path / "coco"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["coco"]


def test_other_arguments_are_refused(tmp_path: Path) -> None:
    write_task("coco", tmp_path, examples=3)
    with pytest.raises(WrongUse, match="other arguments"):
        write_task("coco", tmp_path, examples=4)


def test_real_data_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "dataset_coco.json").write_text("{}")
    with pytest.raises(WrongUse, match="not demo data"):
        write_task("coco", tmp_path, examples=3)
    assert (tmp_path / "coco" / "dataset_coco.json").read_text() == "{}"


def test_a_lost_file_is_seen(tmp_path: Path) -> None:
    folder = write_task("coco", tmp_path, examples=3)
    next((folder / "val2014").iterdir()).unlink()
    with pytest.raises(MissingData, match="5 files of 6"):
        write_task("coco", tmp_path, examples=3)


def test_a_damaged_note_is_seen(tmp_path: Path) -> None:
    folder = write_task("coco", tmp_path, examples=3)
    (folder / "DEMO.txt").write_text("no stamp\n")
    with pytest.raises(WrongUse, match="damaged"):
        write_task("coco", tmp_path, examples=3)


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(writing, "write_json", fail)
    with pytest.raises(OSError, match="disk full"):
        write_task("coco", tmp_path, examples=3)
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="no task 'mnist'"):
        write_task("mnist", tmp_path)
    with pytest.raises(WrongUse, match="at least one"):
        write_task("coco", tmp_path, examples=0)
    with pytest.raises(WrongUse, match="'test'"):
        write_task("coco", tmp_path, split="test")  # type: ignore[arg-type]


def test_two_processes_at_once(tmp_path: Path) -> None:
    line = "import sys, pathlib, anymal_eval.demo as d; d.write_task('coco', pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", line, str(tmp_path)]
    with ThreadPoolExecutor(2) as both:
        done = list(both.map(lambda _: run(command, check=False).returncode, range(2)))
    assert done == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["coco"]


def test_default_roots_differ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path))
    roots = {default_root(), default_root(seed=1), default_root(examples=9), default_root(split="train")}
    assert len(roots) == 4
    assert all(root.is_relative_to(tmp_path) for root in roots)


def test_listing_needs_no_decoder() -> None:
    """Naming the tasks loads neither torch nor the media libraries."""
    heavy = "{'torch', 'av', 'PIL', 'scipy'}"
    line = f"import sys, anymal_eval.demo as d; d.tasks(); print(sorted({heavy} & set(sys.modules)))"
    done = run([sys.executable, "-c", line], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    assert set(tasks()) >= SHIPPED
