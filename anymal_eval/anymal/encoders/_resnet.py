"""What the two convolutional encoders share: a ResNet of transformers, its processor, and where each token lies."""

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

from anymal_eval.anymal.encoders import Encoder, EncoderOptions
from anymal_eval.anymal.encoders._vit import load, pixels, processor
from anymal_eval.checkpoints.loading import BackboneLoading

WAVES = (1, 2, 4)  # half turns over the whole extent


@dataclass(frozen=True, kw_only=True)
class ResNetOptions(EncoderOptions):
    """``side``: of the square input in pixels. ``grid``: tokens along a side, the network's own number when 0.

    ``places``: each token also carries where it lies, as sines. A convolution does not know it (Liu et al. 2018,
    CoordConv, arXiv:1807.03247), and a resampler cannot tell it from the order of what it is given.
    """

    side: int = 224
    grid: int = 0
    places: bool = True


class ResNet(Encoder):
    """Pixels to the last feature map's cells.

    Shapes:  w pictures · h height and width in pixels · g cells along a side · n = g g tokens · e width
    """

    def __init__(self, model: Any, processor: Any, options: ResNetOptions, *, frames: int) -> None:
        """``frames``: 0 for pictures; for clips how many pictures are one window."""
        super().__init__()
        self.model = model
        config = model.config
        self._processor, self._places, self._frames = processor, options.places, frames
        stride = 4 * 2 ** (len(config.hidden_sizes) - 1) * (2 if config.downsample_in_first_stage else 1)
        self._grid = options.grid or math.ceil(options.side / stride)
        self._axes = 3 if frames else 2
        self.width = int(config.hidden_sizes[-1]) + (2 * len(WAVES) * self._axes if options.places else 0)
        self.layer = f"last map, {self._grid} x {self._grid}, {'with' if options.places else 'no'} places"
        self.window_shape = (*((frames,) if frames else ()), 3, options.side, options.side)

    def pixels(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """W pictures of (H, W, 3) -> (w, 3, h, h); ``side`` must be what the checkpoint's processor makes."""
        return pixels(self._processor, pictures, self.window_shape[-3:])

    def cells(self, pixels: Tensor) -> Tensor:
        """(w, 3, h, h) -> (w, n, c), without places."""
        dtype = next(self.model.parameters()).dtype
        found: Tensor = self.model(pixel_values=pixels.to(dtype)).last_hidden_state
        if found.shape[-1] != self._grid:
            found = adaptive_avg_pool2d(found, self._grid)
        return found.flatten(2).transpose(1, 2)

    def placed(self, features: Tensor) -> Tensor:
        """(w, n, c) -> (w, n, e): beside each token its row and column, and for clips its time."""
        if not self._places:
            return features
        sides = ([self._frames] if self._frames else []) + [self._grid, self._grid]
        axes = torch.meshgrid(*(torch.linspace(0, 1, side) for side in sides), indexing="ij")
        angles = torch.stack([math.pi * wave * axis.flatten() for axis in axes for wave in WAVES], dim=1)
        places = torch.cat([angles.sin(), angles.cos()], dim=1).to(features)
        return torch.cat([features, places.expand(len(features), -1, -1)], dim=-1)

    @property
    def preprocessing(self) -> str:
        """The processor's own settings, and the frames."""
        settings = json.dumps(self._processor.to_dict(), sort_keys=True, default=str)
        return f"{self._frames} frames; {settings}" if self._frames else settings


def parts(options: ResNetOptions, loading: BackboneLoading) -> tuple[Any, Any]:
    """The network and its processor."""
    return load("ResNetModel", options, loading), processor(options, loading)
