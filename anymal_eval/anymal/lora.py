"""LoRA adapters on the language model, through peft."""

import errno
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from anymal_eval.anymal.config import LoraConfig
from anymal_eval.checkpoints.files import read_json
from anymal_eval.checkpoints.headers import read_header
from anymal_eval.checkpoints.loading import checkpoint_errors, quiet
from anymal_eval.errors import BadCheckpoint, WrongUse

ALL = "all-linear"  # as a target: all linear layers but the output head
WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def attach(model: Any, config: LoraConfig) -> Any:
    """Fresh adapters, which change no output until they are trained; all other weights are frozen.

    Args:
        model: a causal LM, quantized or not.
        config: rank, alpha, targets.

    Raises:
        WrongUse: a target is the name of no layer that can have adapters.
    """
    with quiet():
        import peft

    require_targets(config.targets)
    targets = ALL if config.targets == (ALL,) else list(config.targets)
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    there = _linear_layers(model)
    try:
        with quiet():
            made: Any = peft.get_peft_model(model, settings)
    except ValueError as error:  # none of the targets, or one that is no layer
        unmatched = [name for name in config.targets if not _is_among(name, there)]
        if targets == ALL or not unmatched:
            raise
        raise _no_such(unmatched, there) from error
    # peft itself is content with one of several. It translates names of experts, which then are no targets of its own.
    own = made.peft_config[made.active_adapter].target_modules
    matched = made.base_model.targeted_module_names
    unmatched = [name for name in config.targets if name in (own or ()) and not _is_among(name, matched)]
    if targets != ALL and unmatched:
        raise _no_such(unmatched, there)
    return made


def require_targets(targets: Sequence[str]) -> None:
    """Refuse targets that say nothing, or two things.

    Raises:
        WrongUse: with what to write.
    """
    how = f"write names of linear layers, such as q_proj,v_proj, or {ALL} alone"
    if not targets or not all(targets):
        raise WrongUse(f"LoRA targets {','.join(targets)!r}: a name is empty; {how}")
    if ALL in targets and len(targets) > 1:
        raise WrongUse(f"LoRA targets {','.join(targets)!r}: {how}")


def _linear_layers(model: Any) -> list[str]:
    from transformers.pytorch_utils import Conv1D

    return [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))]


def _is_among(target: str, names: Sequence[str]) -> bool:
    """Whether it is one of the names, or the end of one: ``q_proj`` is each layer's."""
    return any(f".{name}".endswith(f".{target}") for name in names)


def _no_such(targets: Sequence[str], there: Sequence[str]) -> WrongUse:
    ends = sorted({name.rpartition(".")[2] for name in there})
    return WrongUse(
        f"LoRA targets: the language model has no linear layer named {' or '.join(targets)}; it has {', '.join(ends)}"
    )


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
