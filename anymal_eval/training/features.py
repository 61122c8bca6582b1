"""The frozen encoders' outputs during training: each medium is encoded once and cached in memory, or on disk too.

Shapes:  n tokens of a medium · e encoder width
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from anymal_eval.errors import RequestFailed
from anymal_eval.media.budget import DEFAULT, MediaBudget
from anymal_eval.media.location import ROW
from anymal_eval.media.reader import MediaReader
from anymal_eval.models import media_key
from anymal_eval.models.anymal.media_inputs import MediaInputs, ModalityTokens, open_cache
from anymal_eval.records import Media, MediaKind
from anymal_eval.sources.hub_media import open_media
from anymal_eval.training.samples import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.anymal.model import AnyMAL
    from anymal_eval.evaluation.console import Console
    from anymal_eval.media.location import Opener

FRAMES = 8  # of a clip, as Request.frames
ENCODED_TOGETHER = 16  # media
MEMORY_BYTES = 4 << 30
_FULL = 0.95  # of the memory: beyond it no features are made ahead


class Openers:
    """Opens media inside rows and shards with the opener of their data; hub rows by their address alone."""

    def __init__(self) -> None:
        self._openers: dict[str, Opener] = {}

    def add(self, sample: Sample, opener: Opener | None) -> None:
        """Register the opener of a sample's media."""
        if opener is not None:
            self._openers |= {_container(media.uri): opener for media in sample.media if media.uri.startswith(ROW)}

    def __call__(self, uri: str) -> bytes:
        """The bytes behind a ``row:`` uri."""
        return self._openers.get(_container(uri), open_media)(uri)


def _container(uri: str) -> str:
    return uri.rpartition("#")[0]


class FeatureEncoder:
    """Media to features. For one thread; it decodes in several of its own. Close it to end the decoder processes."""

    def __init__(
        self,
        network: AnyMAL,
        openers: Openers,
        *,
        folder: str = "",
        threads: int = 2,
        timeout_s: float = 60.0,
        budget: MediaBudget = DEFAULT,
    ) -> None:
        """``folder``: the feature cache; empty for memory only."""
        self._reader = MediaReader(openers, timeout_s=timeout_s, budget=budget, processes=min(threads, 2))
        cache = open_cache(folder)
        self._cache = cache
        self._inputs = MediaInputs(network, self._reader, cache)
        self._tokens = ModalityTokens(network, cache)
        self._pool = ThreadPoolExecutor(threads)
        self._memory: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes, self._limit = 0, MEMORY_BYTES
        self._failed: dict[str, RequestFailed] = {}

    def encode(self, media: Sequence[Media]) -> Mapping[str, Tensor | RequestFailed]:
        """(n, e) or an error by key, from memory, from disk or encoded now."""
        wanted = {media_key(one, FRAMES): one for one in media}
        found: dict[str, Tensor | RequestFailed] = {}
        missing: dict[str, Media] = {}
        for key, one in wanted.items():
            if key in self._failed:
                found[key] = self._failed[key]
            elif key in self._memory:
                self._memory.move_to_end(key)
                found[key] = self._memory[key]
            else:
                missing[key] = one
        keys = list(missing)
        for start in range(0, len(keys), ENCODED_TOGETHER):
            found |= self._make({key: missing[key] for key in keys[start : start + ENCODED_TOGETHER]})
        return found

    def encode_ahead(self, media: Iterable[Media], console: Console) -> None:
        """Encode before training starts, as many as memory or the cache on disk can hold."""
        wanted = list({media_key(one, FRAMES): one for one in media}.values())
        if not wanted:
            return
        with console.progress("features", len(wanted), 0) as advance:
            for start in range(0, len(wanted), ENCODED_TOGETHER):
                on_disk = self._cache is not None and not self._cache.counts.not_stored
                if not on_disk and self._bytes > self._limit * _FULL:
                    return  # more would evict those made before
                self.encode(wanted[start : start + ENCODED_TOGETHER])
                advance(len(wanted[start : start + ENCODED_TOGETHER]))

    def close(self) -> None:
        """End the decoder processes."""
        self._pool.shutdown(cancel_futures=True)
        self._reader.close()

    def _make(self, missing: Mapping[str, Media]) -> dict[str, Tensor | RequestFailed]:
        running = {key: self._pool.submit(self._inputs.one, one, FRAMES) for key, one in missing.items()}
        found: dict[str, Tensor | RequestFailed] = {}
        inputs = []
        for key, future in running.items():
            try:
                inputs.append(future.result())
            except RequestFailed as error:
                # without the traceback, whose frames hold the whole broken file in memory
                self._failed[key] = found[key] = type(error)(*error.args)
        kinds: set[MediaKind] = {item.kind for item in inputs}
        for kind in sorted(kinds):
            own = [item for item in inputs if item.kind == kind]
            for key, features in self._tokens.features(kind, own).items():
                found[key] = features
                self._keep(key, features)
        return found

    def _keep(self, key: str, features: Tensor) -> None:
        # a copy on the CPU: a slice of the encoder's batch would hold the whole batch in the device's memory
        own = features.detach().to("cpu", copy=True)
        self._memory[key] = own
        self._bytes += own.nbytes
        while self._bytes > self._limit and len(self._memory) > 1:
            self._bytes -= self._memory.popitem(last=False)[1].nbytes
