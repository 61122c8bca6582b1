"""Video encoders of the VideoMAE family, from transformers' checkpoints or files of their authors and InternVideo1.

Learned from videos alone, not aligned with text: AnyMAL's InternVideo is, and so is ``viclip``, which its presets take.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from anymal_eval.anymal.encoders import Encoder, check_form, image_processor, load_backbone
from anymal_eval.anymal.encoders._vit import ViTOptions, stop_at
from anymal_eval.anymal.encoders.frames import pick
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.checkpoints.released import released_file
from anymal_eval.checkpoints.videomae import convert_videomae, encoder_part, videomae_sizes
from anymal_eval.checkpoints.weights import fingerprint, read_shapes
from anymal_eval.errors import BadCheckpoint, BadDefinition
from anymal_eval.paths import expanded


@dataclass(frozen=True, kw_only=True)
class Options(ViTOptions):
    """Options of every vision transformer. ``path`` may be a file in the authors' layout, such as InternVideo1's.

    Attributes:
        frames: k, checked against the checkpoint's ``num_frames``; for a file in the authors' layout, those it was
            trained with, and ``architecture`` has its ``image_size`` where that is not 224.
    """

    frames: int = 16


class VideoMAE(Encoder):
    """A clip to tubelet features.

    Shapes:  w clips · k frames · h height and width · n = (k / tubelet) (h / patch)^2 · e width
    """

    medium = "video"

    def __init__(self, model: Any, processor: Any, options: Options) -> None:
        super().__init__()
        config = model.config
        self.model = model
        self.width = int(config.hidden_size)
        self.frames = int(config.num_frames)
        self.window_shape = (self.frames, 3, int(config.image_size), int(config.image_size))
        self.layer = f"layer {options.layer}"
        self._processor = processor

    def preprocess(self, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """(k', H, W, 3) uint8 -> (1, k, 3, h, h), frames evenly spaced or repeated to the encoder's k."""
        check_form(media, "video")
        frames = [media[i] for i in pick(len(media), self.window_shape[0])]
        out = self._processor(frames, return_tensors="pt", input_data_format="channels_last")
        pixels: Tensor = out["pixel_values"].float()
        return pixels.reshape(1, *self.window_shape)

    def forward(self, windows: Tensor) -> Tensor:
        """(w, k, 3, h, h) -> (w, n, e)."""
        dtype = next(self.model.parameters()).dtype
        out: Tensor = self.model(pixel_values=windows.to(dtype)).last_hidden_state
        return out

    @property
    def preprocessing(self) -> str:
        """The processor's settings."""
        return json.dumps(self._processor.to_dict(), sort_keys=True, default=str)


def build(options: Options, loading: BackboneLoading) -> VideoMAE:
    """Load it from its own checkpoint or from one with a head, in transformers' layout or its authors'.

    Raises:
        BadCheckpoint: it is none, or takes another number of frames.
    """
    if options.class_token:
        raise BadDefinition("videomae: there is no class token to keep")
    file = released_file(options.path) if loading.weights or expanded(options.path).exists() else None
    if file is not None:
        options = _in_transformers(options, file, weights=loading.weights)
    model = load_backbone("VideoMAEModel", options, loading)
    if model.config.num_frames != options.frames:
        raise BadCheckpoint(
            f"{options.path} takes {model.config.num_frames} frames, the encoder's option is frames = {options.frames}"
        )
    stop_at(model, model.encoder.layer, options, norm=None if model.layernorm is None else "layernorm")
    encoder = VideoMAE(model, image_processor(options, loading), options)
    if file is not None and loading.weights:
        encoder.weights = fingerprint(Path(options.path))
    return encoder


def _in_transformers(options: Options, file: Path, *, weights: bool) -> Options:
    """The options of a file in the authors' layout, with its converted copy, or with its sizes alone."""
    given = dict(options.architecture or {})
    if weights:
        return replace(options, path=str(convert_videomae(file, options.frames, given)))
    shapes = encoder_part(read_shapes(file))
    sizes = asdict(videomae_sizes(shapes, file, options.frames, given))
    own = {"model_type": "videomae", **sizes, "use_mean_pooling": "norm.weight" not in shapes}
    return replace(options, path="a file of its authors", architecture=own)
