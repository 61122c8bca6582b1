"""Perceiver Resampler (Flamingo, arXiv:2204.14198): any number of features to k tokens by cross-attention.

AnyMAL: 6 layers and 64 tokens for images, 4 and 32 for video, not at the LLM's width. Width, heads and head size are
not in the paper; 1024, 16 and 96 (the resampler of the public Flamingo ports) give the about 100M parameters it names.

The frames of a clip can get learned time embeddings, one for each frame, as in Flamingo: without them the order of
the frames does not change the tokens.

``resample`` equals transformers' ``IdeficsPerceiverResampler`` with the same weights (a test compares them to 1e-5,
forward and gradient), between one linear layer in, where the widths differ, and one out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention

from anymal_eval.anymal.projectors import Projector, ProjectorOptions
from anymal_eval.errors import BadData


@dataclass(frozen=True, kw_only=True)
class Options(ProjectorOptions):
    """``tokens`` and ``layers`` as in the paper; ``width`` is the resampler's own.

    Attributes:
        frames: k of the encoder, each of which gets a learned time embedding; 0 for none.
    """

    tokens: int = 64
    layers: int = 6
    width: int = 1024
    heads: int = 16
    head_size: int = 96
    frames: int = 0


class Attention(nn.Module):
    """Latents attend to the features and to themselves.

    Shapes:  b batch · n features · k latents · w width · h heads · s head size
    """

    def __init__(self, width: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.heads, inner = heads, heads * head_size
        self.features_norm = nn.LayerNorm(width)
        self.latents_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.output = nn.Linear(inner, width, bias=False)

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """(b, n, w) and (b, k, w) -> (b, k, w)."""
        latents = self.latents_norm(latents)
        # (b, n + k, w)
        seen = torch.cat([self.features_norm(features), latents], dim=1)
        # (b, h, k, s), twice (b, h, n + k, s)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(latents), self.key(seen), self.value(seen))
        )
        # (b, h, k, s)
        mixed = scaled_dot_product_attention(query, key, value)
        out: Tensor = self.output(mixed.transpose(1, 2).flatten(-2))
        return out


class FeedForward(nn.Module):
    """(b, k, w) -> (b, k, w), through a hidden layer four times as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, latents: Tensor) -> Tensor:
        """(b, k, w) -> (b, k, w)."""
        out: Tensor = self.down(relu(self.up(self.norm(latents))))
        return out


class Perceiver(Projector):
    """Resample any number of features to ``tokens`` tokens of the LLM's width.

    Shapes:  b batch · n encoder tokens · e encoder width · w own width · k latents · d LLM width
    """

    def __init__(self, options: Options, source_width: int, target_width: int) -> None:
        super().__init__()
        self.tokens = options.tokens
        width = options.width
        self.times: nn.Parameter | None = None
        if options.frames:  # (k, 1, e)
            self.times = nn.Parameter(torch.randn(options.frames, 1, source_width))
        self.input = nn.Identity() if source_width == width else nn.Linear(source_width, width)
        self.latents = nn.Parameter(torch.randn(options.tokens, width))
        self.attentions = nn.ModuleList(
            Attention(width, options.heads, options.head_size) for _ in range(options.layers)
        )
        self.feed_forwards = nn.ModuleList(FeedForward(width) for _ in range(options.layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, target_width)

    def resample(self, features: Tensor) -> Tensor:
        """(b, n, w) -> (b, k, w)."""
        latents = self.latents.expand(len(features), -1, -1)
        for attention, feed_forward in zip(self.attentions, self.feed_forwards, strict=True):
            latents = latents + attention(features, latents)
            latents = latents + feed_forward(latents)
        out: Tensor = self.norm(latents)
        return out

    def forward(self, features: Tensor) -> Tensor:
        """(b, n, e) -> (b, k, d).

        Raises:
            BadData: n is no multiple of the number of frames.
        """
        if self.times is not None:
            if features.shape[1] % len(self.times):
                raise BadData(f"{features.shape[1]} features are not of {len(self.times)} frames")
            # (b, k, n / k, e)
            of_frames = features.reshape(len(features), len(self.times), -1, features.shape[-1])
            features = (of_frames + self.times).flatten(1, 2)
        out: Tensor = self.output(self.resample(self.input(features)))
        return out


def build(options: Options, source_width: int, target_width: int) -> Perceiver:
    """A fresh resampler."""
    return Perceiver(options, source_width, target_width)
