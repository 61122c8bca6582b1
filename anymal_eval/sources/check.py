"""What is on disk against what the benchmark officially has: ``data check``."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

from anymal_eval.errors import MediaError, listed
from anymal_eval.media.broken import stands_in
from anymal_eval.records import Example, Media
from anymal_eval.task import Split

SHOWN = 3
PAGE_BYTES = 1 << 16  # a larger file is no page that says that something is not there
THREADS, AT_ONCE = 8, 500  # files that one thread looks for in one go


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
    size = _sizes(dict.fromkeys(medium.uri for medium in media))
    absent = [medium for medium in media if size[medium.uri] is None]
    empty = [medium for medium in media if size[medium.uri] == 0]
    if absent:
        yield Finding(what="not there", files=_names(absent))
    if empty:
        yield Finding(what="empty (0 bytes)", files=_names(empty))
    for what, files in _stand_ins(media, size).items():
        yield Finding(what=f"{what} in place of the medium; fetch again", files=tuple(files))
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


def _sizes(files: Iterable[str]) -> dict[str, int | None]:
    """Bytes of each file; None where there is none. Several at a time: a look at a network drive is mostly waiting."""
    names = list(files)
    parts = [names[start : start + AT_ONCE] for start in range(0, len(names), AT_ONCE)]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="size") as pool:
        found = pool.map(lambda part: [_size(name) for name in part], parts)
        return dict(zip(names, chain.from_iterable(found), strict=True))


def _stand_ins(media: list[Media], size: Mapping[str, int | None]) -> dict[str, list[str]]:
    """The small files that hold something else, by what it is."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(medium.uri for medium in media):
        if not 0 < (size[name] or 0) <= PAGE_BYTES:
            continue
        try:
            with open(name, "rb") as file:
                instead = stands_in(file.read(512))
        except OSError:
            continue
        if instead:
            found.setdefault(instead.partition(" ")[2], []).append(name)
    return found


def _size(file: str) -> int | None:
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def what_files(count: int) -> str:
    """``file`` or ``files``."""
    return "file" if count == 1 else "files"


def _names(media: list[Media]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(medium.uri for medium in media))
