"""Fills the feature cache before a run: a network's encoders over all media, with the code that a run uses.

Features depend on the encoders alone: language model, projectors and adapters are not loaded.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from anymal_eval.errors import MediaError
from anymal_eval.models._prepared import media_key, media_reader
from anymal_eval.models._protocols import PLAIN_WORDING
from anymal_eval.models.anymal.media_inputs import MediaInput, MediaInputs, ModalityTokens, open_cache
from anymal_eval.models.anymal.options import Options, folder_of
from anymal_eval.protocols import Wording
from anymal_eval.records import Media, Request

BATCH = 16  # media encoded at once
AHEAD = 2 * BATCH  # media decoded and not yet encoded

MediaRequest = tuple[Media, int]  # a medium and, for a clip, its number of frames


@dataclass(kw_only=True)
class Filled:
    """Counts of media.

    Attributes:
        media: all of them.
        encoded: those that were encoded now; the others were in the cache.
        skipped: media that were not encoded, because their features could not be written.
        not_stored: features that could not be written, those of skipped media among them.
        reason: why the first of them could not.
        corrupt: damaged entries of the cache, which were computed again.
        failed: why media could not be read, one message each.
    """

    media: int
    encoded: int = 0
    skipped: int = 0
    not_stored: int = 0
    reason: str = ""
    corrupt: int = 0
    failed: tuple[str, ...] = ()

    def add(self, other: Filled) -> None:
        """Add the counts of another worker over a part of the same media."""
        self.encoded += other.encoded
        self.skipped += other.skipped
        self.not_stored += other.not_stored
        self.reason = self.reason or other.reason
        self.corrupt += other.corrupt
        self.failed += other.failed


def media_requests(requests: Sequence[Request]) -> list[MediaRequest]:
    """All media of the requests, each once."""
    return list({media_key(media, one.frames): (media, one.frames) for one in requests for media in one.media}.values())


class Filler:
    """A network's encoders and the feature cache. Close it to stop the decoder processes."""

    wording: Wording = PLAIN_WORDING

    def __init__(self, options: Options) -> None:
        """Load the encoders.

        Raises:
            BadCheckpoint: it is incomplete, or an encoder is not the one that it was trained with.
        """
        from anymal_eval.anymal import checkpoint
        from anymal_eval.checkpoints.loading import loading_of

        self._network = checkpoint.load_encoders(folder_of(options), loading_of(options), options.frozen_parts)
        self._reader = media_reader(options)
        self._cache = open_cache(options.features, warns=False)
        self._inputs = MediaInputs(self._network, self._reader, self._cache)
        self._tokens = ModalityTokens(self._network, self._cache)

    def fill(self, media: Sequence[MediaRequest], threads: int, advance: Callable[[int], None]) -> Filled:
        """Encode media that the cache lacks.

        Args:
            media: from ``media_requests``.
            threads: how many media are decoded at once.
            advance: called with the number of media done since its last call.
        """
        filled = Filled(media=len(media))
        before = self._counts()
        failed: list[str] = []
        with ThreadPoolExecutor(threads) as pool:
            decoded = self._decoded(pool, media, failed)
            reported = 0
            while batch := list(itertools.islice(decoded, BATCH)):
                lacking = [item for item in batch if not item.encoded]
                writable = [item for item in lacking if self._is_writable(item)]
                self._encode(writable)
                filled.encoded += len(writable)
                filled.skipped += len(lacking) - len(writable)
                advance(len(batch) + len(failed) - reported)
                reported = len(failed)
        filled.not_stored, filled.corrupt = (now - then for now, then in zip(self._counts(), before, strict=True))
        filled.reason = self._cache.counts.reason if self._cache is not None and filled.not_stored else ""
        filled.failed = tuple(failed)
        return filled

    def _counts(self) -> tuple[int, int]:
        """Entries that were not stored and that were corrupt, so far."""
        counts = self._cache.counts if self._cache is not None else None
        return (counts.not_stored, len(counts.corrupt)) if counts is not None else (0, 0)

    def _decoded(
        self, pool: ThreadPoolExecutor, media: Sequence[MediaRequest], failed: list[str]
    ) -> Iterator[MediaInput]:
        left = iter(media)
        running: deque[Future[MediaInput]] = deque()
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

    def _is_writable(self, item: MediaInput) -> bool:
        """Whether its features can be stored. Those of others are counted, since encoding them would be in vain."""
        if self._cache is None or item.entry is None or self._cache.can_store(item.entry):
            return True
        self._cache.refuse("no permission to write")
        return False

    def _encode(self, lacking: Sequence[MediaInput]) -> None:
        for kind in sorted({item.kind for item in lacking}):
            self._tokens.features(kind, [item for item in lacking if item.kind == kind])

    def close(self) -> None:
        """Stop the decoder processes."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
