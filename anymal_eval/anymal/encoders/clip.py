"""CLIP's vision tower: OpenAI's ViT-L/14 at 336 pixels, and OpenCLIP's bigG in its transformers port.

AnyMAL (arXiv:2309.16058) takes ViT-L and "ViT-G"; the layer is not stated, -2 without the class token is LLaVA's choice
and ours.
"""

from dataclasses import dataclass

from anymal_eval.anymal.encoders._vit import ViT, ViTOptions, load, processor, stop_at
from anymal_eval.checkpoints.loading import BackboneLoading


@dataclass(frozen=True, kw_only=True)
class Options(ViTOptions):
    """CLIP normalises no hidden state but the class token's, so every layer is given as it is.

    ``post_norm``: put that norm over all tokens, as some networks trained on OpenCLIP do.
    """

    layer: int = -2
    post_norm: bool = False


def build(options: Options, loading: BackboneLoading) -> ViT:
    """Load it from its own checkpoint or from that of both towers."""
    model = load("CLIPVisionModel", options, loading)
    stop_at(model, model.encoder.layers, options, norm=None)
    encoder = ViT(model, processor(options, loading), options, leading=1)
    if options.post_norm:
        encoder.after = model.post_layernorm
        encoder.layer += ", normalised"
    return encoder
