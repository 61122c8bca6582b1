"""The most that one medium may take: known from its header before it is decoded, and from what a model makes of it.

The default lets pass what real data sets hold: photographs of 64 megapixels, 8 frames of 4K video of any length, half
an hour of sound, eleven hours of motion at 200 Hz or two at 1 kHz. No process then takes 1 GB for one medium.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Self

from anymal_eval.media.broken import TooLarge

RAISE = "media_budget"
"""The option that multiplies every limit."""

UNITS = {"aspect_ratio": ": 1"}
PIECE = 16 << 20  # bytes of an array in one message of a decoder process, which holds each message a second time


@dataclass(frozen=True, kw_only=True)
class MediaBudget:
    """Limits of one medium.

    Attributes:
        pixels: of an image, or of a frame.
        aspect_ratio: of the longer side to the shorter one. A processor that scales the shorter side makes a huge
            picture of a thin one.
        clip_pixels: of the frames of a clip that a request samples, together.
        resized_pixels: of an image or frame after a model's processor resized it, before it crops.
        sound_samples: of a sound at its own sample rate, at the model's, and at 48 kHz, where they are half an hour;
            channels are mixed while they are read.
        motion_samples: rows of a recording, and samples of the grid that it is interpolated to.
        packets: of a container, which are read to find its length: a day at 50 frames a second.
        file_bytes: of a medium that is read as a whole: an image, and any medium in a row of a data set.
        memory_bytes: of decoding, without the result in the calling process. A decoder process is held to it.
    """

    pixels: int = 64_000_000
    aspect_ratio: int = 200
    clip_pixels: int = 100_000_000
    resized_pixels: int = 16_000_000
    sound_samples: int = 86_400_000
    motion_samples: int = 8_000_000
    packets: int = 5_000_000
    file_bytes: int = 256 << 20
    memory_bytes: int = 800 << 20

    @classmethod
    def times(cls, factor: float) -> Self:
        """The default, every limit multiplied.

        Raises:
            ValueError: the factor is no positive number.
        """
        if not 0 < factor < math.inf:
            raise ValueError(f"{RAISE} must be a positive number, not {factor:g}")
        return cls(**{each.name: max(1, int(_default(each.name) * factor)) for each in fields(cls)})

    def hold(self, name: str, amount: float, what: str) -> None:
        """Refuse an amount over the limit ``name``.

        Args:
            name: a field of this class.
            amount: what the medium would take; NaN and infinity exceed every limit.
            what: says it, for the message.

        Raises:
            TooLarge: it exceeds the limit.

        >>> MediaBudget().hold("pixels", 10**9, "50000 x 20000")
        Traceback (most recent call last):
        ...
        anymal_eval.media.broken.TooLarge: 50000 x 20000 is over 64000000 pixels; media_budget=16 lets it pass
        """
        limit = getattr(self, name)
        if amount <= limit:
            return
        unit = UNITS.get(name) or name.rsplit("_", 1)[-1]
        times = amount / _default(name)
        hint = f"; {RAISE}={math.ceil(times)} lets it pass" if times < 1000 else ""
        raise TooLarge(f"{what} is over {limit} {unit}{hint}")


DEFAULT = MediaBudget()


def hold_size(budget: MediaBudget, width: int, height: int, what: str) -> None:
    """Refuse a picture of too many pixels, or of an extreme shape.

    Raises:
        TooLarge: names its size.
    """
    budget.hold("pixels", width * height, f"{what}{width} x {height}")
    budget.hold("aspect_ratio", max(width, height) / max(1, min(width, height)), f"{what}{width} x {height}")


def hold_resized(budget: MediaBudget, processor: Any, height: int, width: int) -> None:
    """Refuse an image that an image processor would resize to more pixels than a model has any use for.

    A processor that scales the shortest side to S makes S x S times the aspect ratio: 200 GB of a row of 200,000
    pixels. Processors that bound the longest side, the number of tiles or the area are not concerned.

    Args:
        budget: the limits.
        processor: of transformers, with ``size`` and ``do_resize``; any other object passes.
        height, width: of the image, in pixels.

    Raises:
        TooLarge: names both sizes.
    """
    size = _mapping(getattr(processor, "size", None))
    side, longest = size.get("shortest_edge"), size.get("longest_edge")
    if getattr(processor, "do_resize", True) is False:
        made = height * width
    elif isinstance(side, int) and not isinstance(longest, int):
        # Some scale to more than S first, and crop ``crop_pct`` of it.
        scale = side / min(height, width) / (getattr(processor, "crop_pct", None) or 1)
        made = math.ceil(height * scale) * math.ceil(width * scale)
    else:
        return
    budget.hold("resized_pixels", made, f"{width} x {height}, which the model's processor makes {made} pixels of,")


def _mapping(size: Any) -> dict[str, Any]:
    """``SizeDict`` and plain dictionaries alike."""
    try:
        return dict(size or {})
    except (TypeError, ValueError):
        return {}


def _default(name: str) -> int:
    return int(next(each.default for each in fields(MediaBudget) if each.name == name))  # type: ignore[arg-type]
