"""Atomic writes, and one-line errors for a full disk or a place that cannot be written."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from anymal_eval.errors import StorageFull, WrongUse

FULL = (errno.ENOSPC, errno.EDQUOT)
# The user's choice of a place explains these. Any other error (a broken disk) keeps its traceback.
WRONG_PLACE = (
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)


@contextlib.contextmanager
def storage_errors(file: Path) -> Iterator[None]:
    """Turn an operating system's error about ``file`` into one of ours, whose message says what to do.

    Raises:
        StorageFull: the disk or the quota is full.
        WrongUse: the place cannot be written: it is read-only, a folder where a file should be, ...
    """
    try:
        yield
    except OSError as error:
        if error.errno in WRONG_PLACE:
            message = f"{file} cannot be written: {error.strerror}; make it writable, or choose another --out"
            raise WrongUse(message) from None
        if error.errno not in FULL:
            raise
        message = f"{file}: no space left; nothing written so far is lost: make space and give the same command again"
        raise StorageFull(message) from None


def write_atomic(file: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, finds the whole old content or the whole new one.

    Raises:
        StorageFull, WrongUse: no space, or no permission to write; the old content is unchanged.
    """
    draft = file.with_name(f".{file.name}.draft")
    data = content.encode() if isinstance(content, str) else content
    with storage_errors(file):
        try:
            with draft.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
