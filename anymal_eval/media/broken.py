"""Why a medium cannot be decoded, raised by the decoders of any process; they do not know the medium's name."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from anymal_eval.errors import AnyMALEvalError, MediaError, MediaTruncated, reason
from anymal_eval.records import Media

MEMORY = "memory"
TRUNCATED = "truncated"
WHAT = {"image": "picture", "audio": "sound", "video": "clip", "imu": "motion"}


class Broken(Exception):
    """The medium cannot be decoded as requested; the message gives the reason, without the file's name."""

    kind = "media"


class Truncated(Broken):
    """It holds less than it declares, or than the request needs."""

    kind = TRUNCATED


class TooLarge(Broken):
    """Decoding it would exceed the budget of a medium."""

    kind = "budget"


class NotThisKind(Broken):
    """Its bytes are of no format that this decoder reads."""

    kind = "format"


def stands_in(start: bytes) -> str:
    r"""What a file is that was saved in place of another; empty for any other.

    >>> stands_in(b"\n<!DOCTYPE html><html>"), stands_in(b"RIFF")
    ('an HTML page', '')
    """
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page"
    return "a pointer of Git LFS" if text.startswith(b"version https://git-lfs") else ""


def kind_of(error: BaseException) -> str:
    """The kind of a decoder's failure: that of ``Broken``; ``memory``, ``truncated``, or ``media`` for all others."""
    if isinstance(error, Broken):
        return error.kind
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return MEMORY
    return TRUNCATED if isinstance(error, EOFError) or "truncated" in str(error).lower() else "media"


def failure(media: Media, kind: str, why: str) -> MediaError:
    """The error of a medium whose decoder failed.

    Args:
        media: named in the message.
        kind: from ``kind_of``.
        why: the reason, on one line.
    """
    what = WHAT[media.kind]
    done = "read" if media.kind == "imu" else "decoded"
    if instead := _stands_in(media):
        return MediaError(f"{media.uri}: it is {instead}, not a {what}: its download failed, fetch it again")
    match kind:
        case "budget":
            return MediaError(f"{media.uri}: refused for its size: {why}")
        case "memory":
            return MediaError(f"{media.uri}: refused for its size: decoding the {what} exceeded the memory of a medium")
        case "format":
            return MediaError(f"{media.uri}: it is not a {what}")
        case "truncated":
            return MediaTruncated(f"{media.uri}: the {what} cannot be {done}: {why}")
        case _:
            return MediaError(f"{media.uri}: the {what} cannot be {done}: {why}")


def _stands_in(media: Media) -> str:
    try:
        with open(media.uri, "rb") as file:
            return stands_in(file.read(512))
    except (OSError, ValueError):  # it is in a row, or cannot be opened
        return ""


@contextmanager
def failures_of(media: Media) -> Iterator[None]:
    """Turn whatever a decoder or a processor raises on a medium into its MediaError, and so into that of one example.

    Decoders parse foreign bytes and raise any exception on them: fuzzing found twelve types, MemoryError,
    OverflowError and RecursionError among them. A failure here never becomes an answer.
    """
    try:
        yield
    except AnyMALEvalError:
        raise
    except Exception as error:  # noqa: BLE001
        # The traceback is dropped: its frames hold the whole broken medium in memory.
        raise failure(media, kind_of(error), reason(error)) from error.with_traceback(None)
