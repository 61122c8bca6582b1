"""ImageBind's towers for images, video, audio and motion (Girdhar et al. 2023, arXiv:2305.05665).

One encoder kind; its option ``medium`` says which tower. Depth and thermal images are media that this network does not
take, and text needs no encoder: their towers are not loaded. Written from the paper; the parts have the names of the
released state dict ``imagebind_huge.pth`` (its keys and sizes as listed in the proposal of ImageBind for transformers,
``convert_imagebind_original_pytorch_to_hf.py`` and ``configuration_imagebind.py``, Apache 2.0). The weights are
CC BY-NC 4.0: no commercial use.

The features are the one vector of a window in the space that all media share, of length 1 (images, video), 20 (audio)
or 5 (motion), the released logit scales; or the patches after the head's norm.

Preprocessing (appendix B of the paper, and the same proposal's feature extractor):

image   shorter side to 224 pixels, bicubic; the middle; CLIP's mean and standard deviation
video   clips of 2 frames, each frame like an image; upstream takes 3 crops of each, here the middle alone
audio   16 kHz; parts of 2 s; Kaldi's 128 log-mel bins in frames of 25 ms every 10 ms, filled with zeros to 204 frames;
        mean -4.268 and standard deviation 9.138
imu     5 s as 2000 samples: those at 200 Hz are interpolated; the paper's recordings have about 400 a second
"""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

from anymal_eval.anymal.encoders import Encoder, EncoderOptions, Medium, check_form, cut, image_pixels, parts
from anymal_eval.anymal.encoders._imagebind import CHANNELS, HEADS, HUGE, MELS, STEPS, Sizes, Tower, sizes_of
from anymal_eval.anymal.encoders.frames import pick
from anymal_eval.checkpoints.conversion import file_with_safetensors
from anymal_eval.checkpoints.files import pickled_files, weight_files
from anymal_eval.checkpoints.loading import BackboneLoading, library
from anymal_eval.checkpoints.locating import locate, locate_file
from anymal_eval.checkpoints.released import is_hub_file
from anymal_eval.checkpoints.weights import fill_module, fingerprint, read_folder
from anymal_eval.errors import BadCheckpoint, BadDefinition, MediaError
from anymal_eval.paths import expanded

LICENCE = "CC BY-NC 4.0, no commercial use"
RELEASED = "imagebind_huge.pth"
RATE = 16_000
MEAN, STD = -4.268, 9.138
_FRAME, _HOP, _FFT, _FLOOR = 400, 160, 512, 1.192092955078125e-07
MOTION_RATE, MOTION_SECONDS = 200, 5
# In released names: image and video share a tower.
TOWERS = {"image": "vision", "video": "vision", "audio": "audio", "imu": "imu"}
SCALES = {"vision": 1.0, "audio": 20.0, "imu": 5.0}


@dataclass(frozen=True, kw_only=True)
class Options(EncoderOptions):
    """Options of ImageBind. ``path`` is ``imagebind_huge.pth``, here or in a hub repository, or a folder with it.

    Attributes:
        medium: which tower.
        output: the one vector of a window in the space that all media share, or its patches after the head's norm.
        clips: parts of 2 s of a sound, evenly placed, as upstream; 0 for parts side by side that cover all of it.
        frames: of a video, two a clip.
    """

    medium: Medium
    output: Literal["embedding", "patches"] = "embedding"
    clips: int = 3
    frames: int = 10


