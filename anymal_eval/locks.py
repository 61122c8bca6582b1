"""Locks on files and output folders, files and folders that are replaced as a whole, and folders for a moment.

A lock is an flock on a file that is deleted when the lock is released. The operating system releases it when a process
dies; the file stays, and the next process that takes the lock deletes it. On file systems without flock, a lease of
``leases.py`` takes its place. What is written beside a folder until it is complete lies in one hidden folder,
``.NAME.anymal-eval``, which the next command that writes the folder deletes too.
"""

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from anymal_eval.errors import OtherRun, WrongUse
from anymal_eval.leases import NO_FLOCK, Holder, Lease, take

_LOG = logging.getLogger(__name__)
_LOCK, _NEW, _OLD = "lock", "new", "old"
_POLL_S = 0.05
_MESSAGE_AFTER_S = 2.0  # of waiting
_ABANDONED_S = 3600.0  # a temporary folder without a lock, of an earlier version
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_AT_FDCWD = -100
_LEASES: dict[int, Lease] = {}  # of the handles of this process that hold one in place of an flock


class Lock:
    """A lock that is held."""

    def __init__(self, file: Path, handle: int) -> None:
        """Made by :func:`hold`."""
        self.file, self._handle = file, handle

    def require(self) -> None:
        """Ensure that the folder of the lock was not deleted while this process writes to it.

        Raises:
            WrongUse: the folder, or the lock in it, was deleted or replaced.
        """
        if not _is_open(self.file, self._handle):
            raise WrongUse(deleted(self.file.parent))


def deleted(folder: Path) -> str:
    """The message that a folder was deleted while a command was writing to it."""
    return f"{folder} was deleted or replaced while this command was writing to it; give the command again"


@contextlib.contextmanager
def hold(file: Path, busy: str = "") -> Iterator[Lock]:
    """Hold the lock of a file, which is made, and deleted at the end.

    Args:
        file: its folder exists.
        busy: the error where another process holds the lock; by default this process waits for it.

    Raises:
        OtherRun: another process holds it, and ``busy`` says so.
        OSError: the file cannot be made.
    """
    handle = _locked(file, busy)
    try:
        yield Lock(file, handle)
    finally:
        _release(file, handle)


def replace_file(file: Path, content: bytes) -> None:
    """Replace a file so that a reader, or a crash, finds the whole old content or the whole new one.

    The draft is ``.NAME.draft`` beside it. Processes that write the same file wait for each other; a draft that a kill
    left is written anew.

    Raises:
        OSError: the file cannot be written; the old content is unchanged.
    """
    draft = file.with_name(f".{file.name}.draft")
    handle = _locked(draft)
    try:
        os.ftruncate(handle, 0)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
        draft.replace(file)
    except BaseException:
        _unlink(draft, handle)
        raise
    finally:
        _close(handle)


def is_working(folder: Path) -> bool:
    """Whether a process writes an output folder, or was killed while it did."""
    return os.path.lexists(folder.with_name(f".{folder.name}.anymal-eval"))


