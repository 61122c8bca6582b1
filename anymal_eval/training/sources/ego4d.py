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

from anymal_eval.codec import read_json, read_json_lines
from anymal_eval.records import Media
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import first_of, medium
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
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
    file = require_file(address.path)
    skipped: list[str] = []
    found = table_data(address, file, _samples(address, file, skipped), file.parent)
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


def _samples(address: DataAddress, file: Path, skipped: list[str]) -> Iterator[Sample]:
    recordings: dict[str, str] = {}
    for name, uid, row, key in _of_lines(file) if file.suffix == ".jsonl" else _of_release(file):
        text = narration(row.text(key))
        start, end = window(row.seconds("timestamp_sec"))
        if text is None:
            skipped.append(row.where)
            continue
        if uid not in recordings:
            recordings[uid] = first_of(
                [medium(file.parent, "imu", f"{uid}.{ending}", row) for ending in ("csv", "npy")]
            )
        motion = Media(kind="imu", uri=recordings[uid], start_s=start, end_s=end)
        yield from caption_samples(address, row, name, motion, (text,))


def _of_lines(file: Path) -> Iterator[tuple[str, str, Fields, str]]:
    for number, data in read_json_lines(file):
        row = Fields(data, file, f"line {number}")
        uid = row.text("video_uid")
        yield f"{uid}/{number}", uid, row, "narration"


def _of_release(file: Path) -> Iterator[tuple[str, str, Fields, str]]:
    data = read_json(file)
    top = Fields(data, file, "the whole")
    videos = top.raw("videos") if top.has("videos") else data
    Fields(videos, file, "videos")
    for uid, video in videos.items():
        passes = Fields(video, file, uid)
        for order, name in enumerate(PASSES, 1):
            if not passes.has(name):
                continue
            narrations = Fields(passes.raw(name), file, f"{uid}.{name}").items("narrations")
            for number, item in enumerate(narrations):
                row = Fields(item, file, f"{uid}.{name} row {number + 1}")
                yield f"{uid}/{order}/{number}", uid, row, "narration_text"
