"""Shared by the image encoders: a vision transformer of transformers, its processor, the choice of a layer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from anymal_eval.anymal.encoders import Encoder, EncoderOptions, check_form, image_pixels
from anymal_eval.errors import BadDefinition


@dataclass(frozen=True, kw_only=True)
class ViTOptions(EncoderOptions):
    """Options of every vision transformer.

    Attributes:
        layer: index into transformers' ``hidden_states``; -1 is the last one, after the final norm where there is one.
        class_token: whether it stays in front of the patches.
    """

    layer: int = -1
    class_token: bool = False


class ViT(Encoder):
    """Pixels to patch features.

    Shapes:  w images · h height and width in pixels · n patches (+ class token) · e width
    """

    medium = "image"

    def __init__(self, model: Any, processor: Any, options: ViTOptions, *, leading: int) -> None:
        """``leading``: class and register tokens in front of the patches."""
        super().__init__()
        self.model = model
        self.width = int(model.config.hidden_size)
        self.window_shape = (3, int(model.config.image_size), int(model.config.image_size))
        self.layer = f"layer {options.layer}, {'with' if options.class_token else 'no'} class token"
        self.after: nn.Module = nn.Identity()
        self._processor = processor
        self._skip = 0 if options.class_token else leading

    def preprocess(self, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, h, h)."""
        check_form(media, "image")
        return self.pixels([media])

    def pixels(self, frames: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Images (H, W, 3), w of them -> (w, 3, h, h)."""
        return image_pixels(self._processor, frames, self.window_shape)

    def forward(self, windows: Tensor) -> Tensor:
        """(w, 3, h, h) -> (w, n, e)."""
        dtype = next(self.model.parameters()).dtype
        hidden: Tensor = self.model(pixel_values=windows.to(dtype)).last_hidden_state
        out: Tensor = self.after(hidden[:, self._skip :])
        return out

    @property
    def preprocessing(self) -> str:
        """The processor's settings."""
        return json.dumps(self._processor.to_dict(), sort_keys=True, default=str)


def stop_at(model: Any, layers: nn.ModuleList, options: ViTOptions, *, norm: str | None) -> None:
    """Remove the layers above the chosen one, which would only cost time and memory.

    Args:
        model: the encoder.
        layers: its transformer layers.
        options: with the chosen layer.
        norm: the attribute of ``model`` that normalises the last hidden state; inner ones are not normalised.

    Raises:
        BadDefinition: there is no such layer.
    """
    if options.layer == -1:
        return
    keep = options.layer if options.layer >= 0 else len(layers) + 1 + options.layer
    if not 0 < keep <= len(layers):
        raise BadDefinition(f"{options.path}: layer {options.layer} of {len(layers)} does not exist")
    del layers[keep:]
    if norm is not None:
        setattr(model, norm, nn.Identity())
