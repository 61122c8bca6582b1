"""LoRA adapters of PEFT over a checkpoint of transformers: ``-o adapter=``, merged into the weights."""

import warnings
from pathlib import Path
from typing import Any

from anymal_eval import fingerprint
from anymal_eval.checkpoints import weights
from anymal_eval.checkpoints.files import read_json
from anymal_eval.checkpoints.loading import checkpoint_errors, quiet
from anymal_eval.checkpoints.locating import ADAPTERS, locate
from anymal_eval.errors import BadCheckpoint, WrongUse

WEIGHTS = "adapter_model.safetensors"
# peft warns where adapters belong to another model, and keeps their fresh values, which change nothing.
_NOT_ITS_OWN = ("missing adapter keys", "unexpected keys")


def adapter_folder(name: str, quantize: str) -> Path | None:
    """The folder of adapters; one of the hub is downloaded. None where none is named.

    Raises:
        WrongUse: the weights are quantized, into which nothing can be merged.
        BadCheckpoint: it is no folder of LoRA adapters in safetensors.
    """
    if not name:
        return None
    if quantize != "none":
        raise WrongUse(f"-o adapter={name}: adapters are merged into the weights, which goes without --quantize")
    folder = locate(name, only=(ADAPTERS, WEIGHTS))
    if not (folder / ADAPTERS).is_file() or not (folder / WEIGHTS).is_file():
        raise BadCheckpoint(f"-o adapter={name}: {folder} holds no {ADAPTERS} and {WEIGHTS}, as PEFT writes them")
    settings = read_json(folder / ADAPTERS)
    kind = settings.get("peft_type") if isinstance(settings, dict) else None
    if kind != "LORA":
        raise BadCheckpoint(f"-o adapter={name}: its kind is {str(kind)!r:.80}; LORA alone is read")
    return folder


def merged(model: Any, folder: Path) -> Any:
    """The model with the adapters merged into its weights.

    Raises:
        BadCheckpoint: they are damaged, or of another model.
    """
    import peft

    with checkpoint_errors(f"-o adapter: {folder} does not fit {type(model).__name__}"), quiet():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with_adapters = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=False)
        if any(part in str(each.message) for each in caught for part in _NOT_ITS_OWN):
            raise BadCheckpoint(f"-o adapter: {folder} holds adapters of another model than {type(model).__name__}")
        return with_adapters.merge_and_unload(safe_merge=True)


def adapter_fingerprint(folder: Path) -> str:
    """What the adapters are: their settings and their tensors."""
    return fingerprint.of([read_json(folder / ADAPTERS), weights.fingerprint(folder)])
