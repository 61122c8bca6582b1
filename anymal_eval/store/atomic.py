"""Atomic writes, and one-line errors for a full disk or a place that cannot be written."""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from anymal_eval.errors import FULL, FileUnusable, reason, shown_path, system_error
from anymal_eval.locks import replace_file, working


@contextlib.contextmanager
def storage_errors(file: Path, option: str = "--out") -> Iterator[None]:
    """Turn an operating system's error about ``file`` into one of ours, whose message says what to do.

    Args:
        file: what is written.
        option: what the user changes to write elsewhere.

    Raises:
        StorageFull: the disk or the quota is full, or the file has reached the size limit of the process.
        FileUnusable: the place cannot be written: it is read-only, a folder where a file should be, ...
    """
    try:
        yield
    except OSError as error:
        # A draft beside the file, and a folder above it, are not the user's names for it.
        if error.filename is None or file.is_relative_to(Path(os.fsdecode(error.filename)).parent):
            error.filename = str(file)
        if error.errno in FULL:
            raise system_error(error) from None
        place = shown_path(error.filename)
        message = f"{place} cannot be written: {reason(error)}; make it writable, or choose another {option}"
        raise FileUnusable(message) from None


def write_user_file(file: Path, content: str) -> None:
    """Write a file that the user names, and its folder; a device, a FIFO or a link stays what it is.

    A regular or new file is written by :func:`write_atomic`. Everything else is opened and written: replacing it would
    put a regular file in its place. A link is followed, so its target is the file that changes.

    Raises:
        StorageFull, FileUnusable: no space, no permission, no such device, or the reader of a FIFO has left.
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
        StorageFull, FileUnusable: no space, or no permission to write; the old content is unchanged.
    """
    with storage_errors(file, option):
        replace_file(file, content.encode() if isinstance(content, str) else content)


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> list[Path]:
    """Write several files into a folder that may hold others; all are written before the first takes its place.

    Args:
        folder: the folder.
        files: path below the folder -> content.

    Returns:
        The files.

    Raises:
        StorageFull, WrongUse: no space, or no permission to write; no file has changed.
    """
    with storage_errors(folder), working(folder) as work:
        drafts = [work / "new" / str(number) for number in range(len(files))]
        (work / "new").mkdir()
        for draft, content in zip(drafts, files.values(), strict=True):
            replace_file(draft, content.encode() if isinstance(content, str) else content)
        for draft, name in zip(drafts, files, strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            draft.replace(folder / name)
    return [folder / name for name in files]


def delete_drafts(folder: Path, names: Iterable[str]) -> None:
    """Delete what :func:`write_atomic` leaves of these files of a folder when it is killed."""
    for name in names:
        draft = folder / f".{name}.draft"
        if draft.is_file() and not draft.is_symlink():
            with storage_errors(folder):
                draft.unlink()
