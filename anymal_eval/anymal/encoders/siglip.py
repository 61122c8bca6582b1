"""SigLIP's vision tower; it has no class token."""

from dataclasses import dataclass

from anymal_eval.anymal.encoders import image_processor, load_backbone
from anymal_eval.anymal.encoders._vit import ViT, ViTOptions, stop_at
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.errors import BadDefinition


@dataclass(frozen=True, kw_only=True)
class Options(ViTOptions):
    """Options of every vision transformer."""


def build(options: Options, loading: BackboneLoading) -> ViT:
    """Load it from its own checkpoint or from that of both towers."""
    if options.class_token:
        raise BadDefinition("siglip: there is no class token to keep")
    model = load_backbone("SiglipVisionModel", options, loading)
    stop_at(model, model.encoder.layers, options, norm="post_layernorm")
    return ViT(model, image_processor(options, loading), options, leading=0)
