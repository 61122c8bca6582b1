"""The layouts of How2QA: two releases that share no list of questions."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.sources.clips import times, video_names
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import first_of, medium, read_bare_csv, read_lines, require
from anymal_eval.sources.rows import ClipRow
from anymal_eval.task import DataFile, Split

OPTIONS = ("a0", "a1", "a2", "a3")
HERO_COLUMNS = ("vid_id", "ts", "wrong1", "wrong2", "wrong3", "question", "right")


@dataclass(frozen=True, kw_only=True)
class How2QAFiles:
    """Two releases that share no question list, told apart by the split's file: VALUE's JSON lines, HERO's CSV."""

    mapping: str = "how2_vid_mapping.json"
    value_origin: str = "github.com/VALUE-Leaderboard/DataRelease"
    hero_origin: str = "github.com/linjieli222/HERO"

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where."""
        origin = self.hero_origin if _is_hero(split) else self.value_origin
        return (
            DataFile(name=split.in_files, origin=origin),
            DataFile(name=self.mapping, origin=f"{self.value_origin}; for YouTube's file names", needed=False),
            DataFile(
                name="videos/",
                origin="60 s chunks of HowTo100M videos, {vid_name}.mp4 or {youtube id}_{start}_{end}.mp4",
                needed=False,
                is_folder=True,
            ),
        )

    def rows(self, root: Path, split: Split) -> Iterator[ClipRow]:
        """The questions, in the order of the file.

        Raises:
            MissingData, BadData: naming the file, the line and the key.
        """
        require(root, self.files(split))
        if _is_hero(split):
            return self._from_hero(root, root / split.in_files)
        return self._from_value(root, root / split.in_files, split.labelled)

    def _from_value(self, root: Path, file: Path, labelled: bool) -> Iterator[ClipRow]:
        paths = video_names(root / self.mapping)
        for row in read_lines(file):
            video = row.name("vid_name")
            names = [f"{name}.mp4" for name in (video, paths.get(video, video))]
            yield value_row(row, first_of([medium(root, "videos", name, row) for name in names]), labelled)

    def _from_hero(self, root: Path, file: Path) -> Iterator[ClipRow]:
        for number, row in enumerate(read_bare_csv(file, HERO_COLUMNS)):
            video = row.name("vid_id")
            yield hero_row(row, number, medium(root, "videos", f"{video}.mp4", row))


def value_row(row: Fields, clip: str, labelled: bool) -> ClipRow:
    """A question of How2QA as VALUE releases it; ``ts`` is ``start-end`` within the 60-s clip."""
    start, _, end = row.text("ts").partition("-")
    start_s, end_s = times(row, start, end)
    return ClipRow(
        row_id=row.name("qid"),
        video=row.name("vid_name"),
        clip=clip,
        start_s=start_s,
        end_s=end_s,
        question=row.text("q"),
        options=tuple(row.text(key) for key in OPTIONS),
        answer=row.index("answer_idx", len(OPTIONS)) if labelled else None,
    )


def hero_row(row: Fields, number: int, clip: str) -> ClipRow:
    """A question of How2QA as HERO releases it: three wrong answers, then the right one.

    ``number`` counts rows from 0: the release has no ids. Options are put in an order by hash of the id, or the
    right one would always stand last.
    """
    video = row.name("vid_id")
    name = f"{video}-{number}"
    given = tuple(row.text(key) for key in ("wrong1", "wrong2", "wrong3", "right"))
    order = hashed_order(name, len(given))
    start, _, end = row.text("ts").strip("[] ").partition(":")
    start_s, end_s = times(row, start, end)
    return ClipRow(
        row_id=name,
        video=video,
        clip=clip,
        start_s=start_s,
        end_s=end_s,
        question=row.text("question"),
        options=tuple(given[n] for n in order),
        answer=order.index(len(given) - 1),
    )


def hashed_order(name: str, count: int) -> list[int]:
    """An order of ``count`` things, the same wherever ``name`` is the same.

    >>> hashed_order("v-0", 4) == hashed_order("v-0", 4), sorted(hashed_order("v-1", 4))
    (True, [0, 1, 2, 3])
    """
    return sorted(range(count), key=lambda n: hashlib.sha256(f"{name}#{n}".encode()).digest())


def _is_hero(split: Split) -> bool:
    return split.in_files.endswith(".csv")
