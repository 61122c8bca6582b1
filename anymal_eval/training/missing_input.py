"""How the processes of a training agree that one of them has no input for the next step.

Each says how many targets it has, which all of them sum up anyway; a negative number stands for what went wrong.
"""

from anymal_eval.errors import IncompleteRun
from anymal_eval.training.stop_signal import SignalCame

_FAILED, _SIGNAL = -1, -2


def code_of(failure: BaseException) -> int:
    """What a process says in place of its number of targets."""
    return _SIGNAL if isinstance(failure, SignalCame) else _FAILED


def raised_elsewhere(code: int) -> BaseException:
    """What the other processes raise.

    >>> raised_elsewhere(-1)
    IncompleteRun('another process of the training has no input for its next step; its message says why')
    """
    if code == _SIGNAL:
        return SignalCame()
    return IncompleteRun("another process of the training has no input for its next step; its message says why")
