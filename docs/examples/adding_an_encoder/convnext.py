"""ConvNeXt's convolutional tower on images (Liu et al. 2022, arXiv:2201.03545): the cells of its last map."""

import json
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from anymal_eval.anymal.encoders import (
    Encoder,
    EncoderOptions,
    check_form,
    image_pixels,
    image_processor,
    load_backbone,
)
from anymal_eval.checkpoints.loading import BackboneLoading


@dataclass(frozen=True, kw_only=True)
class Options(EncoderOptions):
    """``side``: of the square input, in pixels; the checkpoint's processor must resize to it."""

    side: int = 224


class ConvNeXt(Encoder):
    """Shapes:  w images · h height and width in pixels · n cells · e width."""

    medium = "image"
    layer = "last map"

    def __init__(self, model: Any, processor: Any, options: Options) -> None:
        """Hold the model and the checkpoint's processor."""
        super().__init__()
        self.model, self._processor = model, processor
        self.width = int(model.config.hidden_sizes[-1])
        self.window_shape = (3, options.side, options.side)

    def preprocess(self, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, h, h)."""
        check_form(media, "image")
        return image_pixels(self._processor, [media], self.window_shape)

    def forward(self, windows: Tensor) -> Tensor:
        """(w, 3, h, h) -> (w, n, e)."""
        dtype = next(self.model.parameters()).dtype
        cells: Tensor = self.model(pixel_values=windows.to(dtype)).last_hidden_state
        return cells.flatten(2).transpose(1, 2)

    @property
    def preprocessing(self) -> str:
        """The processor's settings."""
        return json.dumps(self._processor.to_dict(), sort_keys=True, default=str)


def build(options: Options, loading: BackboneLoading) -> ConvNeXt:
    """Load it from its checkpoint."""
    return ConvNeXt(load_backbone("ConvNextModel", options, loading), image_processor(options, loading), options)
