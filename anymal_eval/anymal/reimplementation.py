"""Reads checkpoints of the public re-implementation babakd/anymal, architecture "anymal_v1".

Its folder holds ``projector.pt`` (a state dict), ``model_meta.json`` and, after instruction tuning, ``llm/`` (a PEFT
folder). It has no fingerprints of its backbones: the caller names them, and a wrong one cannot be detected. Its other
architectures (v2 to v4) have other connectors and are refused.
"""

from pathlib import Path

from anymal_eval.anymal import lora
from anymal_eval.anymal.config import AnyMALConfig, LLMConfig, ModalityConfig
from anymal_eval.anymal.encoders.clip import Options as ClipOptions
from anymal_eval.anymal.model import AnyMAL, create
from anymal_eval.anymal.projectors.resampler import Options as ResamplerOptions
from anymal_eval.checkpoints.files import read_json
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.checkpoints.weights import fill_module, read_tensors
from anymal_eval.errors import BadCheckpoint

META, PROJECTOR, ADAPTERS = "model_meta.json", "projector.pt", "llm"


def is_one(folder: Path) -> bool:
    """Whether a folder has that layout."""
    return (folder / PROJECTOR).exists()


def load(folder: Path, *, llm: str, image: str, loading: Loading) -> AnyMAL:
    """A network from such a folder.

    Args:
        folder: the checkpoint.
        llm: the causal LM of its training.
        image: the CLIP of its training, as a transformers checkpoint.
        loading: precision, quantization, device.

    Raises:
        BadCheckpoint: another architecture, a file that is missing, not tensors alone, or does not fit.
    """
    _check(folder)
    state = read_tensors(folder / PROJECTOR)
    layers = {int(name.split(".")[1]) for name in state if name.startswith("layers.")}
    if "latents" not in state or not layers:
        raise BadCheckpoint(f"{folder / PROJECTOR} holds no resampler: it has neither latents nor layers")
    config = AnyMALConfig(
        llm=LLMConfig(path=llm),
        modalities={
            "image": ModalityConfig(
                # their choice: the last hidden state with the class token, after CLIP's last norm
                encoder=ClipOptions(kind="clip", path=image, layer=-1, class_token=True, post_norm=True),
                projector=ResamplerOptions(kind="resampler", tokens=len(state["latents"]), layers=max(layers) + 1),
            )
        },
    )
    network = create(config, loading)
    fill_module(network.projectors["image"], state, folder / PROJECTOR)
    if (folder / ADAPTERS).is_dir():
        network.llm.model = lora.load(network.llm.model, folder / ADAPTERS, trainable=False)
    return network.train(False)


def _check(folder: Path) -> None:
    """Refuse other architectures. A folder without metadata is of the oldest one, which is supported."""
    if not (folder / PROJECTOR).exists():
        raise BadCheckpoint(f"{folder} holds no {PROJECTOR}")
    if not (folder / META).exists():
        return
    meta = read_json(folder / META)
    found = meta.get("architecture", "anymal_v1")
    kind = meta.get("projector_type", "PerceiverResampler")
    if (found, kind) != ("anymal_v1", "PerceiverResampler"):
        raise BadCheckpoint(f"{folder}: only anymal_v1 with a PerceiverResampler is read, this is {found} with {kind}")
