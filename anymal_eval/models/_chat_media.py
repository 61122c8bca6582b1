"""The media of a chat model's requests: opened, and as the parts of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anymal_eval.errors import RequestFailed
from anymal_eval.generation import BoundedCache
from anymal_eval.models._native_video import Clip, NativeVideo, whole_clip
from anymal_eval.models._prepared import hold_images, media_key, nbytes
from anymal_eval.records import Media, MediaKind, Request

if TYPE_CHECKING:
    from anymal_eval.media.reader import MediaReader

DECODED_BYTES = 256 << 20  # of decoded media that are cached


@dataclass(frozen=True, kw_only=True)
class MediaLimits:
    """The kinds of media that a model takes, and how many pictures (None: any number)."""

    kinds: frozenset[MediaKind]
    most: int | None = None


@dataclass(frozen=True, kw_only=True)
class OpenedMedia:
    """What a processor takes: pictures (frames among them, where clips are given as frames), clips, sounds."""

    images: Sequence[Any] = ()
    clips: Sequence[Clip] = ()
    sounds: Sequence[Any] = ()

    def arguments(self, sample_rate: int) -> dict[str, Any]:
        """For the call of a processor; ``sample_rate`` of the sounds, in Hz."""
        found: dict[str, Any] = {}
        if self.images:
            found["images"] = [list(self.images)]
        if self.clips:
            found["videos"] = [clip.frames for clip in self.clips]
            metadata = [clip.metadata for clip in self.clips]
            # Qwen2.5-Omni and Qwen3-Omni take the rate of the frames that they get from here.
            found["videos_kwargs"] = {
                "video_metadata": metadata, "do_sample_frames": False, "fps": float(metadata[0].sampled_fps)
            }  # fmt: skip
        if self.sounds:
            found |= {"audio": list(self.sounds), "sampling_rate": sample_rate}
        return found


class ChatMedia:
    """Opens media within a model's limits, each once for all questions about it."""

    def __init__(self, processor: Any, reader: MediaReader, limits: MediaLimits, native: NativeVideo | None) -> None:
        """``native`` is None where clips are given as their frames."""
        self._processor, self._reader, self._limits, self._native = processor, reader, limits, native
        self._decoded: BoundedCache[list[Any]] = BoundedCache(DECODED_BYTES, nbytes)

    @property
    def sample_rate(self) -> int:
        """Of sounds, in Hz."""
        part = getattr(self._processor, "feature_extractor", None) or self._processor.audio_processor
        return int(part.sampling_rate)

    def cache_decoded(self, key: str, array: Any) -> None:
        """Put a decoded medium into the cache, by its ``media_key``."""
        self._decoded.put(key, [array])

    @property
    def takes_clips(self) -> bool:
        """Whether clips reach the model in its class's own way."""
        return self._native is not None

    def cache_clip(self, key: str, frames: Any, rate: float) -> None:
        """Put a decoded clip into the cache, by its ``media_key``: frames at ``rate`` a second."""
        self._decoded.put(key, [whole_clip(frames, rate)])

    def close(self) -> None:
        """Stop the decoder processes and empty the cache."""
        self._decoded.clear()
        self._reader.close()

    def open(self, request: Request) -> OpenedMedia:
        """Open a request's media, in the order of the prompt.

        Raises:
            MediaError: one cannot be read.
            RequestFailed: the model does not take its kind, or so many.
        """
        from PIL import Image

        for media in request.media:
            if media.kind not in self._limits.kinds:
                kinds = " and ".join(sorted(self._limits.kinds))
                raise RequestFailed(f"{media.uri}: the model takes {kinds}, not {media.kind}")
        pictures = [request.frames if media.kind == "video" else 1 for media in request.media if self._pictured(media)]
        if self._limits.most is not None and sum(pictures) > self._limits.most:
            raise RequestFailed(
                f"the prompt has {sum(pictures)} pictures or frames, the model takes {self._limits.most}"
            )
        found = [(media, one) for media in request.media for one in self._opened(media, request.frames)]
        return OpenedMedia(
            images=[Image.fromarray(one) for media, one in found if self._pictured(media)],
            clips=[one for _, one in found if isinstance(one, Clip)],
            sounds=[one for media, one in found if media.kind == "audio"],
        )

    def blocks(self, media: Media, frames: int) -> list[dict[str, str]]:
        """A medium in the form of chat templates: a clip is one block, or one for each of its frames."""
        if media.kind == "video" and self._native is None:
            return [{"type": "image"}] * frames
        return [{"type": media.kind}]

    def _pictured(self, media: Media) -> bool:
        """Whether it reaches the model as pictures."""
        return media.kind == "image" or (media.kind == "video" and self._native is None)

    def _opened(self, media: Media, frames: int) -> list[Any]:
        def decode() -> list[Any]:
            if media.kind == "audio":
                return [self._reader.audio(media, self.sample_rate)]
            if media.kind == "video" and self._native is not None:
                clip = self._native.open(self._reader, media, frames)
                hold_images(self._reader, getattr(self._processor, "video_processor", None), media, clip.frames[:1])
                return [clip]
            found = [self._reader.image(media)] if media.kind == "image" else list(self._reader.video(media, frames))
            hold_images(self._reader, getattr(self._processor, "image_processor", None), media, found)
            return found

        return self._decoded.get(media_key(media, frames), decode)
