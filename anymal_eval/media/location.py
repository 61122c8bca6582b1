"""Access to a medium's bytes: in a file, or in a row of a data set that only its source can open."""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from anymal_eval.errors import BadData, MediaError, reason
from anymal_eval.media.broken import TooLarge, failure
from anymal_eval.media.budget import MediaBudget
from anymal_eval.records import Media

ROW = "row:"
"""The prefix of the uri of a medium inside a data set's row: ``row:SOURCE#ROW``. Any other uri is a file path."""

Opener = Callable[[str], bytes]
"""Maps a whole ``row:`` uri to bytes. Called from many threads; raises MediaError or OSError."""


MANY = 256  # names of one folder that are looked at one by one before it is listed
ALLOW_LINKS = "ANYMAL_EVAL_ALLOW_LINKS"
"""The environment variable with the folders that ``--allow-links`` names, separated as in ``PATH``."""


def safe_path(root: Path, relative: str, layout: str = "") -> Path:
    """A file inside a data folder, for paths that a file of the data holds; it need not exist.

    This is the one rule of symbolic links in data, for every source. The data folder may be a link. A link in it is
    followed to another place in it, and to the folders that ``--allow-links`` names. A folder of a benchmark's layout
    may also be a link to another folder beside the data folder, as ``okvqa/val2014`` to ``vqav2/val2014``.

    Args:
        root: the data folder.
        relative: the path below ``root/layout``, which it may not leave.
        layout: a folder below ``root`` that the benchmark's layout fixes.

    Raises:
        BadData: the path leaves the folder (absolute, ``../``, or through a symbolic link), or is no path.

    >>> safe_path(Path("/data"), "1.jpg", "val").as_posix()
    '/data/val/1.jpg'
    """
    return Path(safe_file(str(root), relative, layout))


def safe_file(root: str, relative: str, layout: str = "") -> str:
    """The same as text, for readers of hundreds of thousands of rows."""
    if not relative or "\0" in relative:
        raise BadData(f"{root}: {relative!r} is no path of a file")
    if relative.startswith("/"):
        raise BadData(f"{root}: the path {relative!r} is absolute; paths must stay inside the data folder")
    inner = os.path.normpath(relative) if "/" in relative else relative
    if inner == "." or inner == ".." or inner.startswith("../"):
        raise BadData(f"{root}: the path {relative!r} leads out of the data folder")
    # One look at each name below the root: data have hundreds of thousands of media, and few are links.
    names = [name for name in f"{layout}/{relative}".split("/") if name not in ("", ".")]
    at = "" if root == "/" else root
    is_plain, is_link = True, _is_link.get()
    for name in names:
        at = f"{at}/{name}"
        is_plain = is_plain and name != ".." and not is_link(at)
    if not is_plain:
        _require_inside(Path(root), Path(at), relative, layout)
    return at


_is_link: ContextVar[Callable[[str], bool]] = ContextVar("is_link", default=os.path.islink)


@contextmanager
def listing_folders() -> Iterator[None]:
    """Inside a ``with``, a folder of many media is listed once: where it holds no link, none of them is looked at."""
    token = _is_link.set(_Folders().is_link)
    try:
        yield
    finally:
        _is_link.reset(token)


class _Folders:
    def __init__(self) -> None:
        self._looks: Counter[str] = Counter()
        self._linkless: dict[str, bool] = {}

    def is_link(self, path: str) -> bool:
        folder = path.rpartition("/")[0]
        linkless = self._linkless.get(folder)
        if linkless is None:
            self._looks[folder] += 1
            if self._looks[folder] == MANY:
                self._linkless[folder] = _holds_no_link(folder)
        # Not by the listed names: a file system may take other letters for the same name.
        return not linkless and os.path.islink(path)


def _holds_no_link(folder: str) -> bool:
    try:
        with os.scandir(folder or "/") as entries:
            return not any(entry.is_symlink() for entry in entries)
    except OSError:
        return False


def files_in_folders(names: Iterable[str]) -> set[str]:
    """The files of the folders in which many of these names lie, each folder listed once."""
    counted = Counter(name.rpartition("/")[0] for name in names)
    found: set[str] = set()
    for folder, count in counted.items():
        if count < MANY:
            continue
        with suppress(OSError), os.scandir(folder or "/") as entries:
            found.update(f"{folder}/{entry.name}" for entry in entries if entry.is_file())
    return found


