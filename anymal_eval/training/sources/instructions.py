"""``instructions:FILE.jsonl``: our JSON lines of an instruction, its media and the response, for instruction tuning.

Each of image, audio, video and imu names a file, or a list of files, relative to the folder of the lines; without any
it is text alone. Media come before the instruction, in the order of their keys, unless ``<image>``, ``<audio>``,
``<video>`` and ``<imu>`` in it say where they go. ``system``, ``start_s`` and ``end_s`` are optional::

    {"id": "1", "image": "images/1.jpg", "instruction": "Write an ad for this.", "response": "Fly higher!"}
    {"id": "2", "image": ["a.png", "b.png"], "instruction": "<image> or <image>: which is older?", "response": "2"}
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from anymal_eval.codec import read_json_lines
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import refuse_doubles
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
from anymal_eval.training.sources._places import Said, conversation
from anymal_eval.training.sources._table import media_of, require_file, source


def load(asked: DataAddress) -> TrainingData:
    """The lines as samples. They hold the user's words, so ``asked.prompt`` is not used.

    Raises:
        MissingData, BadData: naming the file and the line.
    """
    file = require_file(asked.path)
    samples = list(_samples(file))
    refuse_doubles((sample.id for sample in samples), file)
    return source(dataclasses.replace(asked, prompt=""), file, samples, file.parent)


def _samples(file: Path) -> Iterator[Sample]:
    for number, data in read_json_lines(file):
        row = Fields(data, file, f"line {number}")
        name = row.name("id")
        said: list[Said] = [("system", row.text("system"))] if row.has("system") else []
        said += [("user", row.text("instruction")), ("assistant", row.text("response"))]
        turns, media = conversation(row, said, media_of(row, data, file.parent), media_first=True)
        yield Sample(id=name, where=f"{file}: line {number}", media=media, turns=turns)
