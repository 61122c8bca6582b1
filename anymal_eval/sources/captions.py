"""The layouts of captions: COCO (Karpathy's file or a COCO-format one), AudioCaps, and our own JSON lines."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData, listed
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import (
    first_of,
    medium,
    medium_within,
    missing,
    read_csv,
    read_lines,
    refuse_doubles,
    require,
)
from anymal_eval.sources.rows import CaptionRow
from anymal_eval.sources.vqa import section
from anymal_eval.task import DataFile, Split

AUDIO_ENDINGS = ("wav", "flac", "mp3")


@dataclass(frozen=True, kw_only=True)
class CocoFiles:
    """Karpathy's ``dataset_coco.json``, or a COCO-format ground truth of one split; Karpathy's first.

    Both hold the same pictures and captions; in a COCO-format file pictures come in the order of ``images``.
    """

    karpathy: str = "dataset_coco.json"
    truth: str = "coco_karpathy_{split}_gt.json"
    images: str = "val2014"

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where: the first or the second."""
        return (
            DataFile(
                name=self.karpathy,
                origin="cs.stanford.edu/people/karpathy/deepimagesent (caption_datasets.zip); or the next",
                needed=False,
            ),
            DataFile(name=self.truth.format(split=split.in_files), origin="github.com/salesforce/BLIP", needed=False),
            DataFile(name=f"{self.images}/", origin="cocodataset.org/#download", needed=False, is_folder=True),
        )

    def rows(self, root: Path, split: Split) -> Iterator[CaptionRow]:
        """The pictures with their captions.

        Raises:
            MissingData, BadData: naming the file, the row and the key.
        """
        karpathy, truth, _ = (root / file.name for file in self.files(split))
        if karpathy.is_file():
            return self._from_karpathy(root, karpathy, split)
        if truth.is_file():
            return self._from_truth(root, truth)
        raise missing(root, [f"{karpathy.name} (from {self.files(split)[0].origin.partition(';')[0]}) or {truth.name}"])

    def _from_karpathy(self, root: Path, file: Path, split: Split) -> Iterator[CaptionRow]:
        found = 0
        for number, data in enumerate(section(read_json(file), "images", file)):
            row = Fields(data, file, f"images[{number}]")
            if row.text("split") != split.in_files:
                continue
            found += 1
            name = row.name("cocoid")
            sentences = [Fields(item, file, f"images[{number}].sentences") for item in row.items("sentences")]
            yield CaptionRow(
                row_id=name,
                origin=name,
                medium=medium_within(root, self.images, f"{row.text('filepath')}/{row.text('filename')}", row),
                captions=_some(tuple(sentence.text("raw") for sentence in sentences), row),
            )
        if not found:
            raise BadData(f"{file}: no picture of split {split.in_files!r}")

    def _from_truth(self, root: Path, file: Path) -> Iterator[CaptionRow]:
        data = read_json(file)
        captions: dict[str, list[str]] = {}
        for number, item in enumerate(section(data, "annotations", file)):
            note = Fields(item, file, f"annotations[{number}]")
            captions.setdefault(note.name("image_id"), []).append(note.text("caption"))
        for number, item in enumerate(section(data, "images", file)):
            row = Fields(item, file, f"images[{number}]")
            name = row.name("id")
            picture = row.text("file_name", f"COCO_{self.images}_{row.whole('id'):012d}.jpg")
            yield CaptionRow(
                row_id=name,
                origin=name,
                medium=medium(root, self.images, picture, row),
                captions=_some(tuple(captions.get(name, ())), row),
            )
        unknown = sorted(captions.keys() - {str(item["id"]) for item in data["images"]})
        if unknown:
            raise BadData(f"{file}: {len(unknown)} unknown image_id in 'annotations': {listed(unknown)}")


