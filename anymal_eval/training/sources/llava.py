r"""``llava:FILE.json[@FOLDER]``: LLaVA's conversation layout, for instruction tuning.

A list of conversations, as in ``llava_instruct_150k.json`` and ``llava_v1_5_mix665k.json``; paths are relative to
FOLDER, or to the file's own. Besides image, the keys audio, video and imu are read, each with its tag, and each may be
a list. Rows without any are text alone::

    [{"id": "000000033471", "image": "000000033471.jpg", "conversations": [
        {"from": "human", "value": "<image>\nWhat are the colors of the bus?"},
        {"from": "gpt", "value": "The bus is white and red."}]}]

What gpt says before any human, and what a human says after the last gpt, is left out: nothing can be learnt from it.
Released files use one id for several rows; those are named ``ID@ROW``.
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
from anymal_eval.training.sources._places import Said, conversation
from anymal_eval.training.sources._table import media_of, require_file, source

ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {"system": "system", "human": "user", "gpt": "assistant"}


def load(asked: DataAddress) -> TrainingData:
    """The rows as samples. They hold the user's words, so ``asked.prompt`` is not used.

    Raises:
        MissingData, BadData: naming the file and the row, counted from 0.
    """
    path, home = asked.path, Path(asked.path).parent
    if "@" in path and not Path(path).is_file():
        path, _, folder = path.rpartition("@")
        home = Path(folder)
        if not home.is_dir():
            raise MissingData(f"no folder {folder}; write {asked.kind}:FILE.json@FOLDER with the folder of the media")
    file = require_file(path)
    return source(dataclasses.replace(asked, prompt=""), file, _samples(file, home), home)


def _samples(file: Path, home: Path) -> Iterator[Sample]:
    data = read_json(file)
    if not isinstance(data, list):
        raise BadData(f"{file}: expected a list of conversations, got {type(data).__name__}")
    rows = [Fields(item, file, f"row {number}") for number, item in enumerate(data)]
    names = Counter(row.name("id") for row in rows)
    for number, (row, item) in enumerate(zip(rows, data, strict=True)):
        name = row.name("id")
        turns, media = conversation(row, _said(row, file, number), media_of(row, item, home), media_first=False)
        yield Sample(
            id=name if names[name] == 1 else f"{name}@{number}",
            where=f"{file}: row {number}",
            media=media,
            turns=turns,
        )


def _said(row: Fields, file: Path, number: int) -> list[Said]:
    said: list[Said] = []
    for item in row.items("conversations"):
        turn = Fields(item, file, f"row {number}: conversations")
        who = turn.text("from")
        if who not in ROLES:
            raise turn.bad(f"{who!r} speaks; the layout has {', '.join(ROLES)}")
        if ROLES[who] == "assistant" and not any(role == "user" for role, _ in said):
            continue
        if said and said[-1][0] == ROLES[who]:
            raise turn.bad(f"{who} speaks twice in a row")
        said.append((ROLES[who], turn.text("value")))
    while said and said[-1][0] != "assistant":
        said.pop()
    if not said:
        raise row.bad("no gpt answers a human in it")
    return said
