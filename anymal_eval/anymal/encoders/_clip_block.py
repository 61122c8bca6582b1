"""Shared by the video encoders that grew out of CLIP: a layer of its vision tower, with the released names."""

import torch
from torch import Tensor, nn

HEAD_SIZE = 64  # of every released size: ViT-B/16 has 12 heads, ViT-L/14 has 16


class Block(nn.Module):
    """Attention and a hidden layer four times as wide, with the released names.

    Shapes:  w clips · n tokens · e width
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // HEAD_SIZE, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(w, n, e) -> (w, n, e)."""
        seen = self.ln_1(tokens)
        tokens = tokens + self.attn(seen, seen, seen, need_weights=False)[0]
        hidden = self.mlp["c_fc"](self.ln_2(tokens))
        # CLIP's approximation of GELU
        out: Tensor = tokens + self.mlp["c_proj"](hidden * torch.sigmoid(1.702 * hidden))
        return out