@dataclass(frozen=True, kw_only=True)
class AudioCapsFiles:
    """``{split}.csv``: one caption a line, gathered by clip in the order in which clips first come.

    A clip is named by its ``youtube_id``, with ``_{start_time}`` where a file cuts two clips from one video.
    """

    table: str = "{split}.csv"
    origin: str = "github.com/cdjkim/audiocaps dataset"

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where."""
        return (
            DataFile(name=self.table.format(split=split.in_files), origin=self.origin),
            DataFile(
                name="audio/",
                origin="10 s from start_time of each YouTube video, as {youtube_id}_{start_time}.wav or"
                " {youtube_id}.wav (flac, mp3)",
                needed=False,
                is_folder=True,
            ),
        )

    def rows(self, root: Path, split: Split) -> Iterator[CaptionRow]:
        """The clips with their captions.

        Raises:
            MissingData, BadData: naming the file, the line and the column; a line comes twice.
        """
        files = self.files(split)
        require(root, files)
        file = root / files[0].name
        lines = list(audiocaps_lines(file))
        # Two annotators may say the same; one line that stands twice would count a reference twice.
        refuse_doubles((f"{line.name('audiocap_id')} {line.text('caption')!r}" for line in lines), file, "line")
        clips: dict[tuple[str, int], list[Fields]] = {}
        for line in lines:
            clips.setdefault((line.name("youtube_id"), line.whole("start_time")), []).append(line)
        cuts = Counter(youtube_id for youtube_id, _ in clips)
        for (youtube_id, start), captions in clips.items():
            yield CaptionRow(
                row_id=f"{youtube_id}_{start}" if cuts[youtube_id] > 1 else youtube_id,
                origin=youtube_id,
                medium=audiocaps_sound(root, captions[0]),
                captions=tuple(line.text("caption") for line in captions),
            )


def audiocaps_lines(file: Path) -> Iterator[Fields]:
    """The lines of an AudioCaps table, one caption each.

    Raises:
        BadData: naming the file, the line and the column.
    """
    return read_csv(file, ("audiocap_id", "youtube_id", "start_time", "caption"))


def audiocaps_sound(root: Path, line: Fields) -> str:
    """The sound of a line: ``audio/{youtube_id}_{start_time}.wav`` or ``audio/{youtube_id}.wav`` (flac, mp3).

    Raises:
        BadData: an id that leads out of the folder, or a start that is no whole number.
    """
    clip = line.name("youtube_id")
    names = [f"{stem}.{ending}" for stem in (f"{clip}_{line.whole('start_time')}", clip) for ending in AUDIO_ENDINGS]
    return first_of([medium(root, "audio", name, line) for name in names])


@dataclass(frozen=True, kw_only=True)
class OwnLines:
    """Our own JSON lines, for data that was never released.

    One object a line. ``medium`` is the key that names the file, relative to the folder of the lines; the keys
    question, start_s, end_s and origin (what it was cut from: one cluster) are optional::

        {"id": "7", "image": "images/7.jpg", "question": "...", "references": ["..."]}
        {"id": "w1", "imu": "windows/a.npy", "start_s": 0.0, "end_s": 5.0, "origin": "video-a", "references": ["..."]}
    """

    medium: str
    lines: str = "{split}.jsonl"
    origin: str = "your own data (no public release); 'data describe' shows the layout"

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where."""
        return (DataFile(name=self.lines.format(split=split.in_files), origin=self.origin),)

    def rows(self, root: Path, split: Split) -> Iterator[CaptionRow]:
        """The items, in the order of the file.

        Raises:
            MissingData, BadData: naming the file, the line and the key.
        """
        files = self.files(split)
        require(root, files)
        file = root / files[0].name
        for row in read_lines(file):
            name = row.name("id")
            yield CaptionRow(
                row_id=name,
                origin=row.name("origin") if row.has("origin") else name,
                medium=medium(root, ".", row.text(self.medium), row),
                start_s=row.seconds("start_s") if row.has("start_s") else None,
                end_s=row.seconds("end_s") if row.has("end_s") else None,
                question=row.text("question", ""),
                captions=_some(row.texts("references"), row) if split.labelled else None,
            )


def _some(captions: tuple[str, ...], row: Fields) -> tuple[str, ...]:
    if not captions:
        raise row.bad("it has no caption")
    return captions
