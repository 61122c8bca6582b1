"""When a request is repeated: back-off with jitter, the server's Retry-After, and a budget for the whole run."""

import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_BACK_OFF_S = 30.0
LONGEST_WAIT_S = 60.0  # whatever a server's Retry-After wants
NONSENSE_S = 86_400.0  # a Retry-After beyond a day is ignored


def back_off(failures: int) -> float:
    """Seconds before the next try: anything up to 0.5, 1, 2 ... 30, so that requests are not repeated all at once.

    Args:
        failures: how many tries have failed, from 1.
    """
    return random.uniform(0.0, min(LONGEST_BACK_OFF_S, 0.5 * 2.0 ** min(failures - 1, 10)))  # noqa: S311  # no secret


def retry_after(header: str) -> float:
    """Seconds to wait, from a number or a date; 0 if it is neither, or in the past.

    >>> retry_after("2.5"), retry_after("-1"), retry_after("nan"), retry_after("soon")
    (2.5, 0.0, 0.0, 0.0)
    """
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        then = parsedate_to_datetime(header)
        return max(0.0, (then.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        # A date such as "Wed, 01 Jan 0001 00:00:00 -2300" has no time in UTC.
        return 0.0


def wait_s(failures: int, after_s: float) -> float:
    """Seconds before the next try of a request that failed so often, where the server wants ``after_s``.

    >>> wait_s(1, 1e9) <= 0.5, 60.0 <= wait_s(1, 600.0) <= 60.5
    (True, True)
    """
    return back_off(failures) + (min(after_s, LONGEST_WAIT_S) if after_s <= NONSENSE_S else 0.0)


class RetryBudget:
    """Seconds that a run may spend on failed tries and the waits after them, averaged over the requests in flight."""

    def __init__(self, seconds: float, in_flight: int) -> None:
        """``in_flight``: how many requests share the time."""
        self._seconds, self._in_flight = seconds, in_flight
        self._spent = 0.0
        self._tries = 0

    def take(self, since: float, wait: float) -> bool:
        """Take the time of a failed try and of the wait for the next one.

        Args:
            since: when the failed try began, by ``time.monotonic``.
            wait: seconds until the next try.

        Returns:
            Whether the budget holds so much; if not, the request is not repeated.
        """
        cost = (time.monotonic() - since + wait) / self._in_flight
        if self._spent + cost > self._seconds:
            return False
        self._spent += cost
        self._tries += 1
        return True

    @property
    def spent(self) -> str:
        """Why nothing is repeated any more."""
        return f"the run's retry budget of {self._seconds:g} s is spent; -o retry_budget=SECONDS"

    @property
    def summary(self) -> str:
        """What was repeated; empty where nothing was."""
        if not self._tries:
            return ""
        return (
            f"{self._tries} further tries took {self._spent:.1f} s of the run's retry budget of {self._seconds:g} s "
            "(-o retry_budget=SECONDS)"
        )
