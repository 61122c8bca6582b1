"""Responses on disk: whole after any crash, each id once, failures requested again."""

import dataclasses
import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.checksums import write_checked_line
from anymal_eval.errors import BadData, FileUnusable, OtherRun, StorageFull
from anymal_eval.records import Failure, Response
from anymal_eval.store.atomic import storage_errors, write_atomic
from anymal_eval.store.folder import RunFolder
from anymal_eval.store.responses import ResponseLog, read_responses

ONE, TWO = Response(id="1", answer="yes\nno"), Response(id="2", option_scores=(-1.5, -0.25), finish="ranked")
GONE = Response(id="3", failure=Failure(kind="media", message="3.jpg: not there"))


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "vqav2" / "responses.jsonl"
    with ResponseLog(file) as log:
        log.append([ONE])
        assert read_responses(file) == {"1": ONE}
        log.append([TWO])
    assert read_responses(file) == {"1": ONE, "2": TWO}


def test_a_line_is_that_of_the_whole_record(tmp_path: Path) -> None:
    """Lines of plain answers are written piece by piece."""
    texts = ("", 'a "b"\\\n\t\0', "rød 😀", "\u2028\x85", "\x7f")
    found = [Response(id=f"{n}{text}", answer=text) for n, text in enumerate(texts)]
    found += [Response(id="s", answer="yes", finish="stop"), Response(id="l", answer="yes", finish="length")]
    found += [Response(id="t", answer="yes", thinking="so"), Response(id="n", answer="yes", new_tokens=3), TWO, GONE]
    with ResponseLog(tmp_path / "responses.jsonl") as log:
        log.append(found)
    lines = (tmp_path / "responses.jsonl").read_bytes().splitlines(keepends=True)
    for item, line in zip(found, lines, strict=True):
        plain = {key: value for key, value in dataclasses.asdict(item).items() if value is not None}
        assert line == write_checked_line(plain)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_line_cut_short_by_a_kill_is_requested_again(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "responses.jsonl"
    with ResponseLog(file) as log:
        log.append([ONE, TWO])
    os.truncate(file, file.stat().st_size - cut)
    assert set(read_responses(file)) <= {"1"}
    with ResponseLog(file) as log:
        assert "2" not in log.answered
        log.append([item for item in (ONE, TWO) if item.id not in log.answered])
    assert read_responses(file) == {"1": ONE, "2": TWO}


def test_failures_are_requested_again_and_do_not_stay(tmp_path: Path) -> None:
    file = tmp_path / "responses.jsonl"
    with ResponseLog(file) as log:
        log.append([ONE, GONE])
    assert read_responses(file)["3"] == GONE
    with ResponseLog(file) as log:
        assert log.answered == {"1"}
        log.append([Response(id="3", answer="a cat")])
    assert read_responses(file)["3"].answer == "a cat"
    assert len(file.read_text().splitlines()) == 2


def test_an_interrupt_after_a_write_does_not_lose_its_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "responses.jsonl"
    with ResponseLog(file) as log:
        log.append([ONE])

    def interrupted() -> float:
        raise KeyboardInterrupt

    with ResponseLog(file) as log:
        monkeypatch.setattr("time.monotonic", interrupted)
        with pytest.raises(KeyboardInterrupt):
            log.append([TWO, GONE])
        monkeypatch.undo()
        assert log.appended == 2
    assert len(read_responses(file)) == 3
    assert read_responses(file, {"2", "9"}) == {name: one for name, one in read_responses(file).items() if name == "2"}


def test_a_file_that_was_edited_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "responses.jsonl"
    file.write_text('{"id": "1", "answer": "a"}\n{"id": "1", "answer": "b"}\n')
    with pytest.raises(BadData, match=r"line 2: 1 occurs twice"):
        read_responses(file)
    file.write_text('{"id": "1", "answer": "a"}\nnonsense\n{"id": "2", "answer": "b"}\n')
    with pytest.raises(BadData, match="line 2"):
        read_responses(file)


def test_of_some_responses_a_line_that_is_not_read_may_be_damaged(tmp_path: Path) -> None:
    file = tmp_path / "responses.jsonl"
    ranked = Response(id="4", option_scores=(-1.0, -2.5), finish="ranked")
    with ResponseLog(file) as log:
        log.append([ONE, TWO, GONE, ranked])
    assert read_responses(file, {"2", "4", "9"}) == {"2": TWO, "4": ranked}
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"-2.5", b"-3.5"))
    assert read_responses(file, {"2"}) == {"2": TWO}
    with pytest.raises(BadData, match="line 4: damaged"):
        read_responses(file, {"4"})
    file.write_bytes(whole + whole.splitlines(keepends=True)[1])
    with pytest.raises(BadData, match="line 5: 2 occurs twice"):
        read_responses(file, {"4"})


