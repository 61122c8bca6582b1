"""``clotho:clotho_captions_SPLIT.csv``: Clotho as released, five captions per line, a sample each.

The sound is beside the table in the folder of the split's name, as the released archives unpack::

    file_name,caption_1,caption_2,caption_3,caption_4,caption_5
    Distorted AM Radio noise.wav,A muddled noise of broken channel of the TV,...
"""

import re
from collections.abc import Iterator

from anymal_eval.errors import BadData
from anymal_eval.records import Media
from anymal_eval.sources.csv_rows import read_csv
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import medium
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
from anymal_eval.training.sources._table import caption_samples, captions_of, require_file, table_data

CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


def load(address: DataAddress) -> TrainingData:
    """The captions as samples, named ``FILE_NAME#0`` to ``FILE_NAME#4``.

    Raises:
        MissingData, BadData: naming the file and the line, or a file name without the split.
    """
    file = require_file(address.path)
    split = re.fullmatch(r"clotho_captions_(\w+)\.csv", file.name)
    if split is None:
        raise BadData(f"{file}: its name must be clotho_captions_SPLIT.csv, which says that the sound is in SPLIT/")
    folder, bad = split[1], address.bad_rows()

    def make(row: Fields) -> Iterator[Sample]:
        name = row.name("file_name")
        sound = Media(kind="audio", uri=medium(file.parent, folder, name, row))
        captions = [caption for key in CAPTIONS for caption in captions_of(row, key)]
        return caption_samples(address, row, name, sound, captions)

    samples = bad.samples(read_csv(file, ("file_name", *CAPTIONS), bad=bad.add), make)
    return table_data(address, file, samples, bad, folder=file.parent, unique="id")
