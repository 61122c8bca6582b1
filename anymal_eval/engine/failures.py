"""Failures of single requests: as responses, and how many of them a run may have."""

from collections.abc import Sequence

from anymal_eval.engine import EngineSettings
from anymal_eval.errors import IncompleteRun, RequestFailed, UnexpectedError
from anymal_eval.records import Failure, Response


class ErrorCount:
    """Counts failures and stops a run that has too many."""

    def __init__(self, settings: EngineSettings) -> None:
        """``settings``: the failures allowed, and the unexpected ones before the first answer."""
        self._most, self._count = settings.max_errors, 0
        self._give_up_after, self._unexpected, self._answered = settings.give_up_after, 0, False

    def add(self, responses: Sequence[Response]) -> None:
        """Count the failures among responses that are written.

        Raises:
            IncompleteRun: there are more failures than allowed.
        """
        failures = [response.failure for response in responses if response.failure is not None]
        self._count += len(failures)
        self._answered |= len(failures) < len(responses)
        unexpected = [failure for failure in failures if failure.kind == UnexpectedError.kind]
        self._unexpected += len(unexpected)
        never = self._give_up_after is not None and self._unexpected >= self._give_up_after
        if unexpected and never and not self._answered:
            raise IncompleteRun(
                f"stopped: no request was answered, and {self._unexpected} ended in unexpected errors; the last one: "
                f"{unexpected[-1].message}"
            )
        if self._most is not None and failures and self._count > self._most:
            raise IncompleteRun(
                f"stopped: {self._count} errors are more than --max-errors allows; the last one: {failures[-1].message}"
            )


def failure_record(error: RequestFailed) -> Failure:
    """An error as it stands in a response."""
    return Failure(kind=error.kind, message=str(error))
