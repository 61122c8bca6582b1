"""The votes of a study: one line each, on disk before it is acknowledged, never changed.

A vote that is taken back is a line of its own, which names the number of the line that it takes back. What a torn last
line held was not acknowledged; it is dropped when the file is opened again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from anymal_eval.checksums import read_checked_lines, write_checked_line
from anymal_eval.codec import decode, encode
from anymal_eval.errors import BadData, WrongUse
from anymal_eval.judge.append_log import AppendLog
from anymal_eval.store.atomic import storage_errors, write_atomic
from anymal_eval.store.responses import whole_bytes

NAME = "votes.jsonl"
Choice = Literal["left", "right", "tie", "both bad", "skip", "rated", "undo"]
Levels = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Vote:
    """One line.

    Attributes:
        n: the number of the annotator's vote, from 0; the next one has the next number.
        annotator: a code, and no name of a person.
        trial: of the design.
        choice: which answer is better; ``rated`` where answers are rated; ``undo`` takes the vote before it back.
        ratings: scale -> level in [0, 1].
        seconds: from when the trial was shown to the vote.
        time: in UTC, ISO 8601, to the second.
    """

    n: int
    annotator: str
    trial: str
    choice: Choice
    ratings: Levels = field(default_factory=dict)
    seconds: float = 0.0
    time: str = ""


class Votes:
    """The votes of a study, open for appending by one process."""

    def __init__(self, folder: Path) -> None:
        """Open, and drop a last line that was cut off.

        Raises:
            BadData: a line is damaged. OtherRun: another process has the study open.
        """
        self._log = AppendLog(folder / NAME, "the study is open in another process")
        try:
            self._by: dict[str, list[Vote]] = {}
            for vote in read(folder):
                self._by.setdefault(vote.annotator, []).append(vote)
        except BaseException:
            self._log.__exit__(None, None, None)
            raise

    def of(self, annotator: str) -> Sequence[Vote]:
        """All lines of an annotator, those taken back too."""
        return tuple(self._by.get(annotator, ()))

    def next(self, annotator: str) -> int:
        """The number of the annotator's next vote."""
        mine = self._by.get(annotator)
        return mine[-1].n + 1 if mine else 0

    def append(self, vote: Vote) -> None:
        """Write a vote; the disk has it when this returns.

        Raises:
            ValueError: it is not the annotator's next one.
            StorageFull: it is not written.
        """
        if vote.n != self.next(vote.annotator):
            raise ValueError(f"vote {vote.n} of {vote.annotator} is not the next one, {self.next(vote.annotator)}")
        self._log.append(encode(vote))
        self._by.setdefault(vote.annotator, []).append(vote)

    def __enter__(self) -> Self:
        """Use it in a ``with`` statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._log.__exit__(kind, error, trace)


def read(folder: Path) -> Iterator[Vote]:
    """All lines of a study, in their order. A last line that was cut off was not acknowledged and is left out.

    Raises:
        BadData: a line is damaged, or there twice.
    """
    file = folder / NAME
    if not file.is_file():
        return
    whole = whole_bytes(file)
    known: dict[str, int] = {}
    for number, _, row in read_checked_lines(file, whole, "the annotator judges it again"):
        vote = decode(Vote, row, f"{file}: line {number}")
        if vote.n < known.get(vote.annotator, 0):
            raise BadData(f"{file}: line {number}: vote {vote.n} of {vote.annotator} is there already")
        known[vote.annotator] = vote.n + 1  # a line that was damaged and deleted leaves a gap
        yield vote


def forget(folder: Path, annotator: str) -> int:
    """Delete an annotator's lines; nothing of them stays in the file.

    Returns:
        How many there were.

    Raises:
        WrongUse: there are none. OtherRun: the study is open in another process.
    """
    with Votes(folder) as votes:
        count = len(votes.of(annotator))
        if not count:
            raise WrongUse(f"{folder} has no votes of {annotator!r:.60}")
        kept = b"".join(write_checked_line(encode(vote)) for vote in read(folder) if vote.annotator != annotator)
        with storage_errors(folder / NAME):
            write_atomic(folder / NAME, kept)
    return count


def standing(votes: Sequence[Vote]) -> list[Vote]:
    """The votes of one annotator without those that were taken back, in their order."""
    kept: list[Vote] = []
    for vote in votes:
        if vote.choice != "undo":
            kept.append(vote)
        elif kept:
            kept.pop()
    return kept
