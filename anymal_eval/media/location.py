"""Access to a medium's bytes: in a file, or in a row of a data set that only its source can open."""

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from anymal_eval.errors import BadData, MediaError
from anymal_eval.records import Media

ROW = "row:"
"""The prefix of the uri of a medium inside a data set's row: ``row:SOURCE#ROW``. Any other uri is a file path."""

Opener = Callable[[str], bytes]
"""Maps a whole ``row:`` uri to bytes. Called from many threads; raises MediaError or OSError."""


def safe_path(root: Path, relative: str) -> Path:
    """The file ``relative`` inside ``root``, for paths from an annotation file; it need not exist.

    Raises:
        BadData: the path leaves the folder (absolute, ``../``, or through a symbolic link), or is no path.

    >>> safe_path(Path("/data"), "val/1.jpg").as_posix()
    '/data/val/1.jpg'
    """
    if not relative or "\0" in relative:
        raise BadData(f"{root}: {relative!r} is no path of a file")
    if PurePosixPath(relative).is_absolute():
        raise BadData(f"{root}: the path {relative!r} is absolute; paths must stay inside the data folder")
    path = root / relative
    try:
        real, home = path.resolve(), root.resolve()
    except (OSError, RuntimeError) as error:
        raise BadData(f"{root}: the path {relative!r} cannot be followed: {error}") from error
    if real == home or not real.is_relative_to(home):
        raise BadData(f"{root}: the path {relative!r} leads to {real}, out of the data folder")
    return path


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


def read_bytes(media: Media, opener: Opener | None = None, *, most: int | None = None) -> bytes:
    """All bytes of a medium, at least one.

    Args:
        media: a file, or a medium in a row.
        opener: reads rows.
        most: the bytes that it may have; a larger file is not opened.

    Raises:
        MediaError: the medium is missing, cannot be read, is empty or too large.
    """
    path = file_path(media)
    try:
        size = 0 if path is None else path.stat().st_size
        content = b"" if most is not None and size > most else _content(media, path, opener)
    except OSError as error:
        raise MediaError(f"{media.uri}: {reason(error)}") from error
    size = size or len(content)
    if most is not None and size > most:
        raise MediaError(f"{media.uri}: refused for its size: a file of {size} bytes is over {most} bytes")
    if not content:
        raise MediaError(f"{media.uri}: it is empty (0 bytes)")
    return content


def _content(media: Media, path: Path | None, opener: Opener | None) -> bytes:
    return read_row(media, opener) if path is None else path.read_bytes()


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


def reason(error: BaseException) -> str:
    """A library's error message, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
