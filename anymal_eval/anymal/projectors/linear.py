"""One linear layer to k tokens: AnyMAL's projector for audio and motion ("1 linear layer, 32 tokens").

The paper does not state how one layer makes 32 tokens, and two readings exist:

``pool``    the encoder's n tokens are averaged into k equal shares in time, each goes through the same e -> d layer.
            The default: CLAP's window has exactly 32 time steps and IMU2CLIP's GRU 32 states, so nothing is lost.
``expand``  the mean of the encoder's tokens (its one vector, when pooled) goes through one e -> k d layer, whose
            output is cut into k.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d

from anymal_eval.anymal.projectors import Projector, ProjectorOptions


@dataclass(frozen=True, kw_only=True)
class Options(ProjectorOptions):
    """``tokens``: k; ``reading``: see above."""

    tokens: int = 32
    reading: Literal["pool", "expand"] = "pool"


class Linear(Projector):
    """Shapes:  b batch · n encoder tokens · e encoder width · k modality tokens · d LLM width."""

    def __init__(self, options: Options, source_width: int, target_width: int) -> None:
        super().__init__()
        self.tokens = k = options.tokens
        self._count = k
        self._pool = options.reading == "pool"
        self.layer = nn.Linear(source_width, target_width if self._pool else k * target_width)

    def forward(self, features: Tensor) -> Tensor:
        """(b, n, e) -> (b, k, d)."""
        if self._pool:
            # (b, e, k): with fewer than k tokens some are repeated, k tokens are unchanged
            pooled = adaptive_avg_pool1d(features.transpose(1, 2), self._count)
            out: Tensor = self.layer(pooled.transpose(1, 2))
        else:
            out = self.layer(features.mean(dim=1)).reshape(len(features), self._count, -1)
        return out


def build(options: Options, source_width: int, target_width: int) -> Linear:
    """A fresh layer."""
    return Linear(options, source_width, target_width)
