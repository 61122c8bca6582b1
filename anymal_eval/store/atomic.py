"""Atomic writes, and one-line errors for a full disk or a place that cannot be written."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from anymal_eval.errors import StorageFull, WrongUse

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# The user's choice of a place explains these. Any other error (a broken disk) keeps its traceback.
WRONG_PLACE = (
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EPERM,
    errno.EPIPE,
    errno.EROFS,
    errno.ETXTBSY,
)


@contextlib.contextmanager
def storage_errors(file: Path, option: str = "--out") -> Iterator[None]:
    """Turn an operating system's error about ``file`` into one of ours, whose message says what to do.

    Args:
        file: what is written.
        option: what the user changes to write elsewhere.

    Raises:
        StorageFull: the disk or the quota is full, or the file has reached the size limit of the process.
        WrongUse: the place cannot be written: it is read-only, a folder where a file should be, ...
    """
    try:
        yield
    except OSError as error:
        if error.errno in WRONG_PLACE:
            message = f"{file} cannot be written: {error.strerror}; make it writable, or choose another {option}"
            raise WrongUse(message) from None
        if error.errno not in FULL:
            raise
        reason = "the size limit of a file is reached" if error.errno == errno.EFBIG else "no space left"
        message = f"{file}: {reason}; nothing written so far is lost: make space and give the same command again"
        raise StorageFull(message) from None


def write_user_file(file: Path, content: str) -> None:
    """Write a file that the user names, and its folder; a device, a FIFO or a link stays what it is.

    A regular or new file is written by :func:`write_atomic`. Everything else is opened and written: replacing it would
    put a regular file in its place. A link is followed, so its target is the file that changes.

    Raises:
        StorageFull, WrongUse: no space, no permission, no such device, or the reader of a FIFO has left.
    """
    with storage_errors(file, "file"):
        file.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(file) or stat.S_ISREG(file.lstat().st_mode):
            write_atomic(file, content, "file")
            return
        with file.open("wb", buffering=0) as stream:
            rest = memoryview(content.encode())
            while rest:
                rest = rest[stream.write(rest) :]


def write_atomic(file: Path, content: str | bytes, option: str = "--out") -> None:
    """Write a file so that a reader, or a crash, finds the whole old content or the whole new one.

    Args:
        file: the file.
        content: text is written as UTF-8.
        option: what the user changes to write elsewhere.

    Raises:
        StorageFull, WrongUse: no space, or no permission to write; the old content is unchanged.
    """
    draft = file.with_name(f".{file.name}.draft")
    data = content.encode() if isinstance(content, str) else content
    with storage_errors(file, option):
        try:
            with draft.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
