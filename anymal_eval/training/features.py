"""The frozen encoders' outputs while training: each medium is encoded once, kept in memory up to a bound, and on disk.

Shapes:  n tokens of a medium · e encoder width
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from anymal_eval.errors import RequestFailed
from anymal_eval.media.location import ROW
from anymal_eval.media.reader import MediaReader
from anymal_eval.models.anymal.media_inputs import Inputs, Tokens, media_key, open_cache
from anymal_eval.records import Media, MediaKind
from anymal_eval.sources.hub_media import open_media
from anymal_eval.training.samples import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.anymal.model import AnyMAL
    from anymal_eval.media.location import Opener

FRAMES = 8  # of a clip, as Request.frames
AT_ONCE = 16  # media through an encoder
KEPT = 4 << 30  # bytes
_FULL = 0.95  # of the bound, from which on nothing more is made ahead


class Openers:
    """Opens media inside rows and shards by the source that gave them; hub rows by their address alone."""

    def __init__(self) -> None:
        self._known: dict[str, Opener] = {}
        self._lock = threading.Lock()

    def add(self, sample: Sample, opener: Opener | None) -> None:
        """Remember who opens a sample's media."""
        if opener is None:
            return
        for media in sample.media:
            if media.uri.startswith(ROW):
                with self._lock:
                    self._known[_address(media.uri)] = opener

    def __call__(self, uri: str) -> bytes:
        """The bytes behind a ``row:`` uri."""
        opener = self._known.get(_address(uri), open_media)
        return opener(uri)


def _address(uri: str) -> str:
    return uri.rpartition("#")[0]


class Features:
    """Media to features. For one thread; it decodes in several of its own. Close it to end the decoder processes."""

    def __init__(
        self,
        network: AnyMAL,
        openers: Openers,
        *,
        folder: str = "",
        threads: int = 2,
        timeout_s: float = 60.0,
        limit_bytes: int = KEPT,
    ) -> None:
        """``folder``: the feature cache, empty for memory alone. ``limit_bytes``: of what is kept in memory."""
        self._reader = MediaReader(openers, timeout_s=timeout_s, processes=min(threads, 2))
        cache = open_cache(folder)
        self._on_disk = cache is not None
        self._inputs = Inputs(network, self._reader, cache)
        self._tokens = Tokens(network, cache)
        self._pool = ThreadPoolExecutor(threads)
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes, self._limit = 0, limit_bytes
        self._failed: dict[str, RequestFailed] = {}
        self.encoded = 0

    def of(self, media: Sequence[Media]) -> Mapping[str, Tensor | RequestFailed]:
        """(n, e) by key, or why there are none. What is not at hand is read from disk or encoded."""
        wanted = {media_key(one, FRAMES): one for one in media}
        found: dict[str, Tensor | RequestFailed] = {}
        missing: dict[str, Media] = {}
        for key, one in wanted.items():
            if key in self._failed:
                found[key] = self._failed[key]
            elif key in self._kept:
                self._kept.move_to_end(key)
                found[key] = self._kept[key]
            else:
                missing[key] = one
        keys = list(missing)
        for start in range(0, len(keys), AT_ONCE):
            found |= self._make({key: missing[key] for key in keys[start : start + AT_ONCE]})
        return found

    def fill(self, media: Iterable[Media], advance: Callable[[int], None]) -> None:
        """Make all of them ahead, as far as memory or the cache on disk can keep them."""
        wanted = list({media_key(one, FRAMES): one for one in media}.values())
        for start in range(0, len(wanted), AT_ONCE):
            if not self._on_disk and self._bytes > self._limit * _FULL:
                return  # what comes now would push out what was made before
            self.of(wanted[start : start + AT_ONCE])
            advance(len(wanted[start : start + AT_ONCE]))

    def close(self) -> None:
        """End the decoder processes."""
        self._pool.shutdown(cancel_futures=True)
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make(self, missing: Mapping[str, Media]) -> dict[str, Tensor | RequestFailed]:
        running = {key: self._pool.submit(self._inputs.one, one, FRAMES) for key, one in missing.items()}
        found: dict[str, Tensor | RequestFailed] = {}
        inputs = []
        for key, future in running.items():
            try:
                inputs.append(future.result())
            except RequestFailed as error:
                # without its traceback, whose frames would keep the whole broken file in memory
                self._failed[key] = found[key] = type(error)(*error.args)
        kinds: set[MediaKind] = {item.kind for item in inputs}
        for kind in sorted(kinds):
            own = [item for item in inputs if item.kind == kind]
            self.encoded += sum(not item.encoded for item in own)
            for key, features in self._tokens.features(kind, own).items():
                found[key] = features
                self._keep(key, features)
        return found

    def _keep(self, key: str, features: Tensor) -> None:
        # a copy: a slice of the encoder's batch would keep the whole batch; and not on the device, whose memory is dear
        own = features.detach().to("cpu", copy=True)
        self._kept[key] = own
        self._bytes += own.nbytes
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
