"""``audiocaps:train.csv``: AudioCaps as released, one caption per line.

The sound is beside the table as ``audio/{youtube_id}_{start_time}.wav`` or ``audio/{youtube_id}.wav`` (or flac, or
mp3): the 10 s from ``start_time``::

    audiocap_id,youtube_id,start_time,caption
    91139,r1nicOVtvkQ,130,A woman talks nearby as water pours
"""

from collections.abc import Iterator

from anymal_eval.records import Media
from anymal_eval.sources.captions import audiocaps_lines, audiocaps_sound
from anymal_eval.sources.fields import Fields
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
from anymal_eval.training.sources._table import caption_samples, captions_of, require_file, table_data


def load(address: DataAddress) -> TrainingData:
    """The lines as samples, named by their ``audiocap_id``.

    Raises:
        MissingData, BadData: naming the file and the line.
    """
    file, bad = require_file(address.path), address.bad_rows()

    def make(line: Fields) -> Iterator[Sample]:
        sound = Media(kind="audio", uri=audiocaps_sound(file.parent, line))
        return caption_samples(address, line, line.name("audiocap_id"), sound, captions_of(line, "caption"))

    samples = bad.samples(audiocaps_lines(file, bad.add), make)
    return table_data(address, file, samples, bad, folder=file.parent, unique="audiocap_id")
