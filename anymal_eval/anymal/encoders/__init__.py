"""Frozen encoders, one file each; the file's name is the encoder's name, and nothing else lists them.

A file defines ``Options`` (the keys of a preset's ``[modalities.*.encoder]``) and ``build(options, loading)``.

Shapes, here and in every encoder:  w windows (of one clip, or of many stacked) · n tokens of a window · e width
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anymal_eval import catalog
from anymal_eval.checkpoints.loading import BackboneLoading, backbone, checkpoint_errors, freeze, library, quiet
from anymal_eval.checkpoints.locating import locate
from anymal_eval.checkpoints.media_processors import torchvision_fault
from anymal_eval.checkpoints.weights import fingerprint
from anymal_eval.errors import BadCheckpoint, BadDefinition, MediaError, NeedsExtra

Medium = Literal["image", "audio", "video", "imu"]


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """Options of every encoder.

    Attributes:
        kind: the encoder's name.
        path: its checkpoint: a folder or a hub repository.
        architecture: ``model_type`` and sizes, used only to estimate memory where ``path`` is not on this machine.
    """

    kind: str
    path: str
    architecture: Mapping[str, Any] | None = None


class Encoder(nn.Module, ABC):
    """Media to features. Frozen: a checkpoint holds only the fingerprint of its weights.

    The class's name, ``layer`` and ``preprocessing`` are parts of the keys of cached features: changing one of them
    makes all users encode again.

    Attributes:
        medium: the kind of media it takes.
        width: e.
        window_shape: shape of one window from ``preprocess``, without the leading w.
        windows_of: windows of a plain medium (frames of a video for the image-on-frames encoder).
        frames: of a clip, which are decoded for it; None for other media.
        layer: which of its outputs the features are, in words.
        weights: the fingerprint of its checkpoint.
    """

    medium: Medium
    width: int
    window_shape: tuple[int, ...]
    windows_of: int = 1
    frames: int | None = None
    layer: str
    weights: str

    @abstractmethod
    def preprocess(self, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """An array from the decoder -> (w, ...window_shape) on the CPU. Safe in any thread.

        Raises:
            MediaError: the array is not of this medium's form.
        """

    @abstractmethod
    def forward(self, windows: Tensor) -> Tensor:
        """(w, ...window_shape) -> (w, n, e)."""

    @property
    @abstractmethod
    def preprocessing(self) -> str:
        """Everything ``preprocess`` depends on, as text."""

    @property
    def image_processor(self) -> Any:
        """The processor of transformers that resizes its pictures; None where there is none."""
        return getattr(self, "_processor", None)

    @property
    def fingerprint(self) -> str:
        """A digest of everything that determines its features besides the media."""
        dtype = str(next(self.parameters()).dtype)
        parts = [type(self).__name__, self.weights, self.preprocessing, self.layer, dtype]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def names() -> list[str]:
    """The names of all encoders, sorted, those of installed packages too. Imports none."""
    return catalog.encoders().names()


def options_of(kind: str) -> type[EncoderOptions]:
    """The options of an encoder.

    Raises:
        BadDefinition: no encoder has that name.
    """
    found: type[EncoderOptions] = _module(kind).Options
    return found


def build(options: EncoderOptions, loading: BackboneLoading) -> Encoder:
    """A frozen encoder with its weights, or on the meta device.

    Raises:
        BadCheckpoint: whatever is wrong with its checkpoint.
        BadDefinition: an option that cannot be.
    """
    module = _module(options.kind)
    with checkpoint_errors(f"{options.path} cannot be loaded as {options.kind}"):
        encoder: Encoder = module.build(options, loading)
        if not hasattr(encoder, "weights"):
            encoder.weights = weights_of(options) if loading.weights else "shapes only"
    freeze(encoder)
    return encoder


def weights_of(options: EncoderOptions) -> str:
    """The fingerprint of an encoder's checkpoint; a file of an encoder defines its own where it has another layout.

    Raises:
        BadCheckpoint: it is not there, or holds no weights.
    """
    own = getattr(_module(options.kind), "weights_of", None)
    return str(own(options)) if own is not None else fingerprint(locate(options.path, convert=True))


def licence_of(kind: str) -> str:
    """The licence of an encoder's released weights where they carry no card of their own, else an empty string."""
    return str(getattr(_module(kind), "LICENCE", ""))


