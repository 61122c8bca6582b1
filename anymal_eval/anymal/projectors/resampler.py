"""The resampler of the public re-implementation babakd/anymal (its "anymal_v1"), under that network's names.

It differs from :mod:`.perceiver`: it has the LLM's width, attends to the features first and to itself second, and
ends with a norm. Written from that description, so that its checkpoints can be scored, see
``importers/babakd_anymal.py``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anymal_eval.anymal.projectors import Projector, ProjectorOptions


@dataclass(frozen=True, kw_only=True)
class Options(ProjectorOptions):
    """``heads`` is in none of its files; 16 is the default of its code."""

    tokens: int = 64
    layers: int = 6
    heads: int = 16
    growth: int = 4


class _Block(nn.Module):
    """Shapes:  b batch · n features · k latents · d LLM width."""

    def __init__(self, width: int, heads: int, growth: int) -> None:
        super().__init__()
        self.cross_attn_norm, self.context_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.self_attn_norm = nn.LayerNorm(width)
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ff_norm = nn.LayerNorm(width)
        self.ff = nn.ModuleDict(
            # indices 2 and 4 are dropouts there
            {
                "net": nn.Sequential(
                    nn.Linear(width, growth * width), nn.GELU(), nn.Identity(), nn.Linear(growth * width, width)
                )
            }
        )

    def forward(self, latents: Tensor, features: Tensor) -> Tensor:
        """(b, k, d) and (b, n, d) -> (b, k, d)."""
        seen = self.context_norm(features)
        latents = latents + self.cross_attn(self.cross_attn_norm(latents), seen, seen, need_weights=False)[0]
        own = self.self_attn_norm(latents)
        latents = latents + self.self_attn(own, own, own, need_weights=False)[0]
        out: Tensor = latents + self.ff["net"](self.ff_norm(latents))
        return out


class Resampler(Projector):
    """Shapes:  b batch · n encoder tokens · e encoder width · k latents · d LLM width."""

    def __init__(self, options: Options, source_width: int, target_width: int) -> None:
        super().__init__()
        self.tokens = options.tokens
        self.latents = nn.Parameter(torch.randn(options.tokens, target_width) * 0.02)
        self.input_proj = nn.Linear(source_width, target_width)
        self.layers = nn.ModuleList(_Block(target_width, options.heads, options.growth) for _ in range(options.layers))
        self.norm = nn.LayerNorm(target_width)

    def forward(self, features: Tensor) -> Tensor:
        """(b, n, e) -> (b, k, d)."""
        features = self.input_proj(features)
        latents = self.latents.expand(len(features), -1, -1)
        for layer in self.layers:
            latents = layer(latents, features)
        out: Tensor = self.norm(latents)
        return out


def build(options: Options, source_width: int, target_width: int) -> Resampler:
    """A fresh resampler."""
    return Resampler(options, source_width, target_width)
