"""``pairs:FILE.jsonl``: our JSON lines of a medium and what it shows, for alignment.

One of image, audio, video and imu names the file, relative to the folder of the lines. A list of captions gives one
sample each. ``start_s`` and ``end_s`` are optional::

    {"id": "7", "image": "images/7.jpg", "caption": "a red kite over a beach"}
    {"id": "8", "audio": "long.flac", "start_s": 4, "end_s": 14, "caption": ["rain", "rain falls on a roof"]}
"""

from collections.abc import Iterator
from pathlib import Path

from anymal_eval.codec import read_json_lines
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import refuse_doubles
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
from anymal_eval.training.sources._table import captioned, captions_of, media_of, require_file, source


def load(asked: DataAddress) -> TrainingData:
    """The lines as samples.

    Raises:
        MissingData, BadData: naming the file and the line.
    """
    file = require_file(asked.path)
    samples = list(_samples(asked, file))
    refuse_doubles((sample.id for sample in samples), file)
    return source(asked, file, samples, file.parent)


def _samples(asked: DataAddress, file: Path) -> Iterator[Sample]:
    for number, data in read_json_lines(file):
        row = Fields(data, file, f"line {number}")
        name = row.name("id")
        media = [found for kind in media_of(row, data, file.parent).values() for found in kind]
        if len(media) != 1:
            raise row.bad(f"a pair has one of image, audio, video and imu; this has {len(media)} media")
        yield from captioned(asked, row, name, media[0], captions_of(row, "caption"))