def _module(kind: str) -> Any:
    if kind not in names():
        raise BadDefinition(f"no encoder named {kind!r}; there are {', '.join(names())}")
    return catalog.encoders().module(kind)


def load_backbone(name: str, options: EncoderOptions, loading: BackboneLoading) -> Any:
    """A class of transformers with its weights, or on the meta device."""
    with torch.no_grad():
        return backbone(getattr(library(), name), options.path, options.architecture, loading)


def image_processor(options: EncoderOptions, loading: BackboneLoading) -> Any:
    """The checkpoint's image processor, without torchvision; None on the meta device.

    Raises:
        BadCheckpoint: it has no preprocessor_config.json.
        NeedsExtra: torchvision is installed, and cannot be imported.
    """
    if not loading.weights:
        return None
    folder = locate(options.path, convert=True)
    try:
        with checkpoint_errors(f"{folder} has no usable preprocessor_config.json"), quiet():
            return library().AutoImageProcessor.from_pretrained(folder, backend="pil")
    except BadCheckpoint as error:
        if fault := torchvision_fault():
            raise NeedsExtra(f"{folder}: {fault}") from error
        raise


def image_pixels(processor: Any, images: Sequence[NDArray[np.uint8]], shape: tuple[int, ...]) -> Tensor:
    """Images (H, W, 3) uint8, w of them -> (w, *shape), each by the checkpoint's own processor.

    Raises:
        BadCheckpoint: the processor's output has another shape than the encoder's input.
    """
    out = processor(list(images), return_tensors="pt", input_data_format="channels_last")
    made: Tensor = out["pixel_values"].float()
    if tuple(made.shape[1:]) != shape:
        raise BadCheckpoint(
            f"the image processor gives {tuple(made.shape[1:])}, the encoder takes {shape}: "
            "preprocessor_config.json belongs to another checkpoint"
        )
    return made


def check_form(media: NDArray[Any], medium: Medium) -> None:
    """Refuse an array that is no decoded medium of this kind.

    Raises:
        MediaError: another shape or type, an empty array, or numbers that are not finite.
    """
    forms = {
        "image": (np.uint8, "uint8 (H, W, 3)", media.ndim == 3 and media.shape[-1] == 3),
        "audio": (np.float32, "float32 (samples,)", media.ndim == 1),
        "video": (np.uint8, "uint8 (k, H, W, 3)", media.ndim == 4 and media.shape[-1] == 3),
        "imu": (np.float32, "float32 (6, samples)", media.ndim == 2 and media.shape[0] == 6),
    }
    dtype, expected, fits = forms[medium]
    if not fits or media.dtype != dtype or media.size == 0:
        raise MediaError(f"{medium}: expected {expected}, got {media.dtype} {media.shape}")
    if dtype == np.float32 and not np.isfinite(media).all():
        raise MediaError(f"{medium}: holds NaN or infinity")


def cut(samples: Tensor, size: int) -> Tensor:
    """A clip as windows that together cover it.

    Args:
        samples: (..., t).
        size: samples in a window.

    Returns:
        (w, ..., size): consecutive windows; the last one ends with the clip and overlaps the one before, so that no
        window is padded and nothing is dropped. A clip of up to one window is returned unchanged.

    >>> cut(torch.arange(10), 4).tolist()
    [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]
    """
    return torch.stack(parts(samples, size))


def parts(samples: Tensor, size: int) -> list[Tensor]:
    """The windows of ``cut`` as views, which take no memory."""
    length = samples.shape[-1]
    if length <= size:
        return [samples]
    return [samples[..., start : start + size] for start in (*range(0, length - size, size), length - size)]
