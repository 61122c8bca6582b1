"""Shared by the two convolutional encoders: a ResNet of transformers, its processor, the positions of its tokens."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from anymal_eval.anymal.encoders import Encoder, EncoderOptions, image_pixels, image_processor, load_backbone
from anymal_eval.checkpoints.loading import BackboneLoading

WAVES = (1, 2, 4)  # half turns over the whole extent


@dataclass(frozen=True, kw_only=True)
class ResNetOptions(EncoderOptions):
    """Options of both.

    Attributes:
        side: of the square input, in pixels.
        grid: tokens along a side, the network's own number when 0.
        places: whether each token also carries its position, as sines. A convolution does not encode it (Liu et al.
            2018, CoordConv, arXiv:1807.03247), and a resampler ignores the order of its input.
    """

    side: int = 224
    grid: int = 0
    places: bool = True


class ResNet(Encoder):
    """Pixels to the cells of the last feature map.

    Shapes:  w images · h height and width in pixels · g cells along a side · n = g g tokens · e width
    """

    def __init__(self, model: Any, processor: Any, options: ResNetOptions, *, frames: int) -> None:
        """``frames``: 0 for images; for clips the number of frames in a window."""
        super().__init__()
        self.model = model
        config = model.config
        self._processor, self._places, self._frames = processor, options.places, frames
        self.frames = frames or None
        stride = 4 * 2 ** (len(config.hidden_sizes) - 1) * (2 if config.downsample_in_first_stage else 1)
        self._grid = options.grid or math.ceil(options.side / stride)
        self._axes = 3 if frames else 2
        self.width = int(config.hidden_sizes[-1]) + (2 * len(WAVES) * self._axes if options.places else 0)
        self.layer = f"last map, {self._grid} x {self._grid}, {'with' if options.places else 'no'} places"
        self.window_shape = (*((frames,) if frames else ()), 3, options.side, options.side)

    def pixels(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Images (H, W, 3), w of them -> (w, 3, h, h); the checkpoint's processor must resize to ``side``."""
        return image_pixels(self._processor, images, self.window_shape[-3:])

    def cells(self, pixels: Tensor) -> Tensor:
        """(w, 3, h, h) -> (w, n, c), without positions."""
        dtype = next(self.model.parameters()).dtype
        found: Tensor = self.model(pixel_values=pixels.to(dtype)).last_hidden_state
        if found.shape[-1] != self._grid:
            found = adaptive_avg_pool2d(found, self._grid)
        return found.flatten(2).transpose(1, 2)

    def placed(self, features: Tensor) -> Tensor:
        """(w, n, c) -> (w, n, e): each token followed by its row and column, and for clips its time."""
        if not self._places:
            return features
        sides = ([self._frames] if self._frames else []) + [self._grid, self._grid]
        axes = torch.meshgrid(*(torch.linspace(0, 1, side) for side in sides), indexing="ij")
        angles = torch.stack([math.pi * wave * axis.flatten() for axis in axes for wave in WAVES], dim=1)
        places = torch.cat([angles.sin(), angles.cos()], dim=1).to(features)
        return torch.cat([features, places.expand(len(features), -1, -1)], dim=-1)

    @property
    def preprocessing(self) -> str:
        """The processor's settings, and the number of frames."""
        settings = json.dumps(self._processor.to_dict(), sort_keys=True, default=str)
        return f"{self._frames} frames; {settings}" if self._frames else settings


def parts(options: ResNetOptions, loading: BackboneLoading) -> tuple[Any, Any]:
    """The network and its processor."""
    return load_backbone("ResNetModel", options, loading), image_processor(options, loading)
