"""``instructions:FILE.jsonl``: our JSON lines of an instruction, its media and the response, for instruction tuning.

Each of image, audio, video and imu names a file, or a list of files, relative to the folder of the table; a row without
any is text alone. ``<image>``, ``<audio>``, ``<video>`` and ``<imu>`` in the instruction or in ``system`` mark the
places of media; without any tag they are put where the network's order says, before the instruction by default.
``system``, ``start_s`` and ``end_s`` are optional::

    {"id": "1", "image": "images/1.jpg", "instruction": "Write an ad for this.", "response": "Fly higher!"}
    {"id": "2", "image": ["a.png", "b.png"], "instruction": "<image> or <image>: which is older?", "response": "2"}
"""

import dataclasses

from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import read_lines
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
from anymal_eval.training.sources._conversation import RoleAndText, conversation
from anymal_eval.training.sources._table import media_of, require_file, table_data


def load(address: DataAddress) -> TrainingData:
    """The lines as samples. They hold the user's text, so ``address.prompt`` is not used.

    Raises:
        MissingData, BadData: naming the file and the line.
    """
    file, bad = require_file(address.path), address.bad_rows()

    def make(row: Fields) -> tuple[Sample]:
        name = row.name("id")
        messages: list[RoleAndText] = [("system", row.text("system"))] if row.has("system") else []
        messages += [("user", row.text("instruction")), ("assistant", row.text("response"))]
        turns, media = conversation(row, messages, media_of(row, file.parent), order=address.order)
        return (Sample(id=name, where=row.where, media=media, turns=turns),)

    samples = bad.samples(read_lines(file, bad.add), make)
    return table_data(dataclasses.replace(address, prompt=""), file, samples, bad, folder=file.parent, unique="id")
