"""DINOv2 (with or without registers), self-supervised image features."""

from dataclasses import dataclass

from anymal_eval.anymal.encoders import image_processor, load_backbone
from anymal_eval.anymal.encoders._vit import ViT, ViTOptions, stop_at
from anymal_eval.checkpoints.loading import BackboneLoading, architecture


@dataclass(frozen=True, kw_only=True)
class Options(ViTOptions):
    """``image_size``: of the processor's crop; DINOv2's positions are interpolated from the 518 of training."""

    image_size: int = 224


def build(options: Options, loading: BackboneLoading) -> ViT:
    """Load it. Registers are no patches and are left out like the class token."""
    registers = int(getattr(architecture(options.path, options.architecture), "num_register_tokens", 0))
    name = "Dinov2WithRegistersModel" if registers else "Dinov2Model"
    model = load_backbone(name, options, loading)
    stop_at(model, model.encoder.layer, options, norm="layernorm")
    encoder = ViT(model, image_processor(options, loading), options, leading=1 + registers)
    encoder.window_shape = (3, options.image_size, options.image_size)
    return encoder
