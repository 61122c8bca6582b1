"""``log.jsonl``: losses, learning rates and scores by step; what follows the state that is gone on from is cut off."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from anymal_eval.store.atomic import storage_errors, write_atomic

Say = Callable[[int, Mapping[str, float]], None]


class Log:
    """Appends a line at a time; each also goes to ``say``."""

    def __init__(self, file: Path, say: Say | None = None) -> None:
        self._file, self._say = file, say
        self._began = time.monotonic()

    def begin(self, step: int) -> None:
        """Keep the lines up to a step; a last line that was cut off in writing goes too."""
        if not self._file.exists():
            return
        kept = [line for line in self._file.read_text(encoding="utf-8").split("\n") if _upto(line, step)]
        write_atomic(self._file, "".join(line + "\n" for line in kept))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line.

        Raises:
            StorageFull: there is no space.
        """
        row = {"step": step, **values, "seconds": round(time.monotonic() - self._began, 3)}
        with storage_errors(self._file), self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        if self._say is not None:
            self._say(step, values)


def _upto(line: str, step: int) -> bool:
    try:
        return bool(line) and int(json.loads(line)["step"]) <= step
    except (ValueError, KeyError, TypeError):
        return False
