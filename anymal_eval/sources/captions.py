"""Captions: COCO (Karpathy's file or a COCO-format one), AudioCaps, our own JSON lines, and copies on the hub."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData, listed
from anymal_eval.sources.csv_rows import read_csv
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import first_of, medium, medium_within, missing, refuse_doubles
from anymal_eval.sources.tables import JsonFiles, Row, each, rows_in
from anymal_eval.task import DataFile, Split

AUDIOCAPS_COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")
AUDIO_ENDINGS = ("wav", "flac", "mp3")
OWN_LINES = """Our own JSON lines, for data that was never released.

One object a line. ``medium`` is the key that names the file, relative to the folder of the lines; the keys
question (the prompt), start_s, end_s and origin (what it was cut from: one cluster) are optional::

    {"id": "7", "image": "images/7.jpg", "question": "...", "references": ["..."]}
    {"id": "w1", "imu": "windows/a.npy", "start_s": 0.0, "end_s": 5.0, "origin": "video-a", "references": ["..."]}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionRow:
    """A picture, sound or motion with its human captions. ``origin`` is what it was cut from, or itself."""

    row_id: str
    origin: str
    medium: str
    start_s: float | None = None
    end_s: float | None = None
    question: str = ""
    captions: tuple[str, ...] | None


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
        rows = JsonFiles(file=file.name, origin="", key="images").rows(root, split)
        own = [row for row in rows if row.text("split") == split.in_files]
        if not own:
            raise BadData(f"{file}: no picture of split {split.in_files!r}")

        def read(row: Row) -> CaptionRow:
            name = row.name("cocoid")
            sentences = [Fields(item, file, f"{row.place}.sentences") for item in row.items("sentences")]
            return CaptionRow(
                row_id=name,
                origin=name,
                medium=medium_within(root, self.images, f"{row.text('filepath')}/{row.text('filename')}", row),
                captions=_some(tuple(sentence.text("raw") for sentence in sentences), row),
            )

        return map(read, own)

    def _from_truth(self, root: Path, file: Path) -> Iterator[CaptionRow]:
        data = read_json(file)
        captions: dict[str, list[str]] = {}
        for note in rows_in(data, "annotations", file):
            captions.setdefault(note.name("image_id"), []).append(note.text("caption"))
        for row in rows_in(data, "images", file):
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


@each
def coco_copy(row: Row) -> CaptionRow:
    """yerevann/coco-karpathy: captions and names; the pictures must lie under ``DIR/coco``."""
    name = row.name("cocoid")
    return CaptionRow(
        row_id=name, origin=name, medium=row.medium("val2014/{filename}"), captions=row.texts("sentences")
    )


def audiocaps_lines(file: Path, bad: Callable[[str, BadData], None] | None = None) -> Iterator[Fields]:
    """The lines of an AudioCaps table, one caption each; ``bad`` as for ``read_csv``.

    Raises:
        BadData: naming the file, the line and the column.
    """
    return read_csv(file, AUDIOCAPS_COLUMNS, bad=bad)


def audiocaps_sound(root: Path, line: Fields) -> str:
    """The sound of a line: ``audio/{youtube_id}_{start_time}.wav`` or ``audio/{youtube_id}.wav`` (flac, mp3).

    Raises:
        BadData: an id that leads out of the folder, or a start that is no whole number.
    """
    clip = line.name("youtube_id")
    names = [f"{stem}.{ending}" for stem in (f"{clip}_{line.whole('start_time')}", clip) for ending in AUDIO_ENDINGS]
    return first_of([medium(root, "audio", name, line) for name in names])


def audiocaps(rows: Iterator[Row]) -> Iterator[CaptionRow]:
    """AudioCaps' table: one caption a line, gathered by clip in the order in which clips first come."""
    lines = list(rows)
    if lines:
        # Two annotators may write the same; one line that stands twice would count a reference twice.
        ids = (f"{line.name('audiocap_id')} {line.text('caption')!r}" for line in lines)
        refuse_doubles(ids, lines[0].file, "line")
    return audiocaps_copy(iter(lines))


def audiocaps_copy(rows: Iterator[Row]) -> Iterator[CaptionRow]:
    """The same from OpenSound/AudioCaps; the sound is that of the clip's first row.

    A clip is named by its ``youtube_id``, with ``_{start_time}`` where two clips are cut from one video.
    """
    clips: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        clips.setdefault((row.name("youtube_id"), row.whole("start_time")), []).append(row)
    cuts = Counter(youtube_id for youtube_id, _ in clips)
    for (youtube_id, start), found in clips.items():
        yield CaptionRow(
            row_id=f"{youtube_id}_{start}" if cuts[youtube_id] > 1 else youtube_id,
            origin=youtube_id,
            medium=found[0].uri or audiocaps_sound(found[0].root, found[0]),
            captions=tuple(row.text("caption") for row in found),
        )


def own_lines(key: str) -> Callable[[Iterator[Row]], Iterator[CaptionRow]]:
    """Our own JSON lines, or a copy on the hub with the same keys: see ``OWN_LINES``. ``key`` names the medium."""

    def read(row: Row) -> CaptionRow:
        name = row.name("id")
        return CaptionRow(
            row_id=name,
            origin=row.name("origin") if row.has("origin") else name,
            medium=row.medium(f"{{{key}}}"),
            start_s=row.seconds("start_s") if key != "image" and row.has("start_s") else None,
            end_s=row.seconds("end_s") if key != "image" and row.has("end_s") else None,
            question=row.text("question", ""),
            captions=_some(row.texts("references"), row) if row.split.labelled else None,
        )

    return each(read)


def _some(captions: tuple[str, ...], row: Fields) -> tuple[str, ...]:
    if not captions:
        raise row.bad("it has no caption")
    return captions
