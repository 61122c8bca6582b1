r"""``llava:FILE.json[@FOLDER]``: LLaVA's conversation layout, for instruction tuning.

A list of conversations, as in ``llava_instruct_150k.json`` and ``llava_v1_5_mix665k.json``; paths are relative to
FOLDER, or to the folder of the file. Besides image, the keys audio, video and imu are read, each with its tag, and each
may be a list. Rows without any are text alone::

    [{"id": "000000033471", "image": "000000033471.jpg", "conversations": [
        {"from": "human", "value": "<image>\nWhat are the colors of the bus?"},
        {"from": "gpt", "value": "The bus is white and red."}]}]

Messages of gpt before the first of human, and of human after the last of gpt, are dropped: they hold no answer to train
on. Released files use one id for several rows; those are named ``ID@ROW``, counted from 0.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData, MissingData
from anymal_eval.sources.fields import Fields
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
from anymal_eval.training.sources._bad_rows import BadRows
from anymal_eval.training.sources._conversation import RoleAndText, conversation
from anymal_eval.training.sources._table import media_of, require_file, table_data

ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {"system": "system", "human": "user", "gpt": "assistant"}


def load(address: DataAddress) -> TrainingData:
    """The rows as samples. They hold the user's text, so ``address.prompt`` is not used.

    Raises:
        MissingData, BadData: naming the file and the row, counted from 1.
    """
    path, folder = address.path, Path(address.path).parent
    if "@" in path and not Path(path).is_file():
        path, _, named = path.rpartition("@")
        folder = Path(named)
        if not folder.is_dir():
            raise MissingData(f"no folder {named}; write {address.kind}:FILE.json@FOLDER with the folder of the media")
    file = require_file(path)
    bad = address.bad_rows()
    return table_data(
        dataclasses.replace(address, prompt="", order="media-first"),
        file,
        _samples(file, folder, bad),
        bad,
        folder=folder,
    )


def _samples(file: Path, folder: Path, bad: BadRows) -> Iterator[Sample]:
    data = read_json(file)
    if not isinstance(data, list):
        raise BadData(f"{file}: expected a list of conversations, got {type(data).__name__}")
    rows = list(bad.fields(((f"row {number}", item) for number, item in enumerate(data, 1)), file))
    names = Counter(str(row.data.get("id")) for row in rows)

    def make(row: Fields) -> tuple[Sample]:
        name = row.name("id")
        turns, media = conversation(row, messages_of(row, file), media_of(row, folder), order=None)
        number = int(row.place.removeprefix("row ")) - 1
        own = name if names[name] == 1 else f"{name}@{number}"
        return (Sample(id=own, where=row.where, media=media, turns=turns),)

    yield from bad.samples(rows, make)


def messages_of(row: Fields, file: Path | str) -> list[RoleAndText]:
    """The role and text of each message of ``conversations``; ``file`` is for errors.

    Raises:
        BadData: another speaker, one who speaks twice in a row, or no answer to a human.
    """
    messages: list[RoleAndText] = []
    for item in row.items("conversations"):
        message = Fields(item, file, f"{row.place}: conversations")
        speaker = message.text("from")
        if speaker not in ROLES:
            raise message.bad(f"{speaker!r} speaks; the layout has {', '.join(ROLES)}")
        if ROLES[speaker] == "assistant" and not any(role == "user" for role, _ in messages):
            continue
        if messages and messages[-1][0] == ROLES[speaker]:
            raise message.bad(f"{speaker} speaks twice in a row")
        messages.append((ROLES[speaker], message.text("value")))
    while messages and messages[-1][0] != "assistant":
        messages.pop()
    if not messages:
        raise row.bad("no gpt answers a human in it")
    return messages
