"""Questions about clips with options: NExT-QA, STAR and How2QA, official files and copies on the hub."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.tables import BySplit, CsvFiles, JsonFiles, Row, Table, each
from anymal_eval.task import Split

NEXTQA_OPTIONS = ("a0", "a1", "a2", "a3", "a4")
NEXTQA_TYPES = ("CW", "CH", "TN", "TP", "TC", "DC", "DL", "DO")
NEXTQA_VIDEOS = "map_vid_vidorID.json"
STAR_TYPES = ("Interaction", "Sequence", "Prediction", "Feasibility")
HOW2QA_OPTIONS = ("a0", "a1", "a2", "a3")
HOW2QA_VIDEOS = "how2_vid_mapping.json"
HERO_COLUMNS = ("vid_id", "ts", "wrong1", "wrong2", "wrong3", "question", "right")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRow:
    """A question about a clip with four or five options. Times are seconds within the file ``clip``.

    ``type`` is the benchmark's own question type, unfolded, and empty where it has none.
    """

    row_id: str
    video: str
    clip: str
    start_s: float | None = None
    end_s: float | None = None
    question: str
    options: tuple[str, ...]
    answer: int | None
    type: str = ""


def nextqa(rows: Iterator[Row]) -> Iterator[ClipRow]:
    """NExT-QA's multi-choice table; lmms-lab/NExTQA, configuration MC, has its columns.

    ``qid`` counts within a video, so an id is ``{video}_{qid}``. A mapping gives the videos' names in VidOR.
    """
    names: Mapping[str, str] | None = None
    for row in rows:
        names = _video_names(row.root / NEXTQA_VIDEOS) if names is None else names
        video = row.name("video")
        yield ClipRow(
            row_id=f"{video}_{row.name('qid')}",
            video=video,
            clip=row.medium_in("videos", f"{names.get(video, video)}.mp4", f"{video}.mp4"),
            question=row.text("question"),
            options=tuple(row.text(key) for key in NEXTQA_OPTIONS),
            answer=row.index("answer", len(NEXTQA_OPTIONS)),
            type=_known(row, row.text("type"), NEXTQA_TYPES),
        )


@each
def star(row: Row) -> ClipRow:
    """A question of STAR about a part of a Charades video; its type is what stands before the first ``_`` of its id.

    Options keep the order of the file. The answer is a string there; where two choices are equal to it, the last one
    counts, as in SeViLA's code.
    """
    name = row.text("question_id")
    options = _choices(row)
    answer = row.text("answer") if row.split.labelled else ""
    if row.split.labelled and answer not in options:
        raise row.bad(f"'answer' {answer!r:.80} is none of its {len(options)} choices")
    start, end = _times(row, row.raw("start"), row.raw("end"))
    return ClipRow(
        row_id=name,
        video=row.name("video_id"),
        clip=row.medium("videos/{video_id}.mp4"),
        start_s=start,
        end_s=end,
        question=row.text("question"),
        options=options,
        answer=max(n for n, option in enumerate(options) if option == answer) if row.split.labelled else None,
        type=_known(row, name.partition("_")[0], STAR_TYPES),
    )


def how2qa(rows: Iterator[Row]) -> Iterator[ClipRow]:
    """How2QA as VALUE releases it; ``ts`` is ``start-end`` within the 60-s clip."""
    names: Mapping[str, str] | None = None
    for row in rows:
        names = _video_names(row.root / HOW2QA_VIDEOS) if names is None else names
        video = row.name("vid_name")
        start, _, end = row.text("ts").partition("-")
        start_s, end_s = _times(row, start, end)
        yield ClipRow(
            row_id=row.name("qid"),
            video=video,
            clip=row.medium_in("videos", f"{video}.mp4", f"{names.get(video, video)}.mp4"),
            start_s=start_s,
            end_s=end_s,
            question=row.text("q"),
            options=tuple(row.text(key) for key in HOW2QA_OPTIONS),
            answer=row.index("answer_idx", len(HOW2QA_OPTIONS)) if row.split.labelled else None,
        )


@each
def how2qa_hero(row: Row) -> ClipRow:
    """A question of How2QA as HERO releases it: three wrong answers, then the right one.

    The release has no ids: the row's number is part of one. Options are put in an order by hash of the id, or the
    right one would always stand last.
    """
    video = row.name("vid_id")
    name = f"{video}-{row.number}"
    given = tuple(row.text(key) for key in ("wrong1", "wrong2", "wrong3", "right"))
    order = hashed_order(name, len(given))
    start, _, end = row.text("ts").strip("[] ").partition(":")
    start_s, end_s = _times(row, start, end)
    return ClipRow(
        row_id=name,
        video=video,
        clip=row.medium("videos/{vid_id}.mp4"),
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


class How2QAFiles(BySplit):
    """Two releases that share no question list, distinguished by the split's file: VALUE's JSON lines, HERO's CSV."""

    def table(self, split: Split) -> Table:
        """The release that the split belongs to."""
        value, hero = "github.com/VALUE-Leaderboard/DataRelease", "github.com/linjieli222/HERO"
        names = {HOW2QA_VIDEOS: f"{value}; for YouTube's file names"}
        clips = {"videos": "60 s chunks of HowTo100M videos, {vid_name}.mp4 or {youtube id}_{start}_{end}.mp4"}
        if not split.in_files.endswith(".csv"):
            return JsonFiles(file="{split}", origin=value, optional=names, folders=clips, read=how2qa)
        return CsvFiles(
            file="{split}",
            origin=hero,
            columns=HERO_COLUMNS,
            header=False,
            optional=names,
            folders=clips,
            read=how2qa_hero,
        )


def _video_names(mapping: Path) -> Mapping[str, str]:
    if not mapping.is_file():
        return {}
    data = read_json(mapping, ids_as_keys=True)
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data.values()):
        raise BadData(f"{mapping}: the whole must be an object of names by video")
    return data


def _known(row: Fields, type_: str, types: tuple[str, ...]) -> str:
    if type_ not in types:
        raise row.bad(f"type {type_!r} is none of {', '.join(types)}")
    return type_


def _choices(row: Fields) -> tuple[str, ...]:
    items = row.items("choices")
    if len(items) < 2 or not all(isinstance(item, Mapping) and isinstance(item.get("choice"), str) for item in items):
        raise row.bad("'choices' must be a list of objects with a 'choice'")
    return tuple(Fields(item, "", "").text("choice") for item in items)


def _times(row: Fields, start: object, end: object) -> tuple[float, float]:
    found = Fields({"start": start, "end": end}, "", "")
    try:
        start_s, end_s = found.seconds("start"), found.seconds("end")
    except BadData:
        raise row.bad(f"start {start!r} and end {end!r} must be times in seconds") from None
    if end_s < start_s:
        raise row.bad(f"it ends at {end_s} s before it starts at {start_s} s")
    return start_s, end_s
