"""The layout of Hateful Memes: JSON lines beside a folder of pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import medium_within, read_lines, require
from anymal_eval.sources.rows import MemeRow
from anymal_eval.task import DataFile, Split

LABELS = 2


@dataclass(frozen=True, kw_only=True)
class HatefulMemesFiles:
    """``{split}.jsonl`` with ``img/``. Ids lose their leading zeros: copies differ in them (8291 and "08291")."""

    lines: str = "{split}.jsonl"
    origin: str = "hatefulmemeschallenge.com"

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where."""
        return (
            DataFile(name=self.lines.format(split=split.in_files), origin=self.origin),
            DataFile(name="img/", origin=self.origin, needed=False, is_folder=True),
        )

    def rows(self, root: Path, split: Split) -> Iterator[MemeRow]:
        """The memes, in the order of the file.

        Raises:
            MissingData, BadData: naming the file, the line and the key.
        """
        files = self.files(split)
        require(root, files)
        file = root / files[0].name
        for row in read_lines(file):
            yield MemeRow(
                meme_id=meme_id(row),
                image=medium_within(root, "img", row.text("img"), row),
                text=row.text("text", ""),
                label=row.index("label", LABELS) if split.labelled else None,
            )


def meme_id(row: Fields) -> str:
    """The id without leading zeros, as a string."""
    name = row.name("id")
    return str(int(name)) if name.isdecimal() else name
