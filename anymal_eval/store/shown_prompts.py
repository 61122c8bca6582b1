"""Prompts as a model was given them, after its chat template: beside the responses, for people to look at.

No number depends on them: a damaged file is as one that is not there, and it has no digest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.checksums import read_checked_lines, write_checked_line
from anymal_eval.codec import decode, encode
from anymal_eval.errors import BadData
from anymal_eval.store.atomic import storage_errors

FILE = "prompts.jsonl"
MOST = 5_000  # of a task: as many as a report shows


@dataclass(frozen=True, kw_only=True)
class SentPrompt:
    """One example's prompt.

    Attributes:
        id: of the example.
        text: of all tokens, with special ones and media marked.
        tokens: how many.
        special: how many of them are special or stand for media.
        marks: where these stand in the text: the start and the end of each; none in files of earlier versions.
    """

    id: str
    text: str
    tokens: int
    special: int
    marks: tuple[int, ...] = ()


def read_prompts(file: Path) -> Mapping[str, SentPrompt]:
    """The prompts by example id; none where the file is not there, or damaged."""
    if not file.is_file():
        return {}
    try:
        rows = [decode(SentPrompt, row, str(file)) for _, _, row in read_checked_lines(file, file.stat().st_size)]
    except BadData:
        return {}
    return {row.id: row for row in rows}


def append_prompts(file: Path, prompts: list[SentPrompt]) -> None:
    """Add prompts to the file.

    Raises:
        StorageFull: there is no space.
    """
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(b"".join(write_checked_line(encode(prompt)) for prompt in prompts))
