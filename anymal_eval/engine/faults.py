"""What an exception during one request means: the failure of that request, or the end of the run.

A wrapper calls libraries that were never tried on all data. One example on which a library fails is one error row,
which names the exception and where it was raised; it is not scored, and ``--max-errors`` counts it. A device that is
broken fails every request after it, so that ends the run, and so does a model that answers nothing at all.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from anymal_eval.errors import AnyMALEvalError, BadData, IncompleteRun, OutOfMemory, RequestFailed, UnexpectedError

MOST = 300  # characters of an exception's text


def failure_of(error: BaseException) -> RequestFailed:
    """The failure of the request during which an exception was raised.

    Raises:
        BaseException: the exception itself, where it is no matter of one request: an interruption, wrong use, a full
            disk.
        IncompleteRun: the device is broken.
    """
    if isinstance(error, RequestFailed):
        return error
    if isinstance(error, BadData):
        return RequestFailed(str(error))
    if isinstance(error, MemoryError):
        return OutOfMemory(f"out of memory: {_described(error)}")
    if isinstance(error, AnyMALEvalError) or not (isinstance(error, Exception) or _is_rust_panic(error)):
        raise error
    if _breaks_the_device(error):
        raise IncompleteRun(
            f"the device is broken after {_described(error)}; what was answered is written, and the same command in a "
            "new process resumes"
        ) from error
    return UnexpectedError(_described(error))


def _described(error: BaseException) -> str:
    """The exception's class, its text on one line, and the file and line that raised it."""
    text = " ".join(str(error).split())[:MOST]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"


def _is_rust_panic(error: BaseException) -> bool:
    # The tokenizers library reports a bug in itself so; it is no Exception.
    return type(error).__name__ == "PanicException"


def _breaks_the_device(error: BaseException) -> bool:
    # After an assertion on the device, every later call of CUDA fails with the same error.
    return type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error)