class ImageBind(Encoder):
    """A medium to one vector a window, or to its patches.

    Shapes:  w windows · h height and width · n patches (1 for the vector) · e width
    """

    def __init__(self, tower: Tower, sizes: Sizes, options: Options, scale: float) -> None:
        super().__init__()
        self.tower = tower
        self.medium = options.medium
        self._options, self._scale, self._processor = options, scale, None
        patchwise = options.output == "patches"
        self.width = sizes.hidden_size if patchwise else sizes.projection_size
        self.layer = f"{options.medium}, {options.output}"
        side = sizes.image_size
        shapes: dict[str, tuple[int, ...]] = {
            "image": (3, side, side),
            "video": (2, 3, side, side),
            "audio": (1, MELS, STEPS),
            "imu": (CHANNELS, side),
        }
        self.window_shape = shapes[options.medium]
        if options.medium == "video":
            self.frames, self.windows_of = options.frames, options.frames // 2
        if options.medium in ("image", "video"):
            square = {"height": side, "width": side}
            self._processor = library().CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=square)

    def preprocess(self, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """A decoded medium -> (w, ...window_shape); see the top of this file."""
        check_form(media, self.medium)
        match self.medium:
            case "image":
                return image_pixels(self._processor, [media], self.window_shape)
            case "video":
                frames = [media[i] for i in pick(len(media), self._options.frames)]
                return image_pixels(self._processor, frames, self.window_shape[1:]).reshape(-1, *self.window_shape)
            case "audio":
                return _spectrograms(media, sample_rate, self._options.clips)
            case "imu":
                size = MOTION_RATE * MOTION_SECONDS
                windows = cut(torch.from_numpy(np.array(media)), size)
                whole = pad(windows, (0, size - windows.shape[-1]))
                return interpolate(whole, self.window_shape[-1], mode="linear", align_corners=False)

    def forward(self, windows: Tensor) -> Tensor:
        """(w, ...window_shape) -> (w, n, e)."""
        windows = windows.to(next(self.parameters()).dtype)
        if self.medium == "image":  # a picture stands still for two frames
            windows = windows[:, None].expand(-1, 2, -1, -1, -1)
        if self.medium in ("image", "video"):
            windows = windows.transpose(1, 2)
        if self._options.output == "patches":
            return self.tower.tokens(windows)[:, 1:]
        return self._scale * self.tower.embedding(windows)[:, None]

    @property
    def preprocessing(self) -> str:
        """The same for every checkpoint of one size."""
        options = self._options
        more = {"audio": f", {options.clips} clips", "video": f", {options.frames} frames, the middle"}
        return f"ImageBind, {self.medium} as {self.window_shape}{more.get(self.medium, '')}"


def _spectrograms(samples: NDArray[np.float32], rate: int | None, clips: int) -> Tensor:
    """(samples,) -> (w, 1, 128, 204). A sound of up to 2 s is one window."""
    if rate is None:
        raise MediaError("audio: its sample rate is not known")
    if rate != RATE:
        import soxr

        samples = np.asarray(soxr.resample(samples, rate, RATE), dtype=np.float32)
    size = 2 * RATE
    last = len(samples) - size
    if last <= 0:
        windows = [samples]
    elif clips:
        starts = [last * place // max(clips - 1, 1) for place in range(clips)]
        windows = [samples[start : start + size] for start in starts]
    else:
        windows = [window.numpy() for window in parts(torch.from_numpy(np.ascontiguousarray(samples)), size)]
    mels = [(_log_mel(window) - MEAN) / STD for window in windows]
    return torch.from_numpy(np.stack(mels)[:, None].astype(np.float32))


def _log_mel(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """(t,) -> (128, 204), as Kaldi computes it; zeros behind the last frame, as upstream."""
    import scipy.fft

    whole = samples.astype(np.float64) - samples.mean(dtype=np.float64)
    whole = np.pad(whole, (0, max(0, _FRAME - len(whole))))
    frames = np.lib.stride_tricks.sliding_window_view(whole, _FRAME)[::_HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectrum = scipy.fft.rfft((frames - 0.97 * before) * np.hanning(_FRAME), _FFT)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    mel = np.log(np.maximum(power @ _filters(), _FLOOR)).T[:, :STEPS]
    return np.pad(mel, ((0, 0), (0, STEPS - mel.shape[1])))


@cache
def _filters() -> NDArray[np.float64]:
    """Kaldi's mel filters, (bins, mels): triangles in mel from 20 Hz on. The lowest ones lie between two bins."""
    bins = 1127.0 * np.log1p(np.arange(_FFT // 2 + 1) * RATE / _FFT / 700.0)[:, None]
    first, last = (float(1127.0 * np.log1p(hertz / 700.0)) for hertz in (20.0, RATE / 2))
    edges = np.linspace(first, last, MELS + 2)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    found: NDArray[np.float64] = np.maximum(
        0.0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
    )
    return found


def weight_file(place: Path) -> Path:
    """The pickle at a path: a file itself, or the one in a folder.

    Raises:
        BadCheckpoint: the folder holds none, or several.
    """
    if place.is_file():
        return place
    found = [*pickled_files(place), *sorted(place.glob("*.pth"))]
    if len(found) != 1:
        raise BadCheckpoint(f"{place} must hold {RELEASED}, or its tensors as safetensors; it has {len(found)} pickles")
    return found[0]


def _folder(path: str) -> Path:
    """The folder with the tensors as safetensors: converted once where they are a pickle."""
    file = expanded(path)
    place = file if file.is_file() else locate_file(path) if is_hub_file(path) else locate(path, convert=True)
    return place if place.is_dir() and weight_files(place) else file_with_safetensors(weight_file(place))


def weights_of(options: EncoderOptions) -> str:
    """The fingerprint of all towers together: image and audio of one file have the same."""
    return fingerprint(_folder(options.path))


def build(options: Options, loading: BackboneLoading) -> ImageBind:
    """Load one tower of the released state dict.

    Raises:
        BadCheckpoint: it is none.
        BadDefinition: an odd number of frames, or a negative number of clips.
    """
    if options.frames < 2 or options.frames % 2 or options.clips < 0:
        raise BadDefinition(f"imagebind: {options.frames} frames are not clips of two, or {options.clips} clips")
    name = TOWERS[options.medium]
    if not loading.weights:
        given = options.architecture or {}
        sizes = Sizes(**{**asdict(HUGE[name]), **{key: given[key] for key in asdict(HUGE[name]) if key in given}})
        with torch.device("meta"):
            return ImageBind(Tower(name, sizes).to(loading.dtype), sizes, options, SCALES[name])
    folder = _folder(options.path)
    tensors: dict[str, Tensor] = {}
    for part in ("modality_preprocessors", "modality_trunks", "modality_heads", "modality_postprocessors"):
        prefix = f"{part}.{name}."
        tensors |= {prefix + each: value for each, value in read_folder(folder, prefix).items()}
    scale = tensors.pop(f"modality_postprocessors.{name}.1.log_logit_scale", None)
    sizes = sizes_of(tensors, name, folder)
    if sizes.hidden_size % HEADS[name]:
        raise BadCheckpoint(f"{folder}: a width of {sizes.hidden_size} is no multiple of {HEADS[name]} heads")
    tower = Tower(name, sizes)
    fill_module(tower, tensors, folder)
    length = SCALES[name] if scale is None else min(float(scale.exp()), 100.0)
    return ImageBind(tower.to(loading.dtype), sizes, options, length)
