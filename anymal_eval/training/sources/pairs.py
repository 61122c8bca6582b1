"""``pairs:FILE.jsonl``: our JSON lines of a medium and its caption, for alignment.

One of image, audio, video and imu names the file, relative to the folder of the table. A list of captions gives one
sample each. ``start_s`` and ``end_s`` are optional::

    {"id": "7", "image": "images/7.jpg", "caption": "a red kite over a beach"}
    {"id": "8", "audio": "long.flac", "start_s": 4, "end_s": 14, "caption": ["rain", "rain falls on a roof"]}
"""

from collections.abc import Iterator

from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import read_lines
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
from anymal_eval.training.sources._table import caption_samples, captions_of, media_of, require_file, table_data


def load(address: DataAddress) -> TrainingData:
    """The lines as samples.

    Raises:
        MissingData, BadData: naming the file and the line.
    """
    file, bad = require_file(address.path), address.bad_rows()

    def make(row: Fields) -> Iterator[Sample]:
        name = row.name("id")
        media = [found for kind in media_of(row, file.parent).values() for found in kind]
        if len(media) != 1:
            raise row.bad(f"a pair has one of image, audio, video and imu; this has {len(media)} media")
        return caption_samples(address, row, name, media[0], captions_of(row, "caption"))

    samples = bad.samples(read_lines(file, bad.add), make)
    return table_data(address, file, samples, bad, folder=file.parent, unique="id")
