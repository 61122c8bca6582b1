"""Loads a model and its processor with transformers' classes, and records for the manifest what was loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anymal_eval import fingerprint
from anymal_eval.checkpoints import weights
from anymal_eval.checkpoints.adapters import adapter_fingerprint, adapter_folder, merged
from anymal_eval.checkpoints.device_map import placement
from anymal_eval.checkpoints.files import loaded_files, reason
from anymal_eval.checkpoints.loading import (
    checkpoint_errors,
    fill,
    freeze,
    library,
    loading_of,
    plain_generation,
    quiet,
    with_precision,
)
from anymal_eval.checkpoints.media_processors import (
    EXTRA,
    image_backend,
    pin_image_backend,
    torchvision_fault,
    torchvision_name,
)
from anymal_eval.checkpoints.quantization import keep_layout
from anymal_eval.checkpoints.token_ids import resolve_token_ids
from anymal_eval.checkpoints.transformers_folder import PROCESSOR_FILES, Checkpoint, CheckpointOptions, OpenOptions
from anymal_eval.errors import BadCheckpoint, NeedsExtra
from anymal_eval.paths import expanded

# Kept in full precision by int8 and nf4: all but the language model's linear layers.
UNQUANTIZED = (
    "vision_model", "vision_tower", "visual", "qformer", "language_projection", "multi_modal_projector", "connector",
    "audio_tower", "lm_head",
)  # fmt: skip
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "spiece.model", "vocab.json", "merges.txt",
    "added_tokens.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
# Packages that processors and networks need, and what brings them.
_PACKAGES = {
    "torchvision": EXTRA,
    "num2words": EXTRA,
    "torchaudio": "pip install 'anymal_eval[granite-speech]', of the build that belongs to torch",
    "timm": "pip install 'anymal_eval[gemma3n]'",
} | {name: f"pip install {name}" for name in ("mistral-common", "sentencepiece", "librosa")}


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model and its processor, with their provenance for the manifest."""

    model: Any
    processor: Any
    device: str
    fingerprint: str
    provenance: Mapping[str, object]
    remark: str
    exact: bool = True  # computed in fp32
    context: int = 0  # the user's limit of a prompt and its answer


def load_model(
    cls: Any,
    checkpoint: Checkpoint,
    options: CheckpointOptions,
    wrapper: str,
    processor: Any,
    settings: Mapping[str, object] | None = None,
) -> LoadedModel:
    """Load a model: every weight from the checkpoint, from safetensors unless pickled files are allowed.

    Args:
        cls: a transformers class, or an Auto class.
        checkpoint: where from.
        options: how.
        wrapper: its name, for the fingerprint.
        processor: from ``load_processor``, which is called first because it is cheap and may refuse.
        settings: of the processor, where they are not the checkpoint's and change an answer.

    Raises:
        BadCheckpoint: a file is missing, or weights are, and new ones are not allowed.
        NeedsExtra: its class is built with a package that is not installed.
    """
    options = with_precision(options)
    weights_hash = _weights_hash(checkpoint, options)  # first, since it finds files that were cut off
    adapter = adapter_folder(options.adapter, options.quantize)
    try:
        model, new, device = _filled(cls, checkpoint, options, adapter)
    except ImportError as error:  # such as of the vision tower of Gemma 3n, which is timm's
        raise _lacking(checkpoint, checkpoint.architecture, error) from error
    generating = _generating(model)
    dropped = plain_generation(generating)
    ids = resolve_token_ids(checkpoint.folder, generating, getattr(processor, "tokenizer", processor))
    generating.generation_config.update(**ids.settings())
    content = {
        "class": type(model).__name__,
        "weights": weights_hash,
        "revision": checkpoint.commit,
        "config": fingerprint.of(dict(checkpoint.config)),
        "processor": {name: found for name in PROCESSOR_FILES if (found := checkpoint.json(name)) is not None},
        "tokenizer": _tokenizer_hash(checkpoint),
        "new_weights": new,
    }
    backend = image_backend(processor)
    if backend == "torchvision":  # all others are PIL's, with and without torchvision
        content["image_backend"] = backend = torchvision_name()
    if settings:
        content["settings"] = dict(settings)
    if adapter is not None:
        content["adapter"] = adapter_fingerprint(adapter)
    if ids.notes:  # by an earlier version, such a checkpoint was answered with other end tokens
        content["contradictions"] = list(ids.notes)
    how = {"precision": options.precision, "quantize": options.quantize}
    remarks = ["trust_remote_code"] if trusted(options) else []
    remarks += [f"{len(new)} new weights"] if new else []
    if adapter is not None:  # of a folder its name, of a repository all of it
        named = options.adapter
        remarks.append(f"adapter {Path(named).name if expanded(named).is_dir() else named}")
    shown = {name: value for name, value in (settings or {}).items() if value is not None and name != "by"}
    remarks += [f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in shown.items()]
    return LoadedModel(
        model=model,
        processor=processor,
        device=device,
        fingerprint=f"{wrapper}:{fingerprint.of([content, how])}",
        provenance={
            "checkpoint": checkpoint.name,
            "options": dataclasses.asdict(options),
            "precision": options.precision,
            "device": device,
            "device_map": placement(model, options.device_map),
            "image_backend": backend,
            "generation_settings_not_used": dropped,
            **content,
        },
        remark=", ".join(remarks),
        exact=options.precision == "fp32" and options.quantize == "none",
        context=options.context,
    )


