"""An image encoder on k frames of a video: the "image model on video" rows of AnyMAL's Table 6 (k = 4)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from anymal_eval.anymal import encoders
from anymal_eval.anymal.encoders import Encoder, check_form
from anymal_eval.anymal.encoders._vit import ViT, ViTOptions
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.errors import BadDefinition


@dataclass(frozen=True, kw_only=True)
class Options(ViTOptions):
    """``image``: the image encoder's name; ``frames``: k, evenly spaced where the decoder gives more."""

    image: str = "clip"
    frames: int = 4
    layer: int = -2


class Frames(Encoder):
    """Each frame is a window; their features follow one another in time.

    They carry no time of their own, and a resampler ignores the order of its input: the projector ``perceiver`` adds
    the time of each frame where its option ``frames`` says so.

    Shapes:  w = k frames · n patches · e width
    """

    medium = "video"

    def __init__(self, image: ViT, options: Options) -> None:
        super().__init__()
        self.image = image
        self.width = image.width
        self.window_shape = image.window_shape
        self.windows_of = self.frames = options.frames
        self.layer = image.layer

    def preprocess(self, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """(k', H, W, 3) -> (k, 3, h, h)."""
        check_form(media, "video")
        return self.image.pixels([media[i] for i in pick(len(media), self.windows_of)])

    @property
    def image_processor(self) -> Any:
        """That of the image encoder."""
        return self.image.image_processor

    def forward(self, windows: Tensor) -> Tensor:
        """(w, 3, h, h) -> (w, n, e)."""
        out: Tensor = self.image(windows)
        return out

    @property
    def preprocessing(self) -> str:
        """Of the image encoder, and k."""
        return f"{self.windows_of} frames; {self.image.preprocessing}"


def pick(have: int, want: int) -> list[int]:
    """Indices of ``want`` evenly spaced frames out of ``have``; a short clip repeats frames.

    >>> pick(8, 4), pick(2, 4), pick(4, 4)
    ([1, 3, 5, 7], [0, 0, 1, 1], [0, 1, 2, 3])
    """
    middles = (np.arange(want) + 0.5) * have / want
    return [int(middle) for middle in np.minimum(middles, have - 1)]


def build(options: Options, loading: BackboneLoading) -> Frames:
    """Load the image encoder and apply it to frames."""
    of_image = encoders.options_of(options.image)
    if not issubclass(of_image, ViTOptions) or options.image == options.kind:
        raise BadDefinition(f"frames: {options.image!r} is no image encoder")
    inner = of_image(
        kind=options.image,
        path=options.path,
        architecture=options.architecture,
        layer=options.layer,
        class_token=options.class_token,
    )
    image = encoders.build(inner, loading)
    if not isinstance(image, ViT):
        raise BadDefinition(f"frames: {options.image!r} is no image encoder")
    return Frames(image, options)
