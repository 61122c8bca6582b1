"""Two layers with a GELU between, token by token: LLaVA-1.5's connector, for comparison and for its weights."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import gelu

from anymal_eval.anymal.projectors import Projector, ProjectorOptions


@dataclass(frozen=True, kw_only=True)
class Options(ProjectorOptions):
    """``width``: of the hidden layer, the LLM's own when 0. ``bias`` as in LLaVA."""

    width: int = 0
    bias: bool = True


class MLP(Projector):
    """One modality token for each encoder token.

    Shapes:  b batch · n encoder tokens · e encoder width · w own width · d LLM width
    """

    tokens = None

    def __init__(self, options: Options, source_width: int, target_width: int) -> None:
        super().__init__()
        width = options.width or target_width
        self.first = nn.Linear(source_width, width, bias=options.bias)
        self.second = nn.Linear(width, target_width, bias=options.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(b, n, e) -> (b, n, d)."""
        out: Tensor = self.second(gelu(self.first(features)))
        return out


def build(options: Options, source_width: int, target_width: int) -> MLP:
    """Fresh layers."""
    return MLP(options, source_width, target_width)
