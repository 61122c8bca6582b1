"""Caches a processor's work on pictures or sounds for all questions about the same ones."""

from __future__ import annotations

import copy
from typing import Any

from anymal_eval.generation import BoundedCache
from anymal_eval.models._prepared import nbytes

PARTS = ("image_processor", "video_processor", "feature_extractor", "audio_processor")
CACHE_BYTES = 256 << 20  # of preprocessed media


class CachedProcessor:
    """Replaces a media part of a processor, in the processor of one thread.

    Attributes:
        media_key: names the media of the next call; None where they have no name and are not cached.
    """

    def __init__(self, part: Any, cache: BoundedCache[Any]) -> None:
        """``cache`` is shared by the threads."""
        self._part, self._cache = part, cache
        self.media_key: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    def __call__(self, *given: Any, **settings: Any) -> Any:
        """Process, or return the cached result: a copy, because processors take entries out of it."""
        if self.media_key is None:
            return self._part(*given, **settings)
        plain = {name: value for name, value in settings.items() if isinstance(value, str | int | float | None)}
        key = f"{type(self._part).__name__} {self.media_key} {sorted(plain.items())}"
        return copy.copy(self._cache.get(key, lambda: self._part(*given, **settings)))


def preprocessed_cache() -> BoundedCache[Any]:
    """A cache for ``with_cache``."""
    return BoundedCache(CACHE_BYTES, lambda outputs: nbytes(dict(outputs).values()))


def with_cache(processor: Any, cache: BoundedCache[Any]) -> Any:
    """The same processor with its media parts cached."""
    for name in PARTS:
        if getattr(processor, name, None) is not None:
            setattr(processor, name, CachedProcessor(getattr(processor, name), cache))
    return processor


def set_media_key(processor: Any, media_key: str | None) -> None:
    """Name the media of the processor's next call."""
    for name in PARTS:
        part = getattr(processor, name, None)
        if isinstance(part, CachedProcessor):
            part.media_key = media_key