def trusted(options: CheckpointOptions) -> bool:
    """Whether the checkpoint's own code may run."""
    return isinstance(options, OpenOptions) and options.trust_remote_code


def import_for_generation() -> None:
    """Import what every model that generates imports later, so that its time is not counted as that of weights.

    A torchvision that cannot be imported is left to :func:`load_processor`, which knows whether it is needed.
    """
    from importlib import import_module

    library()
    if torchvision_fault():
        return
    for name in ("transformers.generation.utils", "transformers.modeling_utils", "transformers.processing_utils"):
        import_module(name)


def load_processor(checkpoint: Checkpoint, options: CheckpointOptions) -> Any:
    """The checkpoint's processor; its pictures go through PIL where its family allows, whatever is installed.

    Raises:
        NeedsExtra: it needs torchvision or another package, which is not installed or cannot be imported.
        BadCheckpoint: it cannot be loaded.
    """
    trust = trusted(options)
    try:
        with checkpoint_errors(f"{checkpoint.folder}: its processor cannot be loaded"), quiet():
            processor = library().AutoProcessor.from_pretrained(checkpoint.folder, trust_remote_code=trust)
            return pin_image_backend(processor, checkpoint.folder, trust_remote_code=trust)
    except (ImportError, BadCheckpoint) as error:
        if fault := torchvision_fault():
            raise NeedsExtra(f"{checkpoint.name}: {fault}") from error
        if isinstance(error, BadCheckpoint):
            raise
        # Video processors, and image processors without a PIL twin, exist for torchvision alone.
        raise _lacking(checkpoint, f"the processor of {checkpoint.architecture}", error) from error


def _lacking(checkpoint: Checkpoint, what: str, error: ImportError) -> NeedsExtra:
    known = next((name for name in _PACKAGES if name in str(error).lower()), None)
    missing = f"{known}, which is not installed: {_PACKAGES[known]}" if known else reason(error)
    return NeedsExtra(f"{checkpoint.name}: {what} needs {missing}")


def _filled(
    cls: Any, checkpoint: Checkpoint, options: CheckpointOptions, adapter: Path | None
) -> tuple[Any, list[str], str]:
    """The model on its device, frozen; the weights that its checkpoint lacks; the device."""
    folder = checkpoint.folder
    files = loaded_files(folder, pickled=options.allow_pickle)
    if not options.allow_pickle and not files:
        raise BadCheckpoint(
            f"{folder} holds no .safetensors file; -o allow_pickle=true reads other formats, which can run code"
        )
    loading = loading_of(options)
    arguments = loading.arguments(UNQUANTIZED)
    model, new = fill(
        cls,
        folder,
        checkpoint.architecture,
        dtype=loading.precision,
        use_safetensors=_is_safe(files) or not options.allow_pickle,
        trust_remote_code=trusted(options),
        **arguments,
    )
    if new and not options.allow_new_weights:
        raise BadCheckpoint(
            f"{folder} lacks {len(new)} weights of {type(model).__name__}, first {new[0]}, which would be random; "
            "-o allow_new_weights=true loads it nevertheless"
        )
    if adapter is not None:
        model = merged(model, adapter)
    if not arguments:
        model = model.to(loading.device)
    keep_layout(model)
    return freeze(model), new, str(model.device.type) if loading.device_map else loading.device


def _generating(model: Any) -> Any:
    """The module whose ``generate`` is called: of the BLIP family the language model inside."""
    return getattr(model, "language_model", None) if hasattr(model, "qformer") else model


def _weights_hash(checkpoint: Checkpoint, options: CheckpointOptions) -> str:
    if _is_safe(loaded_files(checkpoint.folder, pickled=options.allow_pickle)):
        return weights.fingerprint(checkpoint.folder)
    patterns: Sequence[str] = ("*.bin", "*.pt", "*.pth") if options.allow_pickle else ()
    files = sorted(file for pattern in patterns for file in checkpoint.folder.glob(pattern))
    return fingerprint.of([f"{file.name} {fingerprint.of_file(file)}" for file in files])


def _is_safe(files: Sequence[Path]) -> bool:
    return any(file.suffix == ".safetensors" for file in files)


def _tokenizer_hash(checkpoint: Checkpoint) -> str:
    files = sorted(file for name in _TOKENIZER_FILES for file in checkpoint.folder.rglob(name))
    return fingerprint.of([f"{file.relative_to(checkpoint.folder)} {fingerprint.of_file(file)}" for file in files])
