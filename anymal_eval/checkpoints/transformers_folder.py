"""Checkpoints in transformers' layout: the options of loading one, and its configuration. Reads JSON only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anymal_eval.checkpoints.files import read_json
from anymal_eval.checkpoints.locating import locate, locate_config
from anymal_eval.errors import BadCheckpoint
from anymal_eval.paths import expanded

Quantization = Literal["none", "int8", "nf4"]
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "spiece.model",
    "vocab.txt",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True, kw_only=True)
class LoadingOptions:
    """What ``-o name=value`` may set, for every model whose weights are loaded here.

    Attributes:
        checkpoint: a folder, or a repository of the hub.
        device: auto takes a GPU where there is one.
        precision: of all weights that are not quantized; auto is bf16 on a GPU and fp32 elsewhere.
        quantize: of the language model, by bitsandbytes.
        device_map: devices to spread it over: auto, balanced, balanced_low_0, sequential or a JSON object.
        media_timeout: seconds after which a decoder is given up.
        media_budget: multiplies the limits of one medium (pixels, samples, memory).
    """

    checkpoint: str
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    quantize: Quantization = "none"
    device_map: str = ""
    media_timeout: float = 60.0
    media_budget: float = 1.0


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(LoadingOptions):
    """For every wrapper of a transformers checkpoint.

    Attributes:
        revision: of a hub repository: a branch, tag or commit.
        allow_new_weights: load a checkpoint that lacks weights, which are then random.
        context: the most tokens of a prompt and its answer (of an encoder-decoder, of the prompt); 0 takes what the
            checkpoint states.
        allow_pickle: read weights that are not safetensors; pickled files can run code.
        adapter: LoRA adapters of PEFT, merged into the weights: a folder, or OWNER/NAME of the hub.
    """

    revision: str = ""
    context: int = 0
    allow_new_weights: bool = False
    allow_pickle: bool = False
    adapter: str = ""

    @property
    def named(self) -> str:
        """The checkpoint with its revision."""
        return f"{self.checkpoint}@{self.revision}" if self.revision else self.checkpoint


@dataclass(frozen=True, kw_only=True)
class OpenOptions(CheckpointOptions):
    """For wrappers that load any class.

    Attributes:
        trust_remote_code: run the Python that comes with the checkpoint.
        share: prefix caching: requests with one prefix prefill it once, where a self-test shows that it works. No
            answer depends on it.
        compile: the steps of decoding as one compiled function, where a self-test shows that it works.
        chat_template: a file with a chat template, in place of the checkpoint's own.
    """

    trust_remote_code: bool = False
    share: bool = True
    compile: bool = False
    chat_template: str = ""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint on disk. ``commit`` is the hub's, None for a local folder."""

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
        return read_json(file) if file.is_file() else None


def read_config(options: CheckpointOptions) -> Mapping[str, Any]:
    """The checkpoint's ``config.json``; nothing else is opened or downloaded.

    Raises:
        BadCheckpoint: there is none.
    """
    return read_config_file(locate_config(options.checkpoint, options.revision))


def fetch(options: CheckpointOptions) -> Checkpoint:
    """The whole checkpoint, downloaded where it is the hub's.

    Raises:
        BadCheckpoint: it cannot be found, or holds no ``config.json``.
    """
    folder = locate(options.checkpoint, options.revision, pickled=options.allow_pickle)
    return Checkpoint(
        name=options.checkpoint,
        folder=folder,
        config=read_config_file(locate_config(str(folder))),
        commit=None if expanded(options.checkpoint).is_dir() else folder.name,
    )


def architecture(config: Mapping[str, Any]) -> str:
    """The class that a configuration names."""
    named = [one for one in config.get("architectures") or () if isinstance(one, str) and one]
    named = named or [config.get("model_type") or "model of no known type"]
    return str(named[0])


def require_processor(checkpoint: Checkpoint, more: tuple[str, ...] = ()) -> None:
    """Refuse a checkpoint without its processor: transformers would silently load a bare tokenizer instead.

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


def read_config_file(file: Path) -> Mapping[str, Any]:
    """A ``config.json``.

    Raises:
        BadCheckpoint: it is damaged, or not what transformers writes.
    """
    content = read_json(file)
    if not isinstance(content, dict):
        raise BadCheckpoint(f"{file} is not what transformers writes")
    expected = {"model_type": str, "architectures": list, "auto_map": dict, "text_config": dict, "vision_config": dict}
    for name, kind in expected.items():
        if not isinstance(content.get(name), kind | None):
            raise BadCheckpoint(f"{file}: {name} must be of type {kind.__name__}, not {type(content[name]).__name__}")
    return content
