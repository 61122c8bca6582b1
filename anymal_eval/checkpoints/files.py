"""Which files of a checkpoint are read: a folder or a repository often holds its weights several times."""

import json
import stat
from collections.abc import Collection, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from anymal_eval.errors import BadCheckpoint

Pickled = Literal["never", "alone", "always"]
JSON_BYTES = 64 << 20  # of a JSON file; the index of the largest checkpoints has a tenth
MOST_REASON = 500  # characters of a library's message
SETTINGS_BYTES = 64 << 20  # a larger file is no configuration
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
PICKLED_INDEX = "pytorch_model.bin.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# Weights of other libraries and other programs beside transformers': OpenCLIP's, Mistral's and Meta's own.
OTHERS = (
    "*.msgpack", "*.h5", "*.onnx", "*.onnx_data", "*.gguf", "*.ot", "*.tflite", "open_clip*", "consolidated*",
    "training_args.bin", "optimizer*", "*.zip", "*.tar*",
)  # fmt: skip


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers reads of a folder, sorted; all of them where none has its usual name.

    Raises:
        BadCheckpoint: the index names a file that is not in the folder.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        return sorted(set(weight_map(folder / INDEX).values()))
    return sorted(folder.glob("*.safetensors"))


def pickled_files(folder: Path) -> list[Path]:
    """The files of ``pytorch_model.bin``, sorted; none where the folder has no such file.

    Raises:
        BadCheckpoint: the index names a file that is not in the folder.
    """
    index = folder / PICKLED_INDEX
    if index.is_file():
        return sorted(set(weight_map(index).values()))
    single = folder / "pytorch_model.bin"
    return [single] if single.is_file() else []


def loaded_files(folder: Path, *, pickled: bool) -> list[Path]:
    """The files of weights that transformers loads: safetensors where it has them under their usual name, else pickles.

    Args:
        folder: the checkpoint.
        pickled: whether pickles may be loaded.

    Raises:
        BadCheckpoint: an index names a file that is not in the folder.
    """
    usual = (folder / SINGLE).is_file() or (folder / INDEX).is_file()
    return (pickled_files(folder) if pickled and not usual else []) or weight_files(folder)


def weight_map(index: Path) -> dict[str, Path]:
    """The file of each tensor, as an index has it.

    Raises:
        BadCheckpoint: it is no index, or names a file that is not in its folder.
    """
    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise BadCheckpoint(f"{index} has no weight_map")
    for name in {name if isinstance(name, str) else "" for name in places.values()}:
        if not name or Path(name).name != name or name in (".", ".."):
            raise BadCheckpoint(f"{index} names the file {name!r:.80}, which is no name in its folder")
        if not (index.parent / name).is_file():
            raise BadCheckpoint(f"{index} names {name!r:.80}, which is not there: the download is not whole")
    return {tensor: index.parent / name for tensor, name in places.items()}


def is_weight(name: str) -> bool:
    """Whether a file holds weights, of any library, or is their index.

    >>> [is_weight(name) for name in ("model-1.safetensors", "model.gguf", "pytorch_model.bin.index.json")]
    [True, True, True]
    >>> [is_weight(name) for name in ("config.json", "tokenizer.model", "merges.txt", "chat_template.jinja")]
    [False, False, False, False]
    """
    return is_any(name, ("*.safetensors", "*.index.json", *PICKLED, *OTHERS))


def settings_files(folder: Path) -> list[Path]:
    """The files of a folder that hold no weights, sorted: its configuration, tokenizer, processor and card."""
    return [
        file
        for file in sorted(folder.iterdir())
        if not file.name.startswith(".")
        and not is_weight(file.name)
        and file.is_file()
        and file.stat().st_size <= SETTINGS_BYTES
    ]


def skipped_in(names: Collection[str], *, pickled: Pickled) -> list[str]:
    """The files of a hub repository that are not downloaded.

    Args:
        names: all its files.
        pickled: whether pickles are wanted: never, where there are no safetensors, or always.
    """
    kept = [name for name in names if not is_any(name.rpartition("/")[2], OTHERS)]
    weights = {name for name in kept if name.endswith(".safetensors") or is_any(name, PICKLED)}
    wanted = {name for name in weights if "/" not in name and not is_any(name, PICKLED)}
    if pickled == "always" or (pickled == "alone" and not wanted):
        wanted |= {name for name in weights if "/" not in name}
    return sorted(set(names) - (set(kept) - weights) - wanted)


def is_any(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file's name fits one of several patterns."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def reason(error: BaseException) -> str:
    """The error of a library that reads such files, on one line."""
    text = str(error).strip()
    if "trust_remote_code" in text:
        return "it comes with Python code of its own, which runs with -o trust_remote_code=true only"
    first = text.splitlines()[0][:MOST_REASON] if text else ""
    if isinstance(error, OSError | ValueError | RuntimeError) and first:
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def require_regular(file: Path) -> int:
    """The size of a file that is no device, FIFO or folder, which could be read for ever.

    Raises:
        BadCheckpoint: it is one.
        OSError: it is not there, or cannot be read.
    """
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise BadCheckpoint(f"{file} is no regular file")
    return found.st_size


def read_json(file: Path) -> Any:
    """A JSON file of a checkpoint.

    Raises:
        BadCheckpoint: it is no JSON, too deep or too large, or cannot be read.
    """
    try:
        if require_regular(file) > JSON_BYTES:
            raise BadCheckpoint(f"{file} is larger than {JSON_BYTES >> 20} MiB")
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadCheckpoint(f"{file} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise BadCheckpoint(f"{file} is nested too deeply") from error
    except ValueError as error:
        raise BadCheckpoint(f"{file} is no JSON: {error}") from error
