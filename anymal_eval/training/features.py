"""The frozen encoders' outputs during training: each medium is encoded once and cached in memory, or on disk too.

Shapes:  n tokens of a medium · e encoder width
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from anymal_eval.anymal.shard_files import is_view
from anymal_eval.errors import OutOfMemory, RequestFailed
from anymal_eval.generation import memory_guard, release_memory
from anymal_eval.media.broken import failures_of
from anymal_eval.media.budget import MediaBudget
from anymal_eval.media.location import ROW
from anymal_eval.media.reader import MediaReader
from anymal_eval.models import media_key
from anymal_eval.models.anymal.media_inputs import MediaInput, MediaInputs, ModalityTokens, open_cache
from anymal_eval.records import FRAMES, Media, MediaKind
from anymal_eval.sources.hub_media import open_media
from anymal_eval.training.being_decoded import BeingDecoded
from anymal_eval.training.plan import ComputeOptions
from anymal_eval.training.samples import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.anymal.model import AnyMAL
    from anymal_eval.evaluation.console import Console
    from anymal_eval.media.location import Opener

DEFAULTS = ComputeOptions()
ENCODED_TOGETHER = 16  # media
MEMORY_BYTES = 4 << 30
AHEAD_BYTES = 1 << 30  # of media that are decoded and preprocessed, and not encoded yet
VIEW_BYTES = 1024  # that a view of a mapped shard counts for
_FULL = 0.95  # of the memory: beyond it no features are made ahead

# Of one medium by its key: its features, why it has none, or what is still being read.
Prepared = Mapping[str, "Tensor | RequestFailed | Future[MediaInput]"]


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
    """Media to features. One thread prepares, one finishes; it decodes in several of its own. Close it to end those.

    Attributes:
        waited: seconds that ``finish`` has waited for media to be read.
    """

    def __init__(
        self,
        network: AnyMAL,
        openers: Openers,
        compute: ComputeOptions = DEFAULTS,
        *,
        reduced: bool = False,
        decoded: BeingDecoded | None = None,
    ) -> None:
        """Start the threads.

        Args:
            network: of whose encoders the features are.
            openers: of the media.
            compute: the feature cache, and how media are decoded.
            reduced: see :class:`MediaInputs`.
            decoded: where it is noted what is decoded.
        """
        self._decoded = decoded
        threads, budget = compute.threads, MediaBudget.times(compute.media_budget)
        self._reader = MediaReader(openers, timeout_s=compute.media_timeout, budget=budget, processes=threads)
        self._pinned = network.llm.device.type == "cuda"
        self._cache = open_cache(str(compute.features or ""), mapped=True)
        self._inputs = MediaInputs(network, self._reader, self._cache, reduced=reduced)
        self._tokens = ModalityTokens(network, self._cache)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="media")
        self._memory: OrderedDict[str, Tensor] = OrderedDict()
        self._sizes: dict[str, int] = {}  # that entries of the memory count for
        self._bytes, self._limit = 0, MEMORY_BYTES
        self._failed: dict[str, RequestFailed] = {}
        self._running: dict[str, Future[MediaInput]] = {}
        self._ahead_bytes = 0
        self._together = ENCODED_TOGETHER
        self._changed = threading.Condition()
        self.waited = 0.0

    def encode(self, media: Sequence[Media]) -> Mapping[str, Tensor | RequestFailed]:
        """(n, e) or an error by key, from memory, from disk or encoded now."""
        return self.finish(self.prepare(media))

    def prepare(self, media: Sequence[Media]) -> Prepared:
        """Start to read media that are not in memory; returns at once."""
        wanted = {media_key(one, FRAMES): one for one in media}
        with self._changed:
            known = {key: self._known(key) for key in wanted}
            return {key: self._started(key, wanted[key]) if one is None else one for key, one in known.items()}

    def finish(self, prepared: Prepared) -> Mapping[str, Tensor | RequestFailed]:
        """Wait for what is being read, and encode it."""
        found: dict[str, Tensor | RequestFailed] = {}
        left: dict[str, Future[MediaInput]] = {}
        for key, one in prepared.items():
            # Another batch may have encoded it meanwhile.
            known = self._memory.get(key, one) if isinstance(one, Future) else one
            if isinstance(known, Future):
                left[key] = known
            else:
                found[key] = known
        keys = iter(left)
        while some := list(itertools.islice(keys, ENCODED_TOGETHER)):
            found |= self._made({key: left[key] for key in some})
        return found

    def wait_for_room(self, may_wait: Callable[[], bool]) -> None:
        """Wait while more is read ahead than ``AHEAD_BYTES``, and ``may_wait`` is true."""
        with self._changed:
            while self._ahead_bytes > AHEAD_BYTES and may_wait():
                self._changed.wait(0.1)

    def encode_ahead(self, media: Iterable[Media], console: Console) -> None:
        """Encode before training starts what the disk does not have, as many as memory or the disk can hold."""
        wanted = list({media_key(one, FRAMES): one for one in media}.values())
        if not wanted:
            return
        with console.progress("features", len(wanted), 0) as advance:
            for prepared, count in self._ahead(wanted):
                self.finish(prepared)
                advance(count)

    def close(self) -> None:
        """End the decoder processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._reader.close()
        self._pool.shutdown()

    def _ahead(self, wanted: Sequence[Media]) -> Iterator[tuple[Prepared, int]]:
        """Groups that are read while the one before is encoded; ends where more would evict those made before."""
        waiting: deque[tuple[Prepared, int]] = deque()
        for start in range(0, len(wanted), ENCODED_TOGETHER):
            group = wanted[start : start + ENCODED_TOGETHER]
            stored = list(self._pool.map(lambda one: self._inputs.is_stored(one, FRAMES), group))
            lacking = [one for one, is_stored in zip(group, stored, strict=True) if not is_stored]
            waiting.append((self.prepare(lacking), len(group)))
            if len(waiting) > 1:
                yield waiting.popleft()
            on_disk = self._cache is not None and not self._cache.counts.not_stored
            if not on_disk and self._bytes > self._limit * _FULL:
                break
        yield from waiting

    def _known(self, key: str) -> Tensor | RequestFailed | Future[MediaInput] | None:
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        return self._failed.get(key) or self._running.get(key)

    def _started(self, key: str, media: Media) -> Future[MediaInput]:
        future = self._running[key] = self._pool.submit(self._read, media)
        return future

    def _read(self, media: Media) -> MediaInput:
        """In a thread of the pool. Whatever fails there is an error of this medium."""
        noted = nullcontext() if self._decoded is None else self._decoded.noted(media.uri)
        with failures_of(media), noted:
            made = self._inputs.make(media, FRAMES)
            if self._pinned:
                made = replace(made, tensor=made.tensor.pin_memory())
        with self._changed:
            self._ahead_bytes += made.tensor.nbytes
        return made

    def _made(self, running: Mapping[str, Future[MediaInput]]) -> dict[str, Tensor | RequestFailed]:
        found: dict[str, Tensor | RequestFailed] = {}
        inputs: dict[str, MediaInput] = {}
        start = time.perf_counter()
        for key, future in running.items():
            try:
                inputs[key] = future.result()
            except RequestFailed as error:
                # without the traceback, whose frames hold the whole broken file in memory
                self._failed[key] = found[key] = type(error)(*error.args)
        self.waited += time.perf_counter() - start
        features: dict[str, Tensor] = {}
        for kind in sorted({item.kind for item in inputs.values()}):
            features |= self._encoded(kind, [item for item in inputs.values() if item.kind == kind])
        with self._changed:
            for key, future in running.items():
                is_first = self._running.get(key) is future  # of the batches that wait for it
                if is_first:
                    del self._running[key]
                if key in inputs:
                    self._ahead_bytes -= inputs[key].tensor.nbytes * is_first
                    self._keep(inputs[key], features[key])
            self._changed.notify_all()
        return found | features

    def _encoded(self, kind: MediaKind, items: Sequence[MediaInput]) -> dict[str, Tensor]:
        """In groups that are halved where memory runs out, and stay as small.

        Raises:
            OutOfMemory: for a single medium.
        """
        found: dict[str, Tensor] = {}
        while items:
            some = items[: self._together]
            try:
                with memory_guard(f"encoding {len(some)} media of kind {kind}"):
                    found |= self._tokens.features(kind, some)
                items = items[len(some) :]
                continue
            except OutOfMemory as error:
                if len(some) < 2:
                    how = "quantize the language model (--quantize nf4), or fill --features before (features fill)"
                    raise OutOfMemory(f"{error}: {how}") from error
                self._together = (len(some) + 1) // 2
            release_memory()  # here, where no error holds the tensors of its frames any more
        return found

    def _keep(self, item: MediaInput, features: Tensor) -> None:
        is_mapped = item.encoded and is_view(item.tensor)
        if item.encoded and self._pinned:
            return  # the disk has it, and the next epoch pins it again
        # a copy on the CPU: a slice of the encoder's batch would hold the whole batch in the device's memory
        own = features if is_mapped else features.detach().to("cpu", copy=True)
        self._bytes -= self._sizes.get(item.key, 0)
        self._memory[item.key] = own
        self._sizes[item.key] = VIEW_BYTES if is_mapped else own.nbytes
        self._bytes += self._sizes[item.key]
        while self._bytes > self._limit and len(self._memory) > 1:
            self._bytes -= self._sizes.pop(self._memory.popitem(last=False)[0])
