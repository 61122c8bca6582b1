"""What is on disk against what the benchmark officially has: ``data check``."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.errors import MediaError, listed
from anymal_eval.records import Example, Media
from anymal_eval.task import Split

SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of fault among the media, with the files it holds of."""

    what: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        """One line: how many, and the first of them."""
        return self.line(SHOWN)

    def line(self, shown: int | None) -> str:
        """One line: how many, and the first ``shown`` of them, or all."""
        files = listed(self.files, len(self.files) if shown is None else shown)
        return f"{len(self.files)} {what_files(len(self.files))} {self.what}: {files}"


def count_line(examples: int, split: Split) -> str:
    """How many examples there are, against the official number.

    >>> count_line(200, Split("val", expected=5000))
    '200 examples: subset 200/5000'
    """
    if not split.expected:
        return f"{examples} examples (no official number is known)"
    if examples < split.expected:
        return f"{examples} examples: subset {examples}/{split.expected}"
    if examples > split.expected:
        return f"{examples} examples: more than the official {split.expected}"
    return f"{examples} examples, as many as officially"


def media_findings(examples: list[Example], decode: Callable[[Media], object] | None = None) -> Iterator[Finding]:
    """What is wrong with the local media: absent, empty, and with ``decode`` what cannot be read."""
    media = list(dict.fromkeys(medium for example in examples for medium in example.media))
    absent = [medium for medium in media if not os.path.isfile(medium.uri)]
    empty = [medium for medium in media if medium not in set(absent) and Path(medium.uri).stat().st_size == 0]
    if absent:
        yield Finding(what="not there", files=_names(absent))
    if empty:
        yield Finding(what="empty (0 bytes)", files=_names(empty))
    if decode is None:
        return
    broken = []
    known_bad = {*absent, *empty}
    for medium in media:
        if medium in known_bad:
            continue
        try:
            decode(medium)
        except MediaError as error:
            broken.append(str(error))
    if broken:
        yield Finding(what="unreadable", files=tuple(broken))


def what_files(count: int) -> str:
    """``file`` or ``files``."""
    return "file" if count == 1 else "files"


def _names(media: list[Media]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(medium.uri for medium in media))
