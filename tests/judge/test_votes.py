"""Votes on disk: acknowledged ones stay, a torn one goes, none is there twice."""

import contextlib
import os
from pathlib import Path

import pytest

from anymal_eval.errors import BadData, OtherRun, StorageFull
from anymal_eval.judge.votes import NAME, Vote, Votes, read, standing


def vote(n: int, trial: str = "t", annotator: str = "ana", choice: str = "left") -> Vote:
    return Vote(n=n, annotator=annotator, trial=trial, choice=choice)  # type: ignore[arg-type]


def test_votes_are_read_back_and_numbered_by_annotator(tmp_path: Path) -> None:
    with Votes(tmp_path) as votes:
        votes.append(vote(0, "a"))
        votes.append(vote(0, "b", "ben"))
        votes.append(vote(1, "c"))
        with pytest.raises(ValueError, match="vote 1 of ana is not the next one, 2"):
            votes.append(vote(1, "c"))
        with pytest.raises(OtherRun, match="open in another process"):
            Votes(tmp_path)
    assert [one.trial for one in read(tmp_path)] == ["a", "b", "c"]
    with Votes(tmp_path) as votes:
        assert (votes.next("ana"), votes.next("ben"), votes.next("eve")) == (2, 1, 0)


@pytest.mark.parametrize("cut", [1, 20])
def test_a_torn_line_was_not_acknowledged(tmp_path: Path, cut: int) -> None:
    with Votes(tmp_path) as votes:
        votes.append(vote(0, "a"))
        votes.append(vote(1, "b"))
    os.truncate(tmp_path / NAME, (tmp_path / NAME).stat().st_size - cut)
    assert [one.trial for one in read(tmp_path)] == ["a"]
    with Votes(tmp_path) as votes:
        assert votes.next("ana") == 1
        votes.append(vote(1, "c"))
    assert [one.trial for one in read(tmp_path)] == ["a", "c"]


def test_what_is_taken_back_does_not_stand(tmp_path: Path) -> None:
    given = [vote(0, "a"), vote(1, "b"), vote(2, "b", choice="undo"), vote(3, "b", choice="right")]
    assert [(one.trial, one.choice) for one in standing(given)] == [("a", "left"), ("b", "right")]
    assert standing([vote(0, choice="undo")]) == []


def test_a_changed_line_is_refused_and_says_how_to_go_on(tmp_path: Path) -> None:
    with Votes(tmp_path) as votes:
        for n in range(3):
            votes.append(vote(n, f"t{n}"))
    file = tmp_path / NAME
    content = file.read_bytes()
    file.write_bytes(content.replace(b"t1", b"t2"))
    with pytest.raises(BadData, match="line 2: damaged"):
        list(read(tmp_path))
    lines = content.splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[2])  # as the message says: the damaged line is deleted
    with Votes(tmp_path) as votes:
        assert votes.next("ana") == 3
    file.write_bytes(lines[0] + lines[0])
    with pytest.raises(BadData, match="line 2: vote 0 of ana is there already"):
        list(read(tmp_path))


def test_a_vote_that_does_not_fit_on_the_disk_is_not_there(small_disk: Path) -> None:
    with Votes(small_disk) as votes:
        votes.append(vote(0, "a"))
        fill(small_disk / "more")
        with pytest.raises(StorageFull):
            give(votes, range(1, 200))  # the file's own last block has room for some
        (small_disk / "filler").unlink()
        kept = votes.next("ana")
        votes.append(vote(kept, "c"))
    found = list(read(small_disk))
    assert [one.n for one in found] == list(range(kept + 1))
    assert found[-1].trial == "c"


def give(votes: Votes, numbers: range) -> None:
    for n in numbers:
        votes.append(vote(n, "b" * 24))


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"x" * 4096)