def test_an_interrupted_write_leaves_the_old_content(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    write_atomic(file, "old")
    with pytest.raises(StorageFull, match="make space"), storage_errors(file):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileUnusable, match="Input/output"), storage_errors(file):
        raise OSError(errno.EIO, "Input/output error")
    assert file.read_text() == "old"


def test_a_full_disk_loses_nothing_before_it(small_disk: Path) -> None:
    file = small_disk / "responses.jsonl"
    written = 0

    def fill() -> None:
        nonlocal written
        with ResponseLog(file) as log:
            for written in range(100_000):
                log.append([Response(id=str(written), answer="x" * 500)])

    with pytest.raises(StorageFull, match="no space left"):
        fill()
    whole = read_responses(file)
    assert list(whole) == [str(number) for number in range(written)]
    (small_disk / "filler").unlink()
    with ResponseLog(file) as log:
        assert len(log.answered) == written
        log.append([Response(id="last", answer="after space was made")])
    assert read_responses(file)["last"].answer == "after space was made"


def test_two_writers_are_refused_and_a_dead_one_leaves_no_lock(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run"), pytest.raises(OtherRun, match="another process"), RunFolder(tmp_path / "run"):
        pass
    with RunFolder(tmp_path / "run"):
        pass


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OtherRun, match="holds other files and no run"), RunFolder(tmp_path):
        pass
    with pytest.raises(OtherRun, match="no manifest"):
        RunFolder(tmp_path / "nothing").manifest()


def test_statistics_are_the_same_bytes_for_the_same_numbers(tmp_path: Path) -> None:
    import numpy as np

    found = []
    for name in "ab":
        with RunFolder(tmp_path / name) as folder:
            (folder.root / "coco").mkdir()
            folder.write_statistics("coco", {"cider@1": np.arange(6.0).reshape(3, 2)})
            found.append(folder.statistics("coco").read_bytes())
            with np.load(folder.statistics("coco"), allow_pickle=False) as arrays:
                assert arrays["cider@1"].shape == (3, 2)
    assert found[0] == found[1]


def test_the_small_disk_is_one(small_disk: Path) -> None:
    listed = subprocess.run(["df", "--output=size", small_disk], capture_output=True, text=True, check=True)
    assert int(listed.stdout.split()[1]) <= 2048


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"prompt_tokens": 1.0}, "prompt_tokens"),
        ({"new_tokens": True}, "new_tokens"),
        ({"finish": "done"}, "finish"),
        ({"finish": None}, None),
        ({"thinking": 3}, "thinking"),
        ({"unknown": "x"}, "unknown key"),
        ({"answer": None}, "answer or a failure"),
        ({"failure": {"kind": "media", "message": "gone"}}, "answer or a failure"),
        ({"prompt_tokens": 3, "new_tokens": 1, "thinking": "hm", "finish": "length"}, None),
        ({"answer": None, "option_scores": [1, -2.5], "option_tokens": [1, 1], "finish": "ranked"}, None),
    ],
)
def test_a_line_is_read_as_the_record_says(more: dict[str, Any], why: str | None, tmp_path: Path) -> None:
    from anymal_eval import codec

    row = {"id": "1", "answer": "red", **more}
    file = tmp_path / "responses.jsonl"
    file.write_bytes(write_checked_line({"id": "0", "answer": "blue"}) + write_checked_line(row))
    if why is None:
        assert read_responses(file)["1"] == codec.decode(Response, row, "")
        with ResponseLog(file) as log:
            assert log.answered == {"0", "1"}
        return
    with pytest.raises(BadData, match=rf"line 2: .*{why}"):
        read_responses(file)
    with pytest.raises(BadData, match=rf"line 2: .*{why}"):
        ResponseLog(file)
