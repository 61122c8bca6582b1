"""Every error that is the world's and not ours, as one tree.

    AnyMALEvalError               exit code   what it means
    |-- WrongUse                  1           an option, a name or a combination that cannot be
    |   |-- NotInCatalog          1           no task, model, metric or protocol has that name
    |   |-- BadDefinition         1           a file of the user's (task, model, TOML) is not what it must be
    |   |-- BadData               1           a data file is truncated, of another layout or contradicts itself
    |   |-- MissingData           1           files that are not there; says which go where
    |   |-- BadCheckpoint         1           a checkpoint that is not for this network, or not whole
    |   |-- OtherRun              1           a run folder that holds something else than was asked for
    |   `-- NeedsExtra            1           an optional package or program is not installed
    |       `-- NeedsJava         1           no Java runtime
    |-- IncompleteRun             2           the run has errors or lacks answers; ask again to go on
    |   `-- StorageFull           2           nothing more can be written; what was written is whole
    |-- ScoreRegression           3           ``check`` found something worse
    |-- CannotTell                4           ``check`` has too little to decide
    `-- RequestFailed             2           one request cannot be answered: becomes a Failure, the run goes on
        |-- MediaError            2           its picture, sound, clip or motion cannot be read
        |-- MediaTimeout          2           a decoder that did not come back
        |-- ContextTooLong        2           its prompt does not fit the model's context
        |-- BadLogits             2           the network gave NaN or infinity
        |-- OutOfMemory           2           one batch did not fit; the engine splits it
        |-- ServerFailed          2           a model server did not answer it, or not with an answer
        `-- Refused               2           a served model, or a filter before it, declined to answer

The message is one line that names the file, the row and what to do. ``cli.main`` prints it and exits
with ``exit_code``; anything outside this tree is a fault of ours and keeps its traceback (70).
"""

from collections.abc import Sequence


class AnyMALEvalError(Exception):
    """The root of the tree above."""

    exit_code = 1


class WrongUse(AnyMALEvalError):
    """An option, a name or a combination of them that cannot be."""


class NotInCatalog(WrongUse):
    """No task, model, metric or protocol has that name."""


class BadDefinition(WrongUse):
    """A task, model, metric, protocol or policy file is not what it must be."""


class BadData(WrongUse):
    """A data file is truncated, of another layout, or contradicts itself."""


class MissingData(WrongUse):
    """A data file is not there."""


class BadCheckpoint(WrongUse):
    """A checkpoint is not for this network, or not whole."""


class OtherRun(WrongUse):
    """A run folder holds something else than was asked for."""


class NeedsExtra(WrongUse):
    """An optional package or program is not installed."""


class NeedsJava(NeedsExtra):
    """No Java runtime is on the PATH."""


class IncompleteRun(AnyMALEvalError):
    """The run has errors or lacks answers."""

    exit_code = 2


class StorageFull(IncompleteRun):
    """Nothing more can be written; everything written before is whole."""


class ScoreRegression(AnyMALEvalError):
    """A run is worse than the one it was compared with."""

    exit_code = 3


class CannotTell(AnyMALEvalError):
    """There is too little data to decide."""

    exit_code = 4


class RequestFailed(AnyMALEvalError):
    """One request cannot be answered. The engine records a ``Failure`` and goes on."""

    exit_code = 2
    kind = "model"


class MediaError(RequestFailed):
    """A picture, sound, clip or motion cannot be read."""

    kind = "media"


class MediaTimeout(MediaError):
    """A decoder did not come back in time."""

    kind = "timeout"


class ContextTooLong(RequestFailed):
    """A prompt does not fit the model's context."""

    kind = "context"


class BadLogits(RequestFailed):
    """The network gave NaN or infinity where numbers were due."""

    kind = "logits"


class OutOfMemory(RequestFailed):
    """A batch did not fit into the device's memory. The engine splits it."""

    kind = "memory"


class ServerFailed(RequestFailed):
    """A model server did not answer a request, or sent something that is no answer."""

    kind = "server"


class Refused(RequestFailed):
    """A served model, or a filter before it, declined to answer."""

    kind = "refused"


def listed(names: Sequence[str], shown: int = 5, between: str = ", ") -> str:
    """The first few of many names, and how many more there are, for a message.

    >>> listed(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    >>> listed(["a", "b", "c"], shown=2, between="; ")
    'a; b and 1 more'
    """
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return between.join(names[:shown]) + more
