"""A hostile medium."""

import os
from pathlib import Path
from typing import NamedTuple

from anymal_eval.records import Media, MediaKind


class Attack(NamedTuple):
    """A file named after what it tries. ``sparse``: its size on paper, in bytes; the rest of it is a hole."""

    kind: MediaKind
    name: str
    content: bytes
    sparse: int = 0
    start_s: float | None = None
    end_s: float | None = None

    def write(self, folder: Path) -> Media:
        """Write it into a folder."""
        path = folder / self.name
        path.write_bytes(self.content)
        if self.sparse:
            os.truncate(path, self.sparse)
        return Media(kind=self.kind, uri=str(path), start_s=self.start_s, end_s=self.end_s)
