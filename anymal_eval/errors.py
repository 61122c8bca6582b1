"""Every expected error, as one tree. Anything outside the tree is a bug of this package.

    AnyMALEvalError               exit code   what it means
    |-- WrongUse                  1           an option, a name or a combination that is invalid
    |   |-- NotInCatalog          1           no task, model, metric or protocol has that name
    |   |-- BadDefinition         1           a file of the user's (task, model, TOML) is invalid
    |   |-- BadData               1           a data file is truncated, of another layout or inconsistent
    |   |-- MissingData           1           files are missing; the message says which go where
    |   |-- BadCheckpoint         1           a checkpoint is not for this network, or incomplete
    |   |-- OtherRun              1           a run folder holds another run than the command names
    |   |-- FileUnusable          1           the operating system refuses a file or a folder
    |   `-- NeedsExtra            1           an optional package or program is not installed
    |       `-- NeedsJava         1           no Java runtime
    |-- IncompleteRun             2           the run has errors or lacks answers; the same command resumes it
    |   `-- StorageFull           2           the disk is full; everything written before is intact
    |-- ScoreRegression           3           ``check`` found a regression
    |-- CannotTell                4           ``check`` has too little data to decide
    `-- RequestFailed             2           one request failed: it becomes a Failure, and the run continues
        |-- MediaError            2           its image, audio, video or IMU recording cannot be read
        |   |-- MediaTimeout      2           a decoder did not finish in time
        |   `-- MediaTruncated    2           it holds less than it declares, or than the request needs
        |-- ContextTooLong        2           its prompt exceeds the model's context
        |-- BadLogits             2           the network returned NaN or infinity
        |-- OutOfMemory           2           a batch did not fit into memory; the engine splits it
        |-- UnexpectedError       2           a library raised an error of its own on it
        |-- ServerFailed          2           a model server returned no answer, or no valid one
        `-- Refused               2           a served model, or a filter before it, declined to answer

The message is one line that names the file, the row and what to do. ``cli.main`` prints it and exits with
``exit_code``; any other exception keeps its traceback and exits with 70.
"""

import errno
import os
from collections.abc import Sequence

# The disk, the quota, or the largest file that the process may write.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REMEDIES = {
    errno.EACCES: "give this user the permission, or name another place",
    errno.EIO: "the disk or its network failed: copy the file elsewhere, or try again",
    errno.ELOOP: "a symbolic link leads to itself: repair it",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "it was moved or deleted",
    errno.EPERM: "give this user the permission, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.ESTALE: "the network file system lost it: try again",
}


class AnyMALEvalError(Exception):
    """The root of the tree above."""

    exit_code = 1


class WrongUse(AnyMALEvalError):
    """An option, a name or a combination of options is invalid."""


class NotInCatalog(WrongUse):
    """No task, model, metric or protocol has that name."""


class BadDefinition(WrongUse):
    """A task, model, metric, protocol or policy file is invalid."""


class BadData(WrongUse):
    """A data file is truncated, of another layout, or inconsistent."""


class MissingData(WrongUse):
    """A data file is missing."""


class BadCheckpoint(WrongUse):
    """A checkpoint is not for this network, or incomplete."""


class OtherRun(WrongUse):
    """A run folder holds another run than the command names."""


class FileUnusable(WrongUse):
    """The operating system refuses a file or a folder: no permission, a broken disk, too long a name, ..."""


class NeedsExtra(WrongUse):
    """An optional package or program is not installed."""


class NeedsJava(NeedsExtra):
    """No Java runtime is on the PATH."""


class IncompleteRun(AnyMALEvalError):
    """The run has errors or lacks answers."""

    exit_code = 2


class StorageFull(IncompleteRun):
    """The disk is full; everything written before is intact."""


class ScoreRegression(AnyMALEvalError):
    """A run is worse than its baseline."""

    exit_code = 3


class CannotTell(AnyMALEvalError):
    """There is too little data to decide whether a run is worse."""

    exit_code = 4


class RequestFailed(AnyMALEvalError):
    """One request failed. The engine records a ``Failure`` and continues."""

    exit_code = 2
    kind = "model"


class MediaError(RequestFailed):
    """An image, audio, video or IMU recording cannot be read."""

    kind = "media"


class MediaTimeout(MediaError):
    """A decoder did not finish in time."""

    kind = "timeout"


class MediaTruncated(MediaError):
    """A medium holds less than it declares, or ends long before the part that the request needs."""

    kind = "truncated"


class ContextTooLong(RequestFailed):
    """A prompt exceeds the model's context."""

    kind = "context"


class BadLogits(RequestFailed):
    """The network returned NaN or infinity."""

    kind = "logits"


class OutOfMemory(RequestFailed):
    """A batch did not fit into the device's memory. The engine splits it."""

    kind = "memory"


class UnexpectedError(RequestFailed):
    """A library raised an error of its own on one request; the message names it and the line of code."""

    kind = "unexpected"


class ServerFailed(RequestFailed):
    """A model server returned no answer, or no valid one."""

    kind = "server"


class Refused(RequestFailed):
    """A served model, or a filter before it, declined to answer."""

    kind = "refused"


def listed(names: Sequence[str], shown: int = 5, between: str = ", ") -> str:
    """The first few of many names, and the number of the rest, for a message.

    >>> listed(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    >>> listed(["a", "b", "c"], shown=2, between="; ")
    'a; b and 1 more'
    """
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return between.join(names[:shown]) + more


def reason(error: BaseException) -> str:
    """What the operating system or a library says about a file, on one line without the file's name.

    >>> reason(PermissionError(13, "Permission denied", "weights.bin"))
    'Permission denied'
    >>> reason(OSError("No such model: is it there?"))
    'No such model: is it there?'
    >>> reason(MemoryError())
    'MemoryError'
    """
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def shown_path(path: object) -> str:
    r"""A path for a message, escaped where it cannot be printed.

    >>> print(shown_path("data/a.json"), shown_path("data/\x1b[2J"))
    data/a.json 'data/\x1b[2J'
    """
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else f"file descriptor {path}"
    return text if text.isprintable() else repr(text)


def system_error(error: OSError, file: object = None) -> AnyMALEvalError:
    """One of our errors for one of the operating system's. Every command ends with it where nothing else handled one.

    Args:
        error: as it was raised.
        file: named where the error itself names no file.

    >>> str(system_error(PermissionError(13, "Permission denied", "weights.bin")))
    'weights.bin: Permission denied; give this user the permission, or name another place'
    """
    named = error.filename if error.filename is not None else file
    where = "" if named is None else f"{shown_path(named)}: "
    if error.errno in FULL:
        full = "the size limit of a file is reached" if error.errno == errno.EFBIG else "no space left"
        return StorageFull(f"{where}{full}; nothing written so far is lost: make space and give the same command again")
    remedy = _REMEDIES.get(error.errno or 0)
    return FileUnusable(f"{where}{reason(error)}" + (f"; {remedy}" if remedy else ""))
