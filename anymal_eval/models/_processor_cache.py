"""A processor's part for pictures or sounds that works once for all questions about the same ones."""

from __future__ import annotations

import copy
from typing import Any

from anymal_eval.generation.bounded_cache import BoundedCache

PARTS = ("image_processor", "feature_extractor")
KEPT_BYTES = 256 << 20  # of preprocessed media that wait for their next question


class CachedProcessor:
    """Stands where the part stood, in the processor of one thread.

    Attributes:
        about: what is processed next, by name; None where it has none and is to be processed in any case.
    """

    def __init__(self, inner: Any, kept: BoundedCache[Any]) -> None:
        """``kept``: what the threads share."""
        self._inner, self._kept = inner, kept
        self.about: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, *given: Any, **settings: Any) -> Any:
        """Process, or give what was made before; a copy, because processors take entries out of it."""
        if self.about is None:
            return self._inner(*given, **settings)
        plain = {name: value for name, value in settings.items() if isinstance(value, str | int | float | None)}
        key = f"{type(self._inner).__name__} {self.about} {sorted(plain.items())}"
        return copy.copy(self._kept.get(key, lambda: self._inner(*given, **settings)))


def preprocessed() -> BoundedCache[Any]:
    """What the threads share."""
    return BoundedCache(KEPT_BYTES, lambda made: sum(getattr(value, "nbytes", 0) for value in dict(made).values()))


def with_cache(processor: Any, kept: BoundedCache[Any]) -> Any:
    """The same processor, whose parts for media work once."""
    for name in PARTS:
        if getattr(processor, name, None) is not None:
            setattr(processor, name, CachedProcessor(getattr(processor, name), kept))
    return processor


def set_media_key(processor: Any, about: str | None) -> None:
    """Say which media its next call is about."""
    for name in PARTS:
        part = getattr(processor, name, None)
        if isinstance(part, CachedProcessor):
            part.about = about