@contextlib.contextmanager
def exclusive(file: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file, where its folder can be written and the file system has locks; the file stays.

    Args:
        file: the lock.
        wait: for another process that holds it; else what is yielded says whether it is free.
    """
    with contextlib.ExitStack() as stack:
        is_free = True
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            stack.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                is_free = False
        yield is_free


@contextlib.contextmanager
def working(folder: Path) -> Iterator[Path]:
    """Hold the lock of an output folder, and an empty hidden folder beside it for what is not complete.

    What a process that was killed left there is deleted first; a folder that it had moved away is put back.

    Raises:
        OtherRun: the hidden folder holds other files.
        OSError: it cannot be made.
    """
    folder = Path(os.path.realpath(folder))
    if not folder.name:
        raise WrongUse(f"{folder} cannot be replaced; choose another folder")
    work = folder.with_name(f".{folder.name}.anymal-eval")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _hold_inside(work):
            _require_known(work, (_LOCK, f"{_LOCK}.lease", _NEW, _OLD))
            if (work / _OLD).exists() and not os.path.lexists(folder):
                (work / _OLD).rename(folder)
            _empty(work)
            try:
                yield work
            finally:
                _empty(work)
    finally:
        with contextlib.suppress(OSError):  # another process waits for the lock in it, or it was deleted
            work.rmdir()


@contextlib.contextmanager
def replacing(folder: Path, require_ours: Callable[[Path], None]) -> Iterator[Path]:
    """A new folder to fill, which takes the place of ``folder`` when the block ends without an error.

    A process that is killed leaves the old folder or the new one, both whole. Others that write the folder wait.

    Args:
        folder: where a link leads, if it is one.
        require_ours: raises where the folder holds what must not be replaced.

    Raises:
        OtherRun: the hidden folder beside it holds other files.
        OSError: there is no space, or no permission; the old folder is unchanged.
    """
    folder = Path(os.path.realpath(folder))
    with working(folder) as work:
        require_ours(folder)
        new = work / _NEW
        new.mkdir()
        yield new
        require_ours(folder)
        if not new.is_dir():
            raise WrongUse(deleted(new))
        if not os.path.lexists(folder):
            new.rename(folder)
        elif not _exchange(new, folder):
            folder.rename(work / _OLD)
            new.rename(folder)


@contextlib.contextmanager
def temporary(prefix: str) -> Iterator[Path]:
    """A temporary folder; those of that prefix whose process died are deleted first."""
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            _delete_abandoned(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with hold(folder / _LOCK):  # a process that looks for abandoned folders may hold it for a moment
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _locked(file: Path, busy: str = "") -> int:
    start, waited = time.monotonic(), False
    while True:
        # Neither truncated nor followed: the name may be a link that someone else made.
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            holder = _flocked(file, handle)
            if holder is None and _is_open(file, handle):
                return handle
            _close(handle)
            if holder is None:
                continue  # the process before deleted it
        except BaseException:
            _close(handle)
            raise
        if busy:
            raise OtherRun(f"{busy} ({holder})" if holder else busy)
        if not waited and time.monotonic() - start > _MESSAGE_AFTER_S:
            waited = True
            _LOG.warning("%s: waiting for another process that is writing there", file.parent)
        time.sleep(_POLL_S)


def _flocked(file: Path, handle: int) -> str | None:
    """None where the lock is held now; else who holds it, as far as known."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ""
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        lease = take(file, handle)
        if isinstance(lease, Holder):
            return str(lease)
        _LEASES[handle] = lease
    return None


def _close(handle: int) -> None:
    """Release a lock; an flock ends with its handle."""
    if lease := _LEASES.pop(handle, None):
        lease.release()
    os.close(handle)


def _release(file: Path, handle: int) -> None:
    try:
        _unlink(file, handle)
    finally:
        _close(handle)


def _unlink(file: Path, handle: int) -> None:
    with contextlib.suppress(OSError):
        if _is_open(file, handle):
            file.unlink()


def _is_open(file: Path, handle: int) -> bool:
    """Whether the handle is of the file that has that name now."""
    try:
        return os.path.samestat(file.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _hold_inside(work: Path) -> Iterator[None]:
    while True:
        if work.is_symlink():
            raise OtherRun(f"{work} is a symbolic link; move it away")
        work.mkdir(exist_ok=True)
        try:
            handle = _locked(work / _LOCK)
            break
        except FileNotFoundError:
            continue  # the process before deleted the folder between the two lines
    try:
        yield
    finally:
        _release(work / _LOCK, handle)


def _require_known(work: Path, names: tuple[str, ...]) -> None:
    foreign = sorted(path for path in work.iterdir() if path.name not in names)
    if foreign:
        raise OtherRun(f"{foreign[0]} is no file of anymal-eval: {work} is left as it is; move it away")


def _empty(work: Path) -> None:
    for name in (_NEW, _OLD):
        delete(work / name)


def delete(path: Path) -> None:
    """Delete a folder with all that is in it, or a file, or a link; nothing may be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _exchange(one: Path, other: Path) -> bool:
    """Give each of two folders the other's name in one step, where the operating system can."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _delete_abandoned(folder: Path) -> None:
    found = folder.lstat()
    if folder.is_symlink() or not folder.is_dir() or found.st_uid != os.getuid():
        return
    lock = folder / _LOCK
    if not lock.is_file():
        if time.time() - found.st_mtime > _ABANDONED_S:
            shutil.rmtree(folder)
        return
    handle = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if _flocked(lock, handle) is None:  # else its process is alive
            shutil.rmtree(folder)
    finally:
        _close(handle)
