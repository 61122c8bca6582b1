"""``clotho:clotho_captions_SPLIT.csv``: Clotho as it is released, five captions a line, a sample each.

The sound lies in the folder of the split's name beside the table, as the released archives unpack::

    file_name,caption_1,caption_2,caption_3,caption_4,caption_5
    Distorted AM Radio noise.wav,A muddled noise of broken channel of the TV,...
"""

import re
from collections.abc import Iterator
from pathlib import Path

from anymal_eval.errors import BadData
from anymal_eval.records import Media
from anymal_eval.sources.folder import medium, read_csv, refuse_doubles
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
from anymal_eval.training.sources._table import captioned, captions_of, require_file, source

CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


def load(asked: DataAddress) -> TrainingData:
    """The captions as samples, named ``FILE_NAME#0`` to ``FILE_NAME#4``.

    Raises:
        MissingData, BadData: naming the file and the line; its name does not tell the split.
    """
    file = require_file(asked.path)
    named = re.fullmatch(r"clotho_captions_(\w+)\.csv", file.name)
    if named is None:
        raise BadData(f"{file}: its name must be clotho_captions_SPLIT.csv, which says that the sound is in SPLIT/")
    samples = list(_samples(asked, file, named[1]))
    refuse_doubles((sample.id for sample in samples), file)
    return source(asked, file, samples, file.parent)


def _samples(asked: DataAddress, file: Path, split: str) -> Iterator[Sample]:
    for row in read_csv(file, ("file_name", *CAPTIONS)):
        name = row.text("file_name")
        sound = Media(kind="audio", uri=medium(file.parent, split, name, row))
        said = [caption for key in CAPTIONS for caption in captions_of(row, key)]
        yield from captioned(asked, row, name, sound, said)
