"""The public re-implementation babakd/anymal, architecture "anymal_v1" (its ``models/anymal.py``, ``save_pretrained``).

Its folder holds ``projector.pt`` (a state dict), ``model_meta.json`` and, after instruction tuning, ``llm/`` (a PEFT
folder). It does not record which language model it was trained over, and a wrong one cannot be detected: ``--llm``
names it (the code's default is meta-llama/Meta-Llama-3-8B-Instruct), ``--encoder`` its CLIP as a transformers
checkpoint. Its other architectures (v2 and later) have other connectors and are refused.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from anymal_eval.anymal import lora, projectors
from anymal_eval.anymal.config import AnyMALConfig, LLMConfig, ModalityConfig
from anymal_eval.anymal.encoders.clip import Options as ClipOptions
from anymal_eval.anymal.importers import Given, Imported, _parts
from anymal_eval.anymal.projectors.resampler import Options as ResamplerOptions
from anymal_eval.checkpoints.files import read_json
from anymal_eval.checkpoints.weights import fill_module, read_tensors
from anymal_eval.errors import BadCheckpoint, WrongUse

LAYOUT = "babakd/anymal (projector.pt)"
META, PROJECTOR, ADAPTERS = "model_meta.json", "projector.pt", "llm"
# Its vision_model_name and vision_pretrained, as a transformers checkpoint.
CLIPS = {("ViT-L-14", "openai"): "openai/clip-vit-large-patch14"}
_WEIGHTS = (lora.WEIGHTS, "adapter_model.bin")


def is_one(folder: Path) -> bool:
    """Whether a folder has that layout."""
    return (folder / PROJECTOR).exists() or "preprocessing_family" in _parts.settings(folder, META)


def read(folder: Path, given: Given) -> Imported:
    """The network of such a folder.

    Raises:
        BadCheckpoint: another architecture, a file that is missing, not tensors alone, or does not fit.
        WrongUse: the language model or the encoder is not given.
    """
    meta = _checked_meta(folder)
    _parts.require(folder, PROJECTOR, what="its projector")
    state = read_tensors(folder / PROJECTOR)
    options = _resampler(state, folder / PROJECTOR)
    llm = _parts.require_given(given.llm, "--llm", f"{folder} does not record its language model")
    path = given.encoder or CLIPS.get((str(meta.get("vision_model_name")), str(meta.get("vision_pretrained"))), "")
    # their choice: the last hidden state with the class token, after CLIP's last norm
    encoder = ClipOptions(
        kind="clip",
        path=_parts.require_given(path, "--encoder", f"{folder} does not hold its CLIP"),
        layer=-1,
        class_token=True,
        post_norm=True,
    )
    modality = ModalityConfig(encoder=encoder, projector=options)
    return Imported(
        config=AnyMALConfig(llm=LLMConfig(path=llm), modalities={"image": modality}),
        projectors={f"image.{name}": value for name, value in state.items()},
        adapters=partial(_write_adapters, folder / ADAPTERS) if (folder / ADAPTERS).is_dir() else None,
    )


def _resampler(state: Mapping[str, Tensor], file: Path) -> ResamplerOptions:
    layers = {name.split(".")[1] for name in state if name.startswith("layers.")}
    if not {"latents", "input_proj.weight"} <= set(state) or not layers:
        raise BadCheckpoint(f"{file} holds no resampler: it lacks latents, input_proj or layers")
    if state["latents"].ndim != 2 or state["input_proj.weight"].ndim != 2:
        raise BadCheckpoint(f"{file} holds no resampler: latents or input_proj has another shape")
    options = ResamplerOptions(kind="resampler", tokens=len(state["latents"]), layers=len(layers))
    width, source = state["input_proj.weight"].shape
    if width % options.heads:
        raise BadCheckpoint(f"{file}: a width of {width} is no multiple of {options.heads} heads")
    fill_module(projectors.build(options, source, width), state, file)
    return options


def _checked_meta(folder: Path) -> Mapping[str, Any]:
    """Refuse other architectures. A folder without metadata is of the oldest one, which is supported."""
    if not (folder / META).exists():
        return {}
    meta = read_json(folder / META)
    if not isinstance(meta, dict):
        raise BadCheckpoint(f"{folder / META} is no JSON object")
    found = meta.get("architecture", "anymal_v1")
    kind = meta.get("projector_type", "PerceiverResampler")
    if (found, kind) != ("anymal_v1", "PerceiverResampler"):
        raise BadCheckpoint(f"{folder}: only anymal_v1 with a PerceiverResampler is read, this is {found} with {kind}")
    if meta.get("llm_base_weights_saved"):
        raise WrongUse(f"{folder / ADAPTERS} holds a whole language model: only adapters there are read")
    return meta


def _write_adapters(folder: Path, target: Path) -> None:
    _parts.require(folder, *_WEIGHTS, what="the adapters")
    _parts.require(folder, lora.SETTINGS, what="the settings of the adapters")
    file = next(folder / name for name in _WEIGHTS if (folder / name).is_file())
    _parts.write_adapters(_parts.tensors([file], lambda name: name), read_json(folder / lora.SETTINGS), target)