def _require_inside(root: Path, path: Path, relative: str, layout: str) -> None:
    try:
        real, home, folder = path.resolve(), root.resolve(), (root / layout).resolve()
        beside = root.absolute().parent.resolve()
    except (OSError, RuntimeError) as error:
        raise BadData(f"{root}: the path {relative!r} cannot be followed: {error}") from error
    allowed = [home, *_hub_cache(home), *_allowed()]
    if layout and folder != beside and folder.is_relative_to(beside):
        allowed.append(folder)
    if real == home or not any(real.is_relative_to(each) for each in allowed):
        where = folder if layout and real.is_relative_to(folder) else real.parent
        raise BadData(
            f"{root}: the path {relative!r} leads to {real}, out of the data folder; if that is meant, give "
            f"--allow-links {where}"
        )


@contextmanager
def allowing(folder: Path) -> Iterator[None]:
    """Follow links to a folder too inside a ``with``, as ``--allow-links`` does for a whole command."""
    before = os.environ.get(ALLOW_LINKS)
    os.environ[ALLOW_LINKS] = os.pathsep.join((*filter(None, (before,)), os.path.realpath(folder)))
    try:
        yield
    finally:
        os.environ[ALLOW_LINKS] = before or ""


def _allowed() -> list[Path]:
    named = os.environ.get(ALLOW_LINKS, "")
    return [Path(each).resolve() for each in named.split(os.pathsep) if each]


def _hub_cache(home: Path) -> list[Path]:
    """The repository's folder in the hub's cache, whose snapshots are links to its blobs."""
    parents = [each.parent for each in (home, *home.parents) if each.name == "snapshots"]
    return [each for each in parents[:1] if (each / "blobs").is_dir() and each.name.startswith("datasets--")]


def file_path(media: Media) -> Path | None:
    """The medium's file, or None where the medium is in a row.

    Raises:
        MediaError: there is no such file, or it is a folder, a pipe or a device.
    """
    if media.uri.startswith(ROW):
        return None
    path = Path(media.uri)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise MediaError(f"{media.uri}: {reason(error)}") from error
    if not stat.S_ISREG(mode):
        raise MediaError(f"{media.uri}: not a file")
    return path


def read_bytes(media: Media, opener: Opener | None = None, *, budget: MediaBudget | None = None) -> bytes:
    """All bytes of a medium, at least one.

    Args:
        media: a file, or a medium in a row.
        opener: reads rows.
        budget: its ``file_bytes`` are the most that it may have; a larger file is not opened.

    Raises:
        MediaError: the medium is missing, cannot be read, is empty or too large.
    """
    path = file_path(media)
    try:
        if path is None:
            content = read_row(media, opener)
            _hold(media, len(content), budget)
        else:
            _hold(media, path.stat().st_size, budget)
            content = path.read_bytes()
    except OSError as error:
        raise MediaError(f"{media.uri}: {reason(error)}") from error
    if not content:
        raise MediaError(f"{media.uri}: it is empty (0 bytes)")
    return content


def _hold(media: Media, size: int, budget: MediaBudget | None) -> None:
    if budget is not None:
        try:
            budget.hold("file_bytes", size, f"a file of {size} bytes")
        except TooLarge as error:
            raise failure(media, error.kind, str(error)) from error


def read_row(media: Media, opener: Opener | None) -> bytes:
    """The bytes of a medium with a ``row:`` uri.

    Raises:
        MediaError: there is no opener for it.
    """
    if opener is None:
        raise MediaError(f"{media.uri}: it is in a row of a data set, and that data set is not open here")
    return opener(media.uri)


def digest(media: Media, opener: Opener | None = None) -> str:
    """The SHA-256 of a medium's whole content in hex: from its source where known, else computed.

    Raises:
        MediaError: the medium is missing or cannot be read.
    """
    if media.digest is not None:
        return media.digest
    path = file_path(media)
    try:
        if path is None:
            return hashlib.sha256(read_row(media, opener)).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MediaError(f"{media.uri}: {reason(error)}") from error


def window(media: Media) -> tuple[float, float | None]:
    """Start and end of the window, in seconds; end None: to the end of the medium.

    Raises:
        MediaError: the window starts before 0 s or ends before its start.
    """
    start = 0.0 if media.start_s is None else media.start_s
    if not 0 <= start < float("inf") or (media.end_s is not None and not start <= media.end_s < float("inf")):
        raise MediaError(f"{media.uri}: {media.start_s} s to {media.end_s} s is no part of a clip")
    return start, media.end_s
