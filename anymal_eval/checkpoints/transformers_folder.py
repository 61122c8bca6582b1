"""Checkpoints in transformers' layout: where they lie, what they are, and which wrapper they want. Reads JSON only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anymal_eval.errors import BadCheckpoint

PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "spiece.model",
    "vocab.txt",
    "sentencepiece.bpe.model",
)
# Families that keep their vision part under another name than ``vision_config``.
SEEING = frozenset({"chameleon", "emu3", "fuyu", "git", "kosmos-2", "ovis2"})


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """What ``-o name=value`` may set, for every wrapper of a transformers checkpoint.

    Attributes:
        checkpoint: a folder, or a repository of the hub.
        device: auto takes a GPU where there is one.
        precision: of all weights.
        quantize: of the language model, by bitsandbytes.
        device_map: over which devices it is spread: auto, balanced, balanced_low_0, sequential or a JSON object.
        media_timeout: seconds after which a decoder is given up.
        revision: of a hub repository: a branch, tag or commit.
        allow_new_weights: go on where the checkpoint lacks weights, which are then random.
        allow_pickle: read weights that are not safetensors; pickled files can run code.
    """

    checkpoint: str
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    quantize: Literal["none", "int8", "nf4"] = "none"
    device_map: str = ""
    media_timeout: float = 60.0
    revision: str = ""
    allow_new_weights: bool = False
    allow_pickle: bool = False


@dataclass(frozen=True, kw_only=True)
class OpenOptions(CheckpointOptions):
    """For wrappers that load any class.

    Attributes:
        trust_remote_code: run the Python that comes with the checkpoint.
        share: whether requests that begin alike are begun once, where a trial shows that it works; no answer depends
            on it.
    """

    trust_remote_code: bool = False
    share: bool = True

    @property
    def exact(self) -> bool:
        """Whether all is computed in fp32."""
        return self.precision == "fp32" and self.quantize == "none"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint on disk. ``commit`` is the hub's, where it came from there."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    commit: str | None = None

    @property
    def architecture(self) -> str:
        """The class that its weights belong to."""
        return architecture(self.config)

    def json(self, name: str) -> Any:
        """One of its JSON files, or None."""
        file = self.folder / name
        return _read(file) if file.is_file() else None


def read_config(options: CheckpointOptions) -> Mapping[str, Any]:
    """The checkpoint's ``config.json``; nothing else is opened or downloaded.

    Raises:
        BadCheckpoint: there is none.
    """
    folder = _folder(options.checkpoint)
    if folder is None:
        return _config(Path(_hub(options, lambda hub: hub.hf_hub_download(**_named(options), filename="config.json"))))
    return _config(folder / "config.json")


def fetch(options: CheckpointOptions) -> Checkpoint:
    """The whole checkpoint, downloaded where it is the hub's.

    Raises:
        BadCheckpoint: it cannot be had, or holds no ``config.json``.
    """
    folder = _folder(options.checkpoint)
    commit = None
    if folder is None:
        skipped = ["*.msgpack", "*.h5", "*.onnx", "*.gguf"]
        if not options.allow_pickle:
            skipped += ["*.bin", "*.pt", "*.pth"]
        folder = Path(_hub(options, lambda hub: hub.snapshot_download(**_named(options), ignore_patterns=skipped)))
        commit = folder.name
    return Checkpoint(name=options.checkpoint, folder=folder, config=_config(folder / "config.json"), commit=commit)


def architecture(config: Mapping[str, Any]) -> str:
    """The class that a configuration names."""
    named = config.get("architectures") or [config.get("model_type") or "model of no known type"]
    return str(named[0])


def wrapper_for(config: Mapping[str, Any]) -> str | None:
    """The wrapper that takes such a checkpoint, or None.

    >>> wrapper_for({"model_type": "llava", "vision_config": {}}), wrapper_for({"model_type": "llama"})
    ('hf', None)
    """
    if "network" in config and "format" in config:
        return "anymal"
    kind = config.get("model_type")
    if kind in ("blip-2", "instructblip"):
        return kind.replace("-", "") if architecture(config).endswith("ForConditionalGeneration") else None
    # Classes that come with their own code say themselves what they are.
    coded = config.get("auto_map") or {}
    if "vision_config" in config or kind in SEEING or "AutoModelForImageTextToText" in coded:
        return "hf"
    return "hf_audio" if "audio_config" in config else None


def require(config: Mapping[str, Any], wrapper: str, name: str) -> None:
    """Refuse a checkpoint that wants another wrapper.

    Raises:
        BadCheckpoint: names the class it is and the wrapper it wants.
    """
    wanted = wrapper_for(config)
    if wanted == wrapper or (wrapper == "hf_audio" and "audio_config" in config):
        return
    named = "AnyMAL checkpoint" if wanted == "anymal" else architecture(config)
    is_a = f"{'an' if named[0] in 'AEIO' else 'a'} {named}"
    use = f"use --model {wanted}:{name}" if wanted else "no wrapper takes that class"
    raise BadCheckpoint(f"--model {wrapper}:{name}: it is {is_a}; {use}")


def require_processor(checkpoint: Checkpoint, more: tuple[str, ...] = ()) -> None:
    """Refuse a checkpoint without what prepares its inputs: transformers would load a bare tokenizer and go on.

    Raises:
        BadCheckpoint: names the missing file.
    """
    folder = checkpoint.folder
    if not any((folder / file).is_file() for file in PROCESSOR_FILES):
        raise BadCheckpoint(f"{folder} holds neither {' nor '.join(PROCESSOR_FILES)}: its processor is missing")
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise BadCheckpoint(
            f"{folder} holds no {TOKENIZER_FILES[0]} (nor {TOKENIZER_FILES[1]}): its tokenizer is missing"
        )
    for file in more:
        if not (folder / file).exists():
            raise BadCheckpoint(f"{folder} holds no {file}: a part of its processor is missing")


def _folder(name: str) -> Path | None:
    """The local folder; None where the name must be a repository of the hub."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    # Hub repositories are OWNER/NAME: all else can only have been meant as a path.
    if name.startswith(("/", ".", "~")) or name.count("/") != 1 or "\\" in name:
        raise BadCheckpoint(f"{name}: there is no such folder")
    return None


def _named(options: CheckpointOptions) -> dict[str, Any]:
    return {"repo_id": options.checkpoint, "revision": options.revision or None}


def _hub(options: CheckpointOptions, ask: Callable[[Any], str]) -> str:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    name = options.checkpoint
    try:
        return ask(huggingface_hub)
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        why = "HF_HUB_OFFLINE is set" if huggingface_hub.constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise BadCheckpoint(
            f"{name}: no such folder, and the hub's cache does not hold it while {why}: "
            f"download it where there is a network (hf download {name}), or give a folder"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        first = str(error).strip().splitlines()[0]
        raise BadCheckpoint(f"{name}: no such folder, and the hub does not give it: {first}") from error


def _config(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise BadCheckpoint(f"{file.parent} holds no {file.name}: it is no transformers checkpoint")
    content = _read(file)
    if not isinstance(content, dict):
        raise BadCheckpoint(f"{file} is not what transformers writes")
    return content


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadCheckpoint(f"{file} is no JSON: {error}") from error
