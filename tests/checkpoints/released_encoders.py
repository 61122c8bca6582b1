"""Every encoder, tiny and in the layout in which its weights are released, with an independent forward.

A new encoder needs a case here. A second computation is transformers' own class, or is written in the encoder's tests.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers as typed
from safetensors.torch import load_file
from torch import Tensor

from anymal_eval.anymal import encoders, tiny
from anymal_eval.anymal.encoders import EncoderOptions
from anymal_eval.codec import decode
from tests.anymal import test_encoders, test_internvideo, test_viclip

transformers: Any = typed  # its classes are typed by halves
VIT: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
CLAP: dict[str, Any] = {
    "model_type": "clap_audio_model", "patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2],
    "spec_size": 64, "window_size": 8, "num_mel_bins": 16, "hidden_size": 32,
}  # fmt: skip
RESNET: dict[str, Any] = {
    "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic",
}  # fmt: skip
Forward = Callable[[Path, Any, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A released encoder.

    Attributes:
        repository: where it is released; of IMU2CLIP, whose authors give the file on request, one's own.
        forward: the folder, the options and the windows to the features, without our encoder.
        architecture: of the tiny one.
        options: that differ from those of the released size.
        write: writes the folder, where transformers' classes do not.
    """

    repository: str
    forward: Forward
    architecture: dict[str, Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    write: Callable[[Path], object] | None = None


def small(kind: str, path: str, given: EncoderOptions | None = None) -> Any:
    """The options of the tiny encoder at a path; ``given``: of a preset, whose layer and outputs are kept."""
    case = CASES[kind]
    table = {**(vars(given) if given is not None else {}), "kind": kind, "path": path, **case.options}
    return decode(encoders.options_of(kind), {**table, "architecture": case.architecture}, kind)


def write(kind: str, folder: Path) -> None:
    """The folder of the tiny encoder in the released layout, with safetensors where transformers' classes write it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    case = CASES[kind]
    if case.write is not None:
        case.write(folder)
        return
    kind = {"frames": "clip"}.get(kind, kind)
    sizes = {name: value for name, value in case.options.items() if name in ("seconds", "side")}
    table = {"kind": kind, "path": str(folder), "architecture": case.architecture, **sizes}
    tiny.write_encoder(folder, decode(encoders.options_of(kind), table, kind))


def _hidden(name: str, leading: int) -> Forward:
    """The hidden states of a class of transformers."""

    def forward(folder: Path, options: Any, windows: Tensor) -> Tensor:
        model = getattr(transformers, name).from_pretrained(folder).eval()
        out = model(pixel_values=windows, output_hidden_states=True)
        hidden: Tensor = out.last_hidden_state if options.layer == -1 else out.hidden_states[options.layer]
        return hidden[:, leading:]

    return forward


def _clap(folder: Path, options: Any, windows: Tensor) -> Tensor:
    out = transformers.ClapAudioModel.from_pretrained(folder).eval()(input_features=windows)
    steps: Tensor = out.last_hidden_state.mean(dim=2).transpose(1, 2)
    return steps


def _resnet(folder: Path, options: Any, windows: Tensor) -> Tensor:
    model = transformers.ResNetModel.from_pretrained(folder).eval()
    # (w, c, g, g), of frames one after the other where there are several
    cells: Tensor = model(pixel_values=windows.flatten(0, windows.ndim - 4)).last_hidden_state
    tokens = cells.permute(0, 2, 3, 1).flatten(1, 2)
    return tokens.reshape(len(windows), -1, tokens.shape[-1])


def _viclip(folder: Path, options: Any, windows: Tensor) -> Tensor:
    state = {
        name.removeprefix("vision_encoder."): value for name, value in load_file(folder / "model.safetensors").items()
    }
    tokens = [test_viclip.norm(test_viclip.second(state, clip), state, "ln_post") for clip in windows]
    return torch.stack(tokens)[:, 1:]


def _write_viclip(folder: Path) -> None:
    test_viclip.write(folder)
    (folder / "config.json").write_text('{"model_type": "viclip"}', encoding="utf-8")


def _internvideo(folder: Path, options: Any, windows: Tensor) -> Tensor:
    state = test_internvideo.released()
    found = [test_internvideo.second(state, clip) for clip in windows]
    return torch.stack([torch.cat([token[None], patches]) for token, patches in found])


def _write_imu2clip(folder: Path) -> None:
    folder.mkdir()
    torch.save(test_encoders.released(), folder / "imu2clip.pt")


def _imu2clip(folder: Path, options: Any, windows: Tensor) -> Tensor:
    torch.manual_seed(0)
    return test_encoders.second(test_encoders.released(), windows)


CASES = {
    "clip": Case(
        repository="openai/clip-vit-large-patch14-336", forward=_hidden("CLIPVisionModel", 1),
        architecture={"model_type": "clip_vision_model", **VIT},
    ),
    "frames": Case(
        repository="laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", forward=_hidden("CLIPVisionModel", 1),
        architecture={"model_type": "clip_vision_model", **VIT},
    ),
    "dinov2": Case(
        repository="facebook/dinov2-giant", forward=_hidden("Dinov2Model", 1),
        architecture={"model_type": "dinov2", **VIT}, options={"image_size": 32},
    ),
    "siglip": Case(
        repository="google/siglip-so400m-patch14-384", forward=_hidden("SiglipVisionModel", 0),
        architecture={"model_type": "siglip_vision_model", **VIT},
    ),
    "clap": Case(
        repository="laion/clap-htsat-unfused", forward=_clap, architecture=CLAP, options={"seconds": 1},
    ),
    "videomae": Case(
        repository="MCG-NJU/videomae-base", forward=_hidden("VideoMAEModel", 0), options={"frames": 4},
        architecture={"model_type": "videomae", **VIT, "num_frames": 4},
    ),
    "viclip": Case(
        repository="OpenGVLab/ViCLIP-L-14-hf", forward=_viclip, write=_write_viclip,
        options={"frames": test_viclip.FRAMES},
    ),
    "internvideo": Case(
        repository="OpenGVLab/InternVideo1.0", forward=_internvideo, options={"frames": test_internvideo.FRAMES},
        write=lambda folder: test_internvideo.write(folder / "InternVideo-MM-L-14.ckpt"),
    ),
    "imu2clip": Case(repository="owner/imu2clip", forward=_imu2clip, write=_write_imu2clip),
    "resnet": Case(
        repository="microsoft/resnet-18", forward=_resnet, architecture=RESNET, options={"side": 32, "places": False},
    ),
    "resnet_frames": Case(
        repository="microsoft/resnet-18", forward=_resnet, architecture=RESNET,
        options={"side": 32, "places": False, "frames": 2},
    ),
}  # fmt: skip
