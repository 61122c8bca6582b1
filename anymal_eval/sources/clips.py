"""The layouts of questions about clips with options: NExT-QA and STAR."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import first_of, medium, read_csv, require
from anymal_eval.sources.rows import ClipRow
from anymal_eval.sources.vqa import section
from anymal_eval.task import DataFile, Split

NEXTQA_OPTIONS = ("a0", "a1", "a2", "a3", "a4")
NEXTQA_TYPES = ("CW", "CH", "TN", "TP", "TC", "DC", "DL", "DO")
STAR_TYPES = ("Interaction", "Sequence", "Prediction", "Feasibility")


@dataclass(frozen=True, kw_only=True)
class NextQAFiles:
    """``{split}.csv`` of the multi-choice task. ``qid`` counts within a video, so an id is ``{video}_{qid}``."""

    table: str = "{split}.csv"
    mapping: str = "map_vid_vidorID.json"
    origin: str = "github.com/doc-doc/NExT-QA dataset/nextqa"

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where."""
        return (
            DataFile(name=self.table.format(split=split.in_files), origin=self.origin),
            DataFile(name=self.mapping, origin=f"{self.origin}; if videos lie under VidOR's names", needed=False),
            DataFile(name="videos/", origin="xdshang.github.io/docs/vidor.html", needed=False, is_folder=True),
        )

    def rows(self, root: Path, split: Split) -> Iterator[ClipRow]:
        """The questions, in the order of the file.

        Raises:
            MissingData, BadData: naming the file, the line and the column.
        """
        files = self.files(split)
        require(root, files)
        paths = video_names(root / self.mapping)
        for row in read_csv(root / files[0].name, ("video", "question", "answer", "qid", "type", *NEXTQA_OPTIONS)):
            video = row.name("video")
            names = [f"{name}.mp4" for name in (paths.get(video, video), video)]
            yield nextqa_row(row, first_of([medium(root, "videos", name, row) for name in names]))


@dataclass(frozen=True, kw_only=True)
class StarFiles:
    """``STAR_{split}.json``: a list of questions about a part of a Charades video.

    Options keep the order of the file. The answer is a string there; where two choices are equal to it, the last
    one counts, as in SeViLA's code.
    """

    lines: str = "STAR_{split}.json"
    origin: str = "bobbywu.com/STAR"

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where."""
        return (
            DataFile(name=self.lines.format(split=split.in_files), origin=self.origin),
            DataFile(
                name="videos/",
                origin="prior.allenai.org/projects/charades (480p, {video_id}.mp4)",
                needed=False,
                is_folder=True,
            ),
        )

    def rows(self, root: Path, split: Split) -> Iterator[ClipRow]:
        """The questions, in the order of the file.

        Raises:
            MissingData, BadData: naming the file, the row and the key.
        """
        files = self.files(split)
        require(root, files)
        file = root / files[0].name
        for number, data in enumerate(section(read_json(file), "", file)):
            row = Fields(data, file, f"row {number}")
            video = row.name("video_id")
            yield star_row(row, medium(root, "videos", f"{video}.mp4", row), split.labelled)


def nextqa_row(row: Fields, clip: str) -> ClipRow:
    """A question of NExT-QA."""
    video = row.name("video")
    return ClipRow(
        row_id=f"{video}_{row.name('qid')}",
        video=video,
        clip=clip,
        question=row.text("question"),
        options=tuple(row.text(key) for key in NEXTQA_OPTIONS),
        answer=row.index("answer", len(NEXTQA_OPTIONS)),
        type=_known(row, row.text("type"), NEXTQA_TYPES),
    )


def star_row(row: Fields, clip: str, labelled: bool) -> ClipRow:
    """A question of STAR; the type is what stands before the first ``_`` of its id."""
    name = row.text("question_id")
    options = tuple(Fields(item, "", "").text("choice") for item in _objects(row, "choices"))
    answer = row.text("answer") if labelled else ""
    if labelled and answer not in options:
        raise row.bad(f"'answer' {answer!r:.80} is none of its {len(options)} choices")
    start, end = times(row, row.raw("start"), row.raw("end"))
    return ClipRow(
        row_id=name,
        video=row.name("video_id"),
        clip=clip,
        start_s=start,
        end_s=end,
        question=row.text("question"),
        options=options,
        answer=max(n for n, option in enumerate(options) if option == answer) if labelled else None,
        type=_known(row, name.partition("_")[0], STAR_TYPES),
    )


def video_names(mapping: Path) -> Mapping[str, str]:
    """Which file a video's name stands for, where a mapping lies there."""
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


def _objects(row: Fields, key: str) -> list[Mapping[str, object]]:
    items = row.items(key)
    if len(items) < 2 or not all(isinstance(item, Mapping) and isinstance(item.get("choice"), str) for item in items):
        raise row.bad(f"{key!r} must be a list of objects with a 'choice'")
    return list(items)


def times(row: Fields, start: object, end: object) -> tuple[float, float]:
    """Start and end in seconds, checked."""
    found = Fields({"start": start, "end": end}, "", "")
    try:
        start_s, end_s = found.seconds("start"), found.seconds("end")
    except BadData:
        raise row.bad(f"start {start!r} and end {end!r} must be times in seconds") from None
    if end_s < start_s:
        raise row.bad(f"it ends at {end_s} s before it starts at {start_s} s")
    return start_s, end_s
