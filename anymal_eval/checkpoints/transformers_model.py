"""Loading transformers classes: every weight from the checkpoint, safetensors only, all of it told to the manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anymal_eval import fingerprint
from anymal_eval.checkpoints.device_map import read_device_map, told
from anymal_eval.checkpoints.transformers_folder import PROCESSOR_FILES, Checkpoint, CheckpointOptions, OpenOptions
from anymal_eval.errors import BadCheckpoint, NeedsExtra

# Kept in full precision by int8 and nf4: all but the language model's linear layers.
NOT_QUANTISED = (
    "vision_model", "vision_tower", "visual", "qformer", "language_projection", "multi_modal_projector", "connector",
    "audio_tower", "lm_head",
)  # fmt: skip
_TOKENIZING = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "spiece.model", "vocab.json", "merges.txt",
    "added_tokens.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network and its processor, with all that a manifest should say of them."""

    model: Any
    processor: Any
    device: str
    fingerprint: str
    provenance: Mapping[str, object]
    remark: str


def load(cls: Any, checkpoint: Checkpoint, options: CheckpointOptions, wrapper: str, processor: Any) -> Loaded:
    """Load the model.

    Args:
        cls: a transformers class, or an Auto class.
        checkpoint: where from.
        options: how.
        wrapper: its name, for the fingerprint.
        processor: from ``load_processor``, which is called first because it is cheap and may refuse.

    Raises:
        BadCheckpoint: a file is missing, or weights are, and new ones are not allowed.
    """
    weights = _weights_hash(checkpoint, options)  # first, since it finds files that were cut off
    model, new, device = _load_model(cls, checkpoint, options)
    dropped = plain_generation(_speaking(model))
    content = {
        "class": type(model).__name__,
        "weights": weights,
        "revision": checkpoint.commit,
        "config": fingerprint.of(dict(checkpoint.config)),
        "processor": {name: found for name in PROCESSOR_FILES if (found := checkpoint.json(name)) is not None},
        "tokenizer": _tokenizer_hash(checkpoint),
        "new_weights": new,
    }
    how = {"precision": options.precision, "quantize": options.quantize}
    remarks = ["trust_remote_code"] if trusted(options) else []
    remarks += [f"{len(new)} new weights"] if new else []
    return Loaded(
        model=model,
        processor=processor,
        device=device,
        fingerprint=f"{wrapper}:{fingerprint.of([content, how])}",
        provenance={
            "checkpoint": checkpoint.name,
            "options": dataclasses.asdict(options),
            "device": device,
            "device_map": told(model, options.device_map),
            "generation_settings_not_used": dropped,
            **content,
        },
        remark=", ".join(remarks),
    )


def trusted(options: CheckpointOptions) -> bool:
    """Whether the checkpoint's own code may run."""
    return isinstance(options, OpenOptions) and options.trust_remote_code


def load_processor(checkpoint: Checkpoint, options: CheckpointOptions) -> Any:
    """The checkpoint's processor.

    Raises:
        NeedsExtra: it needs torchvision, which is not installed.
        BadCheckpoint: it cannot be loaded.
    """
    import transformers

    from anymal_eval.checkpoints.loading import quiet

    processors: Any = transformers.AutoProcessor

    try:
        with quiet():
            return processors.from_pretrained(checkpoint.folder, trust_remote_code=trusted(options))
    except ImportError as error:
        # Video processors, and image processors without a PIL twin, exist for torchvision alone.
        missing = "torchvision" if "orchvision" in str(error) else _reason(error)
        raise NeedsExtra(
            f"{checkpoint.name}: the processor of {checkpoint.architecture} needs {missing}, which is not installed"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(f"{checkpoint.folder}: its processor cannot be loaded: {_reason(error)}") from error


def plain_generation(model: Any) -> dict[str, object]:
    """Drop a checkpoint's own decoding settings, which ``generate`` would silently fill in; keep what ends an answer.

    Returns:
        What was dropped.
    """
    import transformers

    config: Any = transformers.GenerationConfig
    kept = ("eos_token_id", "bos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id")
    own = model.generation_config
    model.generation_config = config(**{name: getattr(own, name, None) for name in kept})
    # Neither says how text is chosen.
    silent = ("_from_model_config", "transformers_version", "use_cache", *kept)
    return {
        name: value
        for name, value in own.to_diff_dict().items()
        if name not in silent and not name.startswith("output_")
    }


def pick_device(device: str) -> str:
    """``auto`` resolved."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise NeedsExtra("--device cuda: torch finds no GPU here")
    return device


def _load_model(cls: Any, checkpoint: Checkpoint, options: CheckpointOptions) -> tuple[Any, list[str], str]:
    import torch

    from anymal_eval.checkpoints.loading import freeze, quiet
    from anymal_eval.checkpoints.quantization import keep_layout, quantisation

    folder = checkpoint.folder
    if not options.allow_pickle and not any(folder.glob("*.safetensors")):
        raise BadCheckpoint(
            f"{folder} holds no .safetensors file; -o allow_pickle=true reads other formats, which can run code"
        )
    spread = read_device_map(options.device_map, options.device)
    device = pick_device(options.device)
    dtype = torch.float32 if options.precision == "fp32" else torch.bfloat16
    settings = quantisation(options.quantize, dtype)
    extra: dict[str, Any] = {} if spread is None else {"device_map": spread}
    if settings is not None:
        settings.llm_int8_skip_modules = list(NOT_QUANTISED)
        extra = {"quantization_config": settings, "device_map": spread or {"": device}}
    try:
        with quiet():
            model, report = cls.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=not options.allow_pickle,
                output_loading_info=True,
                trust_remote_code=trusted(options),
                **extra,
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BadCheckpoint(f"{folder} cannot be loaded as {checkpoint.architecture}: {_reason(error)}") from error
    new = sorted(map(str, report["missing_keys"]))
    if new and not options.allow_new_weights:
        raise BadCheckpoint(
            f"{folder} lacks {len(new)} weights of {type(model).__name__}, first {new[0]}, which would be random; "
            "-o allow_new_weights=true goes on nevertheless"
        )
    if not extra:
        model = model.to(device)
    keep_layout(model)
    return freeze(model), new, str(model.device.type) if spread else device


def _speaking(model: Any) -> Any:
    """The part whose ``generate`` is called: of the BLIP family the language model inside."""
    return getattr(model, "language_model", None) if hasattr(model, "qformer") else model


def _weights_hash(checkpoint: Checkpoint, options: CheckpointOptions) -> str:
    from anymal_eval.checkpoints import loading as weights

    if any(checkpoint.folder.glob("*.safetensors")):
        return weights.fingerprint(checkpoint.folder)
    patterns: Sequence[str] = ("*.bin", "*.pt", "*.pth") if options.allow_pickle else ()
    files = sorted(file for pattern in patterns for file in checkpoint.folder.glob(pattern))
    return fingerprint.of([f"{file.name} {fingerprint.of_file(file)}" for file in files])


def _tokenizer_hash(checkpoint: Checkpoint) -> str:
    files = sorted(file for name in _TOKENIZING for file in checkpoint.folder.rglob(name))
    return fingerprint.of([f"{file.relative_to(checkpoint.folder)} {fingerprint.of_file(file)}" for file in files])


def _reason(error: BaseException) -> str:
    """What went wrong, on one line."""
    text = str(error).strip()
    if "trust_remote_code" in text:
        return "it comes with Python code of its own, which runs with -o trust_remote_code=true only"
    return text.splitlines()[0] if text else type(error).__name__
