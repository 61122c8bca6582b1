"""Media on their way into the AnyMAL network: decoded once, encoded once, or taken from the feature cache.

Shapes:  w windows · n tokens of a window · e encoder width · k modality tokens · d LLM width
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anymal_eval import fingerprint
from anymal_eval.generation.bounded_cache import BoundedCache
from anymal_eval.models.anymal.media_digests import MediaDigests
from anymal_eval.records import Media, MediaKind, Request

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.anymal.features import FeatureCache
    from anymal_eval.anymal.model import AnyMAL
    from anymal_eval.media.reader import MediaReader

SAMPLE_RATE = 48_000  # CLAP's; another encoder resamples from it
KEPT_INPUTS = 512 << 20
KEPT_TOKENS = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Input:
    """A medium made ready.

    Attributes:
        key: equal for equal media.
        tensor: (w, ...) preprocessed, or (n, e) features where ``encoded``.
        entry: where its features belong in the cache, once they are made.
        tokens: k.
    """

    key: str
    kind: MediaKind
    tensor: Tensor
    encoded: bool = False
    entry: str | None = None
    tokens: int = 0


class Inputs:
    """Media to inputs, in any thread; one that several requests show is opened once."""

    def __init__(self, network: AnyMAL, reader: MediaReader, cache: FeatureCache | None) -> None:
        self._network, self._reader, self._cache = network, reader, cache
        self._digests = MediaDigests(reader, cache.folder if cache is not None else None)
        self._counts = {medium: _window_tokens(network, medium) for medium in network.accepts}
        self.kept: BoundedCache[Input] = BoundedCache(KEPT_INPUTS, lambda item: item.tensor.nbytes)

    def of(self, request: Request) -> tuple[Input, ...]:
        """Every medium of a request, in its order.

        Raises:
            MediaError, MediaTimeout: one cannot be read.
        """
        return tuple(self.one(media, request.frames) for media in request.media)

    def one(self, media: Media, frames: int) -> Input:
        """One medium, a clip by so many frames.

        Raises:
            MediaError, MediaTimeout: it cannot be read.
        """
        key = media_key(media, frames)
        return self.kept.get(key, lambda: self._make(key, media, frames))

    def _make(self, key: str, media: Media, frames: int) -> Input:
        from anymal_eval.anymal.features import feature_key

        entry = None
        per_window, fixed = self._counts[media.kind]
        if self._cache is not None:
            digest = media_digest(media, frames, self._digests.of(media))
            entry = feature_key(self._network.encoder(media.kind), digest)
            features = self._cache.get(entry)
            if features is not None:
                tokens = fixed or len(features)
                return Input(key=key, kind=media.kind, tensor=features, encoded=True, tokens=tokens)
        tensor = self._preprocess(media, frames)
        tokens = fixed or per_window * len(tensor)
        return Input(key=key, kind=media.kind, tensor=tensor, entry=entry, tokens=tokens)

    def _preprocess(self, media: Media, frames: int) -> Tensor:
        network = self._network
        match media.kind:
            case "image":
                return network.preprocess("image", self._reader.image(media))
            case "audio":
                return network.preprocess("audio", self._reader.audio(media, SAMPLE_RATE), SAMPLE_RATE)
            case "video":
                return network.preprocess("video", self._reader.video(media, frames))
            case "imu":
                return network.preprocess("imu", self._reader.imu(media))


class Tokens:
    """Inputs to modality tokens, on the device, in one thread; each medium goes through encoder and projector once."""

    def __init__(self, network: AnyMAL, cache: FeatureCache | None) -> None:
        self._network, self._cache = network, cache
        self.kept: BoundedCache[Tensor] = BoundedCache(KEPT_TOKENS, lambda tokens: tokens.nbytes)

    def of(self, inputs: Sequence[Input]) -> Mapping[str, Tensor]:
        """(k, d) by key."""
        wanted = {item.key: item for item in inputs}
        found = {key: tokens for key in wanted if (tokens := self.kept.find(key)) is not None}
        for medium in sorted(self._network.accepts):
            new = [item for item in wanted.values() if item.kind == medium and item.key not in found]
            if not new:
                continue
            features = self.features(medium, new)
            made = self._network.project(medium, [features[item.key] for item in new])
            for item, tokens in zip(new, made, strict=True):
                found[item.key] = tokens
                self.kept.put(item.key, tokens)
        return found

    def features(self, medium: MediaKind, items: Sequence[Input]) -> dict[str, Tensor]:
        """(n, e) by key, of one medium; what had to be encoded is left in the cache."""
        found = {item.key: item.tensor for item in items if item.encoded}
        bare = [item for item in items if not item.encoded]
        for item, features in zip(bare, self._network.encode(medium, [item.tensor for item in bare]), strict=True):
            found[item.key] = features
            if self._cache is not None and item.entry is not None:
                self._cache.put(item.entry, features)
        return found


def open_cache(folder: str) -> FeatureCache | None:
    """The feature cache in a folder; none where no folder is named."""
    from anymal_eval.anymal.features import FeatureCache

    return FeatureCache(Path(folder)) if folder else None


def media_key(media: Media, frames: int) -> str:
    """A medium and the part of it that is shown."""
    cut = f"{media.start_s}-{media.end_s}-{frames}" if media.kind == "video" else f"{media.start_s}-{media.end_s}"
    return f"{media.kind}:{media.uri}:{cut}"


def media_digest(media: Media, frames: int, content: str) -> str:
    """What a medium's features depend on besides the encoder.

    Args:
        media: which part of it.
        frames: how many are shown, of a clip.
        content: the SHA-256 of its bytes.
    """
    decoded = {"video": frames, "audio": SAMPLE_RATE}.get(media.kind)
    return fingerprint.of([content, media.kind, media.start_s, media.end_s, decoded])


def _window_tokens(network: AnyMAL, medium: MediaKind) -> tuple[int, int]:
    """How many tokens a window gives, and how many a medium gives however long it is (0: it follows the windows)."""
    import torch

    fixed = getattr(network.projectors[medium], "tokens", None)
    if fixed is not None:
        return 0, int(fixed)
    encoder = network.encoder(medium)
    return len(network.encode(medium, [torch.zeros(1, *encoder.window_shape)])[0]), 0
