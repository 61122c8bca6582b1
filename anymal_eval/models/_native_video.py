"""Clips as a model's video processor takes them: its own choice of frames, and when each of them appears.

The frames are those that the class chooses of the whole clip, by the rule and the settings of its checkpoint, but only
these are decoded, by our pool. Where a checkpoint states no rule, the one of the model's card is used; where neither
does, the request's number of frames, in the middles of equal parts.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anymal_eval.errors import RequestFailed, reason
from anymal_eval.records import Media

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anymal_eval.media.reader import MediaReader
    from anymal_eval.media.video import Timeline

# Frames a second, and the most frames, by the cards of Qwen2-VL to Qwen2.5-Omni (qwen-vl-utils), VideoLLaMA3 and
# SmolVLM2, where a checkpoint's own files do not state them.
CARDS: dict[str, dict[str, Any]] = {
    "Qwen2VLVideoProcessor": {"fps": 2.0},
    "VideoLlama3VideoProcessor": {"fps": 1.0},
    "SmolVLMVideoProcessor": {"fps": 1.0, "num_frames": 64},
}
CAPPED = frozenset({"SmolVLMVideoProcessor"})  # their ``num_frames`` is the most that ``fps`` may give
PASSED_BY_US = frozenset({"do_sample_frames", "video_metadata", "return_metadata", "device", "return_tensors"})


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The frames of a clip, uint8 (frames, height, width, 3), and transformers' ``VideoMetadata`` of the whole clip."""

    frames: NDArray[Any]
    metadata: Any

    @property
    def nbytes(self) -> int:
        """Of the frames."""
        return int(self.frames.nbytes)


class NativeVideo:
    """Opens clips for one video processor.

    Attributes:
        settings: what decides which frames are taken, for the fingerprint.
    """

    def __init__(self, video_processor: Any, fps: float = 0.0, max_frames: int = 0) -> None:
        """``fps`` and ``max_frames`` of the user; 0 for those of the checkpoint or the card."""
        name = type(video_processor).__name__
        self._processor = copy.copy(video_processor)
        stated = {key: getattr(video_processor, key, None) for key in ("fps", "num_frames")}
        if not (stated["fps"] or stated["num_frames"]):
            stated |= CARDS.get(name, {})
        if fps:
            most = max_frames or stated["num_frames"] or CARDS.get(name, {}).get("num_frames")
            stated = {"fps": fps, "num_frames": most if name in CAPPED else None}
        for key, value in stated.items():
            setattr(self._processor, key, value)
        if max_frames and getattr(self._processor, "max_frames", None):
            self._processor.max_frames = max_frames
            self._processor.min_frames = min(self._processor.min_frames, max_frames)
        self._by_rule = bool(stated["fps"] or stated["num_frames"])
        self._max_frames = max_frames
        self.settings = {**stated, "max_frames": max_frames or getattr(self._processor, "max_frames", None)}

    def open(self, reader: MediaReader, media: Media, frames: int) -> Clip:
        """Decode the frames that the processor chooses.

        Args:
            reader: with the limits of a medium.
            media: a clip.
            frames: how many are taken where nothing states a rule.

        Raises:
            MediaError: the clip cannot be read, or its frames are over the budget.
            RequestFailed: the processor's rule does not apply to it.
        """
        from transformers.video_utils import VideoMetadata

        timeline = reader.timeline(media)
        total = len(timeline.seconds)
        metadata = VideoMetadata(total_num_frames=total, fps=timeline.rate, duration=total / timeline.rate)
        places = self._chosen(metadata, timeline, frames)
        found = reader.frames(media, places)
        metadata.height, metadata.width = found.shape[1:3]
        indices: Any = [_place(timeline, place) for place in places]  # typed as whole numbers
        metadata.frames_indices = indices
        return Clip(frames=found, metadata=metadata)

    def _chosen(self, metadata: Any, timeline: Timeline, frames: int) -> list[int]:
        if self._by_rule:
            own = self._processor
            names = set(own.valid_kwargs.__annotations__) - PASSED_BY_US
            settings = {name: getattr(own, name, None) for name in names}
            if settings.get("fps"):
                settings["fps"] = min(settings["fps"], metadata.fps)
            if settings.get("num_frames"):
                settings["num_frames"] = min(settings["num_frames"], metadata.total_num_frames)
            try:
                places = [int(place) for place in own.sample_frames(metadata=metadata, **settings)]
            except (ValueError, TypeError, ArithmeticError) as error:
                raise RequestFailed(
                    f"{type(own).__name__} chooses no frames of {metadata.total_num_frames}: {reason(error)}; "
                    "-o fps or -o video=frames may"
                ) from error
        else:
            places = _middles(timeline, frames)
        most = self._max_frames or len(places)
        return places if len(places) <= most else [places[place] for place in _spread(len(places), most)]


def whole_clip(frames: NDArray[Any], rate: float) -> Clip:
    """A clip of which every frame is taken: uint8 (frames, height, width, 3), ``rate`` a second."""
    from transformers.video_utils import VideoMetadata

    count = len(frames)
    metadata = VideoMetadata(
        total_num_frames=count, fps=rate, duration=count / rate, frames_indices=list(range(count)),
        height=frames.shape[1], width=frames.shape[2],
    )  # fmt: skip
    return Clip(frames=frames, metadata=metadata)


def _middles(timeline: Timeline, frames: int) -> list[int]:
    """The places of the frames that are on the screen in the middles of equal parts, as ``load_video`` takes them."""
    import numpy as np

    middles = (np.arange(frames) + 0.5) * timeline.length / frames
    found = np.searchsorted(timeline.seconds, middles, side="right") - 1
    return [int(place) for place in found.clip(min=0)]


def _spread(count: int, most: int) -> list[int]:
    """``most`` places out of ``count``, equally far apart, the first and the last among them."""
    import numpy as np

    return [int(place) for place in np.linspace(0, count - 1, most).round()]


def _place(timeline: Timeline, place: int) -> float:
    """A frame's place, of which processors make seconds (place / fps); where the rate varies, one of the true time."""
    exact = float(timeline.seconds[place] - timeline.seconds[0]) * timeline.rate
    return place if abs(exact - place) < 0.5 else exact
