"""``audiocaps:train.csv``: AudioCaps as it is released, one caption a line.

The sound lies beside the table as ``audio/{youtube_id}_{start_time}.wav``, or ``audio/{youtube_id}.wav`` (or flac, or
mp3), which are the 10 s from ``start_time``::

    audiocap_id,youtube_id,start_time,caption
    91139,r1nicOVtvkQ,130,A woman talks nearby as water pours
"""

from collections.abc import Iterator
from pathlib import Path

from anymal_eval.records import Media
from anymal_eval.sources.captions import AUDIO_ENDINGS
from anymal_eval.sources.folder import first_of, medium, read_csv, refuse_doubles
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
from anymal_eval.training.sources._table import captioned, captions_of, require_file, source


def load(asked: DataAddress) -> TrainingData:
    """The lines as samples, named by their ``audiocap_id``.

    Raises:
        MissingData, BadData: naming the file and the line.
    """
    file = require_file(asked.path)
    samples = list(_samples(asked, file))
    refuse_doubles((sample.id for sample in samples), file, "audiocap_id")
    return source(asked, file, samples, file.parent)


def _samples(asked: DataAddress, file: Path) -> Iterator[Sample]:
    for row in read_csv(file, ("audiocap_id", "youtube_id", "start_time", "caption")):
        clip = row.name("youtube_id")
        names = [f"{stem}.{end}" for stem in (f"{clip}_{row.whole('start_time')}", clip) for end in AUDIO_ENDINGS]
        sound = Media(kind="audio", uri=first_of([medium(file.parent, "audio", name, row) for name in names]))
        yield from captioned(asked, row, row.name("audiocap_id"), sound, captions_of(row, "caption"))
