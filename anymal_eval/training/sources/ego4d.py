"""``ego4d:narration.json``: Ego4D's narrations with 5 s of motion around each.

Either the released file (its videos under ``videos`` or at the top level), or our JSON lines in a ``.jsonl`` file::

    {"videos": {"UID": {"narration_pass_1": {"narrations": [
        {"timestamp_sec": 12.3, "narration_text": "#C C opens the fridge"}]}}}}
    {"video_uid": "UID", "timestamp_sec": 12.3, "narration": "#C C opens the fridge"}

The motion is beside the table as ``imu/UID.csv`` or ``imu/UID.npy`` (columns: ``anymal_eval.media.imu``), in the time
of the video. Narrations of other people (``#O``) say nothing about the wearer's motion and are skipped, as in IMU2CLIP;
``unreadable`` holds their number.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData
from anymal_eval.records import Media
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import first_of, medium, read_lines
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
from anymal_eval.training.sources._bad_rows import BadRows
from anymal_eval.training.sources._table import caption_samples, require_file, table_data

WINDOW_S = 5.0
PASSES = ("narration_pass_1", "narration_pass_2")
WEARER = re.compile(r"#\s*c\b([\s-]*c\b)?", re.IGNORECASE)
WEARER_RUN_TOGETHER = re.compile(r"#cc\b", re.IGNORECASE)
OTHERS = re.compile(r"#\s*o\b", re.IGNORECASE)
UNSURE = re.compile(r"#\s*unsure\b", re.IGNORECASE)
TAG = re.compile(r"#\w*")


def load(address: DataAddress) -> TrainingData:
    """The wearer's narrations as samples, named ``UID/PASS/NUMBER``, or ``UID/LINE`` for our JSON lines.

    Raises:
        MissingData, BadData: naming the file, and the narration or the line.
    """
    file, bad = require_file(address.path), address.bad_rows()
    skipped: list[str] = []
    found = table_data(address, file, _samples(address, file, skipped, bad), bad, folder=file.parent)
    if skipped:
        more = f" (and {len(skipped) - 1:,} more)" if len(skipped) > 1 else ""
        found.unreadable.append(f"{skipped[0]}: not of the wearer, or no words{more}")
    return found


def narration(text: str) -> str | None:
    """A narration of the wearer as plain text; None if it is not about them.

    ``#C C`` becomes "a person" and ``#unsure`` "something"; other tags are removed. Case and spelling stay.

    >>> narration("#C C opens  the #unsure.")
    'a person opens the something'
    >>> narration("#O man X talks to C") is None
    True
    >>> narration("walks up the stairs")
    'walks up the stairs'
    """
    text = WEARER_RUN_TOGETHER.sub("#C", text)
    if OTHERS.search(text) and not WEARER.search(text):
        return None
    words = TAG.sub(" ", UNSURE.sub(" something ", WEARER.sub(" a person ", text)))
    plain = " ".join(words.split()).strip(" .")
    return plain if plain not in ("", "a person") else None


def window(centre: float) -> tuple[float, float]:
    """The 5 s around a time, to the millisecond; the first 5 s of the video if that would start before it.

    >>> window(12.5), window(1.0)
    ((10.0, 15.0), (0.0, 5.0))
    """
    start = round(max(0.0, centre - WINDOW_S / 2), 3)
    return start, round(start + WINDOW_S, 3)


def _samples(address: DataAddress, file: Path, skipped: list[str], bad: BadRows) -> Iterator[Sample]:
    recordings: dict[str, str] = {}
    of_lines = file.suffix == ".jsonl"

    def make(row: Fields) -> Iterator[Sample]:
        text = narration(row.text("narration" if of_lines else "narration_text"))
        uid, number = _of_line(row) if of_lines else _of_narration(row)
        start, end = window(row.seconds("timestamp_sec"))
        if text is None:
            skipped.append(row.where)
            return iter(())
        if uid not in recordings:
            recordings[uid] = first_of(
                [medium(file.parent, "imu", f"{uid}.{ending}", row) for ending in ("csv", "npy")]
            )
        motion = Media(kind="imu", uri=recordings[uid], start_s=start, end_s=end)
        return caption_samples(address, row, f"{uid}/{number}", motion, (text,))

    yield from bad.samples(read_lines(file, bad.add) if of_lines else _of_release(file, bad), make)


def _of_line(row: Fields) -> tuple[str, str]:
    """The recording, and the line."""
    return row.text("video_uid"), row.place.removeprefix("line ")


def _of_narration(row: Fields) -> tuple[str, str]:
    """The recording, and ``PASS/NUMBER`` from 0, of a place as :func:`_of_release` writes it."""
    uid, _, place = row.place.rpartition(".")
    name, _, number = place.partition(" row ")
    return uid, f"{PASSES.index(name) + 1}/{int(number) - 1}"


def _of_release(file: Path, bad: BadRows) -> Iterator[Fields]:
    data = read_json(file)
    top = Fields(data, file, "the whole")
    videos = top.raw("videos") if top.has("videos") else data
    Fields(videos, file, "videos")
    for passes in bad.fields(videos.items(), file):
        for name in filter(passes.has, PASSES):
            place = f"{passes.place}.{name}"
            try:
                narrations = Fields(passes.raw(name), file, place).items("narrations")
            except BadData as error:
                bad.add(f"{file}: {place}", error)
                continue
            yield from bad.fields(((f"{place} row {number}", item) for number, item in enumerate(narrations, 1)), file)
