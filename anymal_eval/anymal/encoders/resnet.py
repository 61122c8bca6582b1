"""A ResNet of transformers on images (He et al. 2015, arXiv:1512.03385): the demo model's image tower.

Not one of AnyMAL's encoders; a small convolutional tower learns in minutes what a small transformer does not.
"""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from anymal_eval.anymal.encoders import check_form
from anymal_eval.anymal.encoders._resnet import ResNet, ResNetOptions, parts
from anymal_eval.checkpoints.loading import BackboneLoading


@dataclass(frozen=True, kw_only=True)
class Options(ResNetOptions):
    """An image is one window."""


class Picture(ResNet):
    """Shapes:  w images · h height and width · n cells · e width."""

    medium = "image"

    def preprocess(self, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, h, h)."""
        check_form(media, "image")
        return self.pixels([media])

    def forward(self, windows: Tensor) -> Tensor:
        """(w, 3, h, h) -> (w, n, e)."""
        return self.placed(self.cells(windows))


def build(options: Options, loading: BackboneLoading) -> Picture:
    """Load it from a ResNet checkpoint."""
    return Picture(*parts(options, loading), options, frames=0)
