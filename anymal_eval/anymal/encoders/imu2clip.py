"""IMU2CLIP's motion encoder (Moon et al. 2022, arXiv:2210.14395): 6 channels at 200 Hz, windows of 5 s.

Written from the papers; its parts have the names of the released state dict, ``net.0`` ... ``net.5``, which thus loads.
Two quirks of the released network are kept on purpose: 1000 samples shrink to exactly 32, and the GRU then runs over
the 32 *channels* with the 32 time steps as its features. A window is therefore exactly 5 s: shorter motions are padded
with zeros at the end, longer ones take several windows.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anymal_eval.anymal.encoders import Encoder, EncoderOptions, check_form, cut
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.checkpoints.locating import locate
from anymal_eval.checkpoints.weights import fill_module, state_dict
from anymal_eval.errors import BadCheckpoint
from anymal_eval.paths import expanded

CHANNELS, RATE, SECONDS, STEPS = 6, 200, 5, 32
_LAST = "net.5.weight_hh_l0"


@dataclass(frozen=True, kw_only=True)
class Options(EncoderOptions):
    """Options of IMU2CLIP. ``path`` is the file of the state dict (.safetensors, or a .pt that holds tensors only),
    or a folder or a repository with it.

    Attributes:
        output: the GRU's 32 states, or the last one (which IMU2CLIP itself compares with CLIP).
        width: of the GRU, used only to estimate memory where there is no file.
    """

    output: Literal["states", "last"] = "states"
    width: int = 512


class _Block(nn.Module):
    """Convolution and pooling, with the released names."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(channels, STEPS, kernel, dilation=2, bias=False), nn.MaxPool1d(3))

    def forward(self, motion: Tensor) -> Tensor:
        """(w, c, t) -> (w, 32, t')."""
        out: Tensor = self.net(motion)
        return out


class IMU2CLIP(Encoder):
    """A motion to features.

    Shapes:  w windows · t = 1000 samples · n = 32 states (1 for the last alone) · e GRU width
    """

    medium = "imu"

    def __init__(self, options: Options, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.GroupNorm(2, CHANNELS),
            _Block(CHANNELS, 10),
            _Block(STEPS, 5),
            _Block(STEPS, 5),
            nn.GroupNorm(4, STEPS),
            nn.GRU(input_size=STEPS, hidden_size=width, batch_first=True),
        )
        self.width = width
        self.window_shape = (CHANNELS, RATE * SECONDS)
        self.layer = options.output
        self._last = options.output == "last"

    def preprocess(self, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """(6, samples) at 200 Hz -> (w, 6, 1000)."""
        check_form(media, "imu")
        windows = cut(torch.from_numpy(np.array(media)), RATE * SECONDS)
        return nn.functional.pad(windows, (0, RATE * SECONDS - windows.shape[-1]))

    def forward(self, windows: Tensor) -> Tensor:
        """(w, 6, 1000) -> (w, n, e)."""
        states, _ = self.net(windows.to(next(self.parameters()).dtype))
        out: Tensor = states[:, -1:] if self._last else states
        return out

    @property
    def preprocessing(self) -> str:
        """The same for every checkpoint."""
        return f"{CHANNELS} x {RATE} Hz, {SECONDS} s windows side by side, zeros at the end"


def build(options: Options, loading: BackboneLoading) -> IMU2CLIP:
    """Load the released state dict, with any prefix before its names."""
    if not loading.weights:
        with torch.device("meta"):
            return IMU2CLIP(options, options.width).to(loading.dtype)
    path = place_of(options.path)
    state = _own(state_dict(weights_file(path)), path)
    encoder = IMU2CLIP(options, state[_LAST].shape[1])
    fill_module(encoder, state, path)
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name} {tuple(state[name].shape)}".encode() + state[name].float().numpy().tobytes())
    encoder.weights = digest.hexdigest()
    return encoder.to(loading.dtype)


def place_of(path: str) -> Path:
    """The file, the folder, or the hub's copy of OWNER/NAME, a repository of one's own with the file.

    Raises:
        BadCheckpoint: the hub does not give the repository.
    """
    place = expanded(path)
    is_name = path.count("/") == 1 and place.suffix not in (".safetensors", ".pt", ".ckpt") and path[0] not in "./~"
    return locate(path, convert=True) if is_name and not place.exists() else place


def weights_file(path: Path) -> Path:
    """The file of the state dict: the path itself, or the one such file in a folder.

    Raises:
        BadCheckpoint: the folder holds none, or several.
    """
    if not path.is_dir():
        return path
    found = [*path.glob("*.safetensors"), *path.glob("*.pt"), *path.glob("*.ckpt")]
    if len(found) != 1:
        raise BadCheckpoint(f"{path} must hold exactly one .safetensors, .pt or .ckpt file, has {len(found)}")
    return found[0]


def _own(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """The motion encoder's tensors out of a trainer's checkpoint, without the prefix."""
    prefixes = {name.removesuffix(_LAST) for name in content if name.endswith(_LAST)}
    if len(prefixes) != 1:
        raise BadCheckpoint(f"{path} holds {len(prefixes)} tensors named *{_LAST}; an IMU2CLIP encoder has one")
    prefix = prefixes.pop()
    return {name.removeprefix(prefix): value for name, value in content.items() if name.startswith(prefix + "net.")}
