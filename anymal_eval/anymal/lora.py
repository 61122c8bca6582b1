"""LoRA adapters on the language model, through peft."""

import errno
import json
from pathlib import Path
from typing import Any

from anymal_eval.anymal.config import LoraConfig
from anymal_eval.checkpoints.files import read_json
from anymal_eval.checkpoints.headers import read_header
from anymal_eval.checkpoints.loading import checkpoint_errors, quiet
from anymal_eval.errors import BadCheckpoint

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def attach(model: Any, config: LoraConfig) -> Any:
    """Fresh adapters, which change no output until they are trained; all other weights are frozen.

    Args:
        model: a causal LM, quantized or not.
        config: rank, alpha, targets.
    """
    with quiet():
        import peft

    targets = config.targets[0] if config.targets == ("all-linear",) else list(config.targets)
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    with quiet():
        return peft.get_peft_model(model, settings)


def load(model: Any, folder: Path, *, trainable: bool) -> Any:
    """Adapters from a PEFT folder.

    Raises:
        BadCheckpoint: no safetensors there, or they do not fit this language model.
    """
    with quiet():
        import peft

    if not (folder / WEIGHTS).exists():
        raise BadCheckpoint(f"{folder} holds no {WEIGHTS}; the adapters of this checkpoint are missing")
    _check_ranks(folder)
    with checkpoint_errors(f"the adapters in {folder} do not fit this language model"), quiet():
        return peft.PeftModel.from_pretrained(model, folder, is_trainable=trainable)


def _check_ranks(folder: Path) -> None:
    """Refuse adapters of a rank that their weights do not have, before they are made."""
    sides = [one for facts in read_header(folder / WEIGHTS).values() for one in facts.shape]
    settings = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else None
    if not isinstance(settings, dict):
        raise BadCheckpoint(f"{folder} holds no usable {SETTINGS}")
    patterns = settings.get("rank_pattern") or {}
    ranks = [settings.get("r"), *(patterns.values() if isinstance(patterns, dict) else [patterns])]
    if any(type(rank) is not int or not 0 < rank <= max(sides, default=0) for rank in ranks):
        raise BadCheckpoint(f"{folder / SETTINGS}: its ranks are not those of {WEIGHTS}")


def save(model: Any, folder: Path) -> None:
    """Write the adapters alone, as safetensors.

    peft's note of the language model's path is left out: it is a path of this machine, and the checkpoint of the
    adapters has its own. So is peft's empty model card.

    Raises:
        OSError: there is no space.
    """
    from safetensors import SafetensorError

    try:
        model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    except SafetensorError as error:  # safetensors wraps the system's errors in its own
        if "No space left" not in str(error):
            raise
        raise OSError(errno.ENOSPC, "No space left on device", str(folder)) from error
    (folder / "README.md").unlink(missing_ok=True)
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = None
    for name, value in vars(model.peft_config[model.active_adapter]).items():
        if isinstance(value, set | frozenset):  # peft writes a set in the order of this process
            settings[name] = sorted(value)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def is_attached(model: Any) -> bool:
    """Whether the model carries adapters."""
    return hasattr(model, "peft_config")
