"""CLIP's vision tower: OpenAI's ViT-L/14 at 336 pixels, and OpenCLIP's bigG in its transformers port.

AnyMAL (arXiv:2309.16058) has ViT-L and "ViT-G" and does not state the layer. The default here is LLaVA's: -2 without
the class token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from anymal_eval.anymal.encoders import image_processor, load_backbone
from anymal_eval.anymal.encoders._vit import ViT, ViTOptions, stop_at
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.errors import MediaError

MOST_SQUARE = 1 << 27  # pixels, 400 MB


@dataclass(frozen=True, kw_only=True)
class Options(ViTOptions):
    """Options of CLIP, which normalises no hidden state but the class token's.

    Attributes:
        post_norm: apply that norm to all tokens, as some networks trained on OpenCLIP do.
        pad: fill a picture up to a square with the mean colour, as LLaVA-1.5 does, instead of cutting its ends off.
    """

    layer: int = -2
    post_norm: bool = False
    pad: bool = False


class PaddedViT(ViT):
    """Pixels to patch features, of pictures that are filled up to squares."""

    def pixels(self, frames: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Images (H, W, 3), w of them -> (w, 3, h, h)."""
        colour = [int(share * 255) for share in self._processor.image_mean]
        return super().pixels([_square(frame, colour) for frame in frames])

    @property
    def preprocessing(self) -> str:
        """The processor's settings, and the squares."""
        return f"filled up to squares; {super().preprocessing}"


def _square(image: NDArray[np.uint8], colour: Sequence[int]) -> NDArray[np.uint8]:
    """(H, W, 3) -> (s, s, 3) with the picture in the middle; one that makes too large a square is refused."""
    height, width, _ = image.shape
    side = max(height, width)
    if side * side > MOST_SQUARE:
        raise MediaError(f"{width} x {height} is too long: filled up to a square it has more than {MOST_SQUARE} pixels")
    square = np.full((side, side, 3), colour, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def build(options: Options, loading: BackboneLoading) -> ViT:
    """Load it from its own checkpoint or from that of both towers."""
    model = load_backbone("CLIPVisionModel", options, loading)
    stop_at(model, model.encoder.layers, options, norm=None)
    encoder = (PaddedViT if options.pad else ViT)(model, image_processor(options, loading), options, leading=1)
    if options.post_norm:
        encoder.after = model.post_layernorm
        encoder.layer += ", normalised"
    return encoder
