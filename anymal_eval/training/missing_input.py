"""How the processes of a training agree that one of them has no input for the next step.

Each says how many targets it has, which all of them sum up anyway; a negative number stands for none to be had. Then
each learns why from the others: a launcher that sees one process end may kill the one that knows before it says so.
"""

from collections.abc import Sequence

from anymal_eval.errors import IncompleteRun
from anymal_eval.training.stop_signal import SignalCame

NO_INPUT = -1
SIGNAL = "a signal came"


def reason(failure: BaseException | None) -> str:
    """What a process sends the others; empty where it has input."""
    if failure is None:
        return ""
    return SIGNAL if isinstance(failure, SignalCame) else str(failure) or type(failure).__name__


def raised_elsewhere(reasons: Sequence[str]) -> BaseException:
    """What a process raises that has input itself, from what every process sent.

    >>> raised_elsewhere(["", "9.tar: there is no such file"])
    IncompleteRun('process 1 of the training has no input for its next step: 9.tar: there is no such file')
    """
    if SIGNAL in reasons:
        return SignalCame()
    process, why = next((process, why) for process, why in enumerate(reasons) if why)
    return IncompleteRun(f"process {process} of the training has no input for its next step: {why}")
