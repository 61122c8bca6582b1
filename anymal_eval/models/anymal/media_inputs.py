"""Media for the AnyMAL network: decoded once, encoded once, or read from the feature cache.

Shapes:  w windows · n tokens of a window · e encoder width · k modality tokens · d LLM width
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint
from anymal_eval.errors import MediaError
from anymal_eval.generation import BoundedCache
from anymal_eval.media.broken import failures_of
from anymal_eval.media.motion_tables import ORDER
from anymal_eval.models._prepared import hold_images, media_key
from anymal_eval.models.anymal.media_digests import MediaDigests
from anymal_eval.records import Media, MediaKind, Request

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.anymal.features import FeatureCache
    from anymal_eval.anymal.model import AnyMAL
    from anymal_eval.media.reader import MediaReader

SAMPLE_RATE = 48_000  # CLAP's; other encoders resample from it
INPUT_BYTES = 512 << 20  # of preprocessed media that are cached
TOKEN_BYTES = 256 << 20  # of modality tokens that are cached


@dataclass(frozen=True, kw_only=True)
class MediaInput:
    """A preprocessed medium.

    Attributes:
        key: its ``media_key``.
        tensor: (w, ...) preprocessed, or (n, e) features if ``encoded``.
        entry: the key of its features in the feature cache, where they are still to be computed and stored.
        tokens: k.
    """

    key: str
    kind: MediaKind
    tensor: Tensor
    encoded: bool = False
    entry: str | None = None
    tokens: int = 0


class MediaInputs:
    """Decodes and preprocesses media, in any thread; a medium of several requests is opened once."""

    def __init__(
        self, network: AnyMAL, reader: MediaReader, cache: FeatureCache | None, *, reduced: bool = False
    ) -> None:
        """``reduced``: decode large JPEG files at a fraction of their size, at least twice the encoder's."""
        self._network, self._reader, self._cache = network, reader, cache
        side = max(network.encoder("image").window_shape[-2:]) if reduced and "image" in network.accepts else 0
        self._least = 2 * side
        self._digests = MediaDigests(reader, cache.folder if cache is not None else None)
        self._counts = {medium: _window_tokens(network, medium) for medium in network.accepts}
        # Encoders are frozen: a fingerprint holds the processor's settings, which take longer to copy than a feature.
        self._encoders = {medium: network.encoder(medium).fingerprint for medium in network.accepts}
        self.cached: BoundedCache[MediaInput] = BoundedCache(INPUT_BYTES, lambda item: item.tensor.nbytes)

    def of(self, request: Request) -> tuple[MediaInput, ...]:
        """The media of a request, in its order.

        Raises:
            MediaError, MediaTimeout: one cannot be read.
        """
        return tuple(self.one(media, request.frames) for media in request.media)

    def one(self, media: Media, frames: int) -> MediaInput:
        """One medium; a clip as so many frames.

        Raises:
            MediaError, MediaTimeout: it cannot be read, or the network has no encoder for it.
        """
        return self.cached.get(media_key(media, frames), lambda: self.make(media, frames))

    def make(self, media: Media, frames: int) -> MediaInput:
        """The same, made anew and not kept.

        Raises:
            MediaError, MediaTimeout: it cannot be read, or the network has no encoder for it.
        """
        if media.kind not in self._counts:
            takes = ", ".join(sorted(self._counts))
            raise MediaError(f"{media.uri}: this checkpoint takes {takes}, no {media.kind}")
        key, (per_window, fixed) = media_key(media, frames), self._counts[media.kind]
        entry = self._entry(media, frames)
        if self._cache is not None and entry is not None:
            features = self._cache.get(entry)
            if features is not None:
                tokens = fixed or len(features)
                return MediaInput(key=key, kind=media.kind, tensor=features, encoded=True, tokens=tokens)
        tensor = self._preprocess(media, self._frames(media, frames))
        tokens = fixed or per_window * len(tensor)
        return MediaInput(key=key, kind=media.kind, tensor=tensor, entry=entry, tokens=tokens)

    def is_stored(self, media: Media, frames: int) -> bool:
        """Whether the feature cache has the features of a medium; they are not read."""
        try:
            entry = self._entry(media, frames) if media.kind in self._counts else None
        except MediaError:
            return False
        return self._cache is not None and entry is not None and entry in self._cache

    def _entry(self, media: Media, frames: int) -> str | None:
        """The key of a medium's features in the cache; None without one."""
        from anymal_eval.anymal.features import feature_key

        if self._cache is None:
            return None
        digest = media_digest(media, self._frames(media, frames), self._digests.of(media), self._least)
        return feature_key(self._encoders[media.kind], digest)

    def _frames(self, media: Media, frames: int) -> int:
        """What the encoder takes, whatever the protocol gives to models that take pictures."""
        return self._network.encoder(media.kind).frames or frames

    def _preprocess(self, media: Media, frames: int) -> Tensor:
        """Decode and preprocess; whatever a processor raises is an error of this medium."""
        network, reader = self._network, self._reader
        with failures_of(media):
            match media.kind:
                case "image":
                    return network.preprocess("image", self._held(media, [reader.image(media, self._least)])[0])
                case "audio":
                    return network.preprocess("audio", reader.audio(media, SAMPLE_RATE), SAMPLE_RATE)
                case "video":
                    clip = reader.video(media, frames)
                    self._held(media, clip[:1])
                    return network.preprocess("video", clip)
                case "imu":
                    return network.preprocess("imu", reader.imu(media))

    def _held(self, media: Media, arrays: Any) -> Any:
        """The same pictures, refused where the encoder's processor would make them too large."""
        hold_images(self._reader, self._network.encoder(media.kind).image_processor, media, arrays)
        return arrays


