"""Fingerprints of many examples, remembered by the examples' content: the next run on them does not write them anew."""

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from anymal_eval import fingerprint, recall
from anymal_eval.paths import PACKAGE
from anymal_eval.records import Example

T = TypeVar("T")
MANY = 20_000  # examples; of fewer, a fingerprint takes no time
FOLDER = "fingerprints"
CODE = (PACKAGE, *(PACKAGE / part for part in ("sources", "protocols", "evaluation")))


def digest_of(examples: Sequence[Example]) -> str | None:
    """The SHA-256 of all that examples hold; None for few, whose fingerprints are not remembered."""
    return fingerprint.of_records(examples) if len(examples) >= MANY else None


def remembered(digest: str | None, facts: Mapping[str, Any], compute: Callable[[], T]) -> T:
    """What ``compute`` returns, which is plain data without tuples; it is called where that is not remembered.

    Args:
        digest: of the examples, by :func:`digest_of`; None remembers nothing.
        facts: all else that the result depends on but this package's code, as plain data.
        compute: makes it.
    """
    if digest is None:
        return compute()
    own = {"code": recall.code_of(*CODE), "python": platform.python_version()}
    whole = {"examples": digest, **facts, **own}
    found: T | None = recall.recalled(FOLDER, whole)
    if found is None:
        found = compute()
        recall.remember(FOLDER, whole, found)
    return found
