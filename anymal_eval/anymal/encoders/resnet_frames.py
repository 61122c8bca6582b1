"""A ResNet of transformers on the frames of a clip, with each token's time and position: the demo model's video tower.

Unlike in ``frames``, which concatenates an image encoder's outputs, each token carries the time of its frame. A
resampler ignores the order of its input: without the time a move to the left would equal one to the right.
"""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from anymal_eval.anymal.encoders import check_form
from anymal_eval.anymal.encoders._resnet import ResNet, ResNetOptions, parts
from anymal_eval.anymal.encoders.frames import pick
from anymal_eval.checkpoints.loading import BackboneLoading


@dataclass(frozen=True, kw_only=True)
class Options(ResNetOptions):
    """``frames``: k, evenly spaced where the decoder gives more."""

    frames: int = 8


class Clip(ResNet):
    """Shapes:  w clips · k frames · h height and width · n = k g g tokens · e width."""

    medium = "video"

    def preprocess(self, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """(k', H, W, 3) uint8 -> (1, k, 3, h, h), frames evenly spaced or repeated to k."""
        check_form(media, "video")
        return self.pixels([media[i] for i in pick(len(media), self.window_shape[0])])[None]

    def forward(self, windows: Tensor) -> Tensor:
        """(w, k, 3, h, h) -> (w, n, e)."""
        cells = self.cells(windows.flatten(0, 1))
        # (w, k n, c)
        return self.placed(cells.reshape(len(windows), -1, cells.shape[-1]))


def build(options: Options, loading: BackboneLoading) -> Clip:
    """Load it from a ResNet checkpoint."""
    return Clip(*parts(options, loading), options, frames=options.frames)
