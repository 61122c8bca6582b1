"""Files of a folder that users and machines share: written beside, then renamed into place.

A draft has the mode that the user's umask gives, and is locked while it is written: a draft without a lock is of a
process that died. Where a file system has no locks, a draft is given up after an hour on the file system's own clock,
because the clocks of two machines differ. A writer whose draft was deleted nevertheless writes it again.
"""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

NAME = re.compile(r"([0-9a-f]{64}\.|tmp)\w{8}\.draft")  # an earlier version wrote tmp in place of the file's stem
_ABANDONED_S = 3600.0
_NEW_S = 60.0  # a writer on a machine whose locks are its own may be at work for so long
_TRIES = 3


def write(file: Path, content: bytes | Callable[[BinaryIO], None]) -> None:
    """Write a file at once, and delete what dead writers of it left.

    Args:
        file: the file.
        content: its bytes, or what writes them; the file is then synced too.

    Raises:
        OSError: it cannot be written; the old content is unchanged.
    """
    file.parent.mkdir(exist_ok=True)
    for last in (False,) * (_TRIES - 1) + (True,):
        try:
            _write(file, content)
            break
        except FileNotFoundError:  # the draft, or its folder, was deleted meanwhile
            if last:
                raise
            file.parent.mkdir(exist_ok=True)
    _delete([each for each in file.parent.glob(f"{file.stem}.*.draft") if NAME.fullmatch(each.name)])


def delete_abandoned(drafts: Iterable[Path]) -> None:
    """Delete drafts whose writers died."""
    found = list(drafts)
    if not found:
        return
    try:
        now = _clock(found[0].parent)
    except OSError:  # a folder that cannot be written
        return
    ages = {}
    for draft in found:
        with contextlib.suppress(OSError):
            ages[draft] = now - draft.stat().st_mtime
    _delete(
        [draft for draft, age in ages.items() if age > _NEW_S], {d for d, age in ages.items() if age > _ABANDONED_S}
    )


def _write(file: Path, content: bytes | Callable[[BinaryIO], None]) -> None:
    draft = file.with_name(f"{file.stem}.{secrets.token_hex(4)}.draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as out:
            with contextlib.suppress(OSError):
                fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if isinstance(content, bytes):
                # No fsync: an entry that a power cut leaves behind fails its checksum and is computed again.
                out.write(content)
                out.flush()
            else:
                content(out)
                out.flush()
                os.fsync(out.fileno())
            os.replace(draft, file)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def _delete(drafts: Iterable[Path], old: Iterable[Path] = ()) -> None:
    """Delete drafts that nobody has locked; where there are no locks, those that are old."""
    for draft in drafts:
        with contextlib.suppress(OSError), draft.open("rb") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError:
                if draft not in old:
                    continue
            draft.unlink()


def _clock(folder: Path) -> float:
    """The file system's time, in seconds: that of a file made now."""
    probe = folder / f".{secrets.token_hex(8)}.clock"
    try:
        handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            return os.fstat(handle).st_mtime
        finally:
            os.close(handle)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
