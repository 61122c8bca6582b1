"""CLIP's vision tower: OpenAI's ViT-L/14 at 336 pixels, and OpenCLIP's bigG in its transformers port.

AnyMAL (arXiv:2309.16058) has ViT-L and "ViT-G" and does not state the layer. The default here is LLaVA's: -2 without
the class token.
"""

from dataclasses import dataclass

from anymal_eval.anymal.encoders import image_processor, load_backbone
from anymal_eval.anymal.encoders._vit import ViT, ViTOptions, stop_at
from anymal_eval.checkpoints.loading import BackboneLoading


@dataclass(frozen=True, kw_only=True)
class Options(ViTOptions):
    """Options of CLIP, which normalises no hidden state but the class token's.

    Attributes:
        post_norm: apply that norm to all tokens, as some networks trained on OpenCLIP do.
    """

    layer: int = -2
    post_norm: bool = False


def build(options: Options, loading: BackboneLoading) -> ViT:
    """Load it from its own checkpoint or from that of both towers."""
    model = load_backbone("CLIPVisionModel", options, loading)
    stop_at(model, model.encoder.layers, options, norm=None)
    encoder = ViT(model, image_processor(options, loading), options, leading=1)
    if options.post_norm:
        encoder.after = model.post_layernorm
        encoder.layer += ", normalised"
    return encoder
