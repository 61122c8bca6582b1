"""Fills the feature cache ahead of a run: a network's encoders over all media, by the code that a run uses.

Neither the language model nor what was trained is loaded: features depend on the encoders alone.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from anymal_eval.errors import MediaError
from anymal_eval.models._protocols import PLAIN_WORDING
from anymal_eval.models.anymal.media_inputs import Input, Inputs, Tokens, media_key, open_cache
from anymal_eval.models.anymal.options import Options, folder_of
from anymal_eval.protocols import Wording
from anymal_eval.records import Media, Request

AT_ONCE = 16  # media through an encoder
AHEAD = 2 * AT_ONCE  # media decoded and not yet encoded

Shown = tuple[Media, int]  # a medium, and how many frames of it if it is a clip


@dataclass(kw_only=True)
class Filled:
    """How many media there were, of which so many were encoded now, and why others could not be."""

    media: int
    encoded: int = 0
    not_stored: int = 0
    corrupt: int = 0
    failed: tuple[str, ...] = ()

    def add(self, other: Filled) -> None:
        """Count what another has done of the same media."""
        self.encoded += other.encoded
        self.not_stored += other.not_stored
        self.corrupt += other.corrupt
        self.failed += other.failed


def shown(requests: Sequence[Request]) -> list[Shown]:
    """All media of the requests, each once."""
    return list({media_key(media, one.frames): (media, one.frames) for one in requests for media in one.media}.values())


class Filler:
    """A network's encoders and the cache. Close it to end the decoder processes."""

    wording: Wording = PLAIN_WORDING

    def __init__(self, options: Options) -> None:
        """Load the encoders.

        Raises:
            BadCheckpoint: it is not whole, or an encoder is not the one that it was trained with.
        """
        from anymal_eval.anymal import checkpoint
        from anymal_eval.checkpoints.loading import loading_of
        from anymal_eval.models._media import media_reader

        self._network = checkpoint.load_encoders(folder_of(options), loading_of(options))
        self._reader = media_reader(options.media_timeout)
        self._cache = open_cache(options.features)
        self._inputs = Inputs(self._network, self._reader, self._cache)
        self._tokens = Tokens(self._network, self._cache)

    def fill(self, media: Sequence[Shown], threads: int, advance: Callable[[int], None]) -> Filled:
        """Encode what the cache lacks.

        Args:
            media: what ``shown`` found.
            threads: how many media are decoded at once.
            advance: told how many more media are done.
        """
        filled = Filled(media=len(media))
        before = self._counts()
        failed: list[str] = []
        with ThreadPoolExecutor(threads) as pool:
            ready = self._ready(pool, media, failed)
            while batch := list(itertools.islice(ready, AT_ONCE)):
                told = len(failed)
                filled.encoded += self._encode(batch)
                advance(len(batch) + len(failed) - told)
        filled.not_stored, filled.corrupt = (now - then for now, then in zip(self._counts(), before, strict=True))
        filled.failed = tuple(failed)
        return filled

    def _counts(self) -> tuple[int, int]:
        """Entries that were not stored and that were corrupt, so far."""
        counts = self._cache.counts if self._cache is not None else None
        return (counts.not_stored, len(counts.corrupt)) if counts is not None else (0, 0)

    def _ready(self, pool: ThreadPoolExecutor, media: Sequence[Shown], failed: list[str]) -> Iterator[Input]:
        left = iter(media)
        running: deque[Future[Input]] = deque()
        while True:
            running += [pool.submit(self._inputs.one, *each) for each in itertools.islice(left, AHEAD - len(running))]
            if not running:
                return
            try:
                found = running.popleft().result()
            except MediaError as error:
                failed.append(str(error))
                continue
            yield found

    def _encode(self, batch: Sequence[Input]) -> int:
        lacking = [item for item in batch if not item.encoded]
        for kind in sorted({item.kind for item in lacking}):
            self._tokens.features(kind, [item for item in lacking if item.kind == kind])
        return len(lacking)

    def close(self) -> None:
        """End the decoder processes."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