class ModalityTokens:
    """Encodes and projects media, on the device, in one thread; each medium once."""

    def __init__(self, network: AnyMAL, cache: FeatureCache | None) -> None:
        self._network, self._cache = network, cache
        self.cached: BoundedCache[Tensor] = BoundedCache(TOKEN_BYTES, lambda tokens: tokens.nbytes)

    def of(self, inputs: Sequence[MediaInput]) -> Mapping[str, Tensor]:
        """Modality tokens (k, d) by key."""
        wanted = {item.key: item for item in inputs}
        found = {key: tokens for key in wanted if (tokens := self.cached.find(key)) is not None}
        for medium in sorted(self._network.accepts):
            new = [item for item in wanted.values() if item.kind == medium and item.key not in found]
            if not new:
                continue
            features = self.features(medium, new)
            made = self._network.project(medium, [features[item.key] for item in new])
            for item, tokens in zip(new, made, strict=True):
                found[item.key] = tokens
                self.cached.put(item.key, tokens)
        return found

    def features(self, medium: MediaKind, items: Sequence[MediaInput]) -> dict[str, Tensor]:
        """Features (n, e) by key, of one kind of media; newly computed ones are stored in the feature cache."""
        found = {item.key: item.tensor for item in items if item.encoded}
        bare = [item for item in items if not item.encoded]
        for item, features in zip(bare, self._network.encode(medium, [item.tensor for item in bare]), strict=True):
            found[item.key] = features
            if self._cache is not None and item.entry is not None:
                self._cache.put(item.entry, features)
        return found


def open_cache(folder: str, *, warns: bool = True, mapped: bool = False) -> FeatureCache | None:
    """The feature cache in a folder, which reports what it cannot store as a warning; None for an empty name.

    ``mapped``: entries of shards are views of the mapped file, see :mod:`anymal_eval.anymal.shards`.

    Raises:
        WrongUse: it is a file.
    """
    from anymal_eval.anymal.features import FeatureCache

    return FeatureCache(Path(folder), warns=warns, mapped=mapped) if folder else None


def media_digest(media: Media, frames: int, content: str, least: int = 0) -> str:
    """A digest of all that a medium's features depend on besides the encoder.

    Args:
        media: its kind and the part of it.
        frames: of a clip.
        content: the SHA-256 of its bytes.
        least: pixels that a picture keeps when it is decoded at a fraction of its size; 0 decodes it whole.
    """
    decoded: object = {"video": frames, "audio": SAMPLE_RATE}.get(media.kind)
    if media.kind == "image" and least:
        decoded = f"reduced, at least {least}"
    if media.kind == "imu" and not media.uri.lower().endswith(".npy"):
        decoded = ORDER  # features of tables that earlier versions read in the order of their columns are not these
    return fingerprint.of([content, media.kind, media.start_s, media.end_s, decoded])


def _window_tokens(network: AnyMAL, medium: MediaKind) -> tuple[int, int]:
    """Tokens of a window, and tokens of a medium of any length (0 if they depend on its windows)."""
    import torch

    fixed = getattr(network.projectors[medium], "tokens", None)
    if fixed is not None:
        return 0, int(fixed)
    encoder = network.encoder(medium)
    return len(network.encode(medium, [torch.zeros(1, *encoder.window_shape)])[0]), 0
