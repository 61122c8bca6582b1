"""What a training resumes from: the trained weights with the optimizer, the random state and the position in the data.

A state is a folder ``checkpoint-STEP`` that appears whole or not at all.
"""

import contextlib
import io
import itertools
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as pack
from torch import Tensor, nn

from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.store.atomic import storage_errors
from anymal_eval.training.peers import processes
from anymal_eval.training.state_folders import PREFIX, saved_states

TRAINED, POSITION = "trained.safetensors", "position_{}.json"


@contextlib.contextmanager
def draft(folder: Path, step: int) -> Iterator[Path]:
    """A folder to write a state into; deleted if it cannot be written by a process alone.

    Raises:
        StorageFull, WrongUse: no space, or no permission to write; earlier states are whole.
    """
    unfinished = folder / f".{PREFIX}{step}.draft"
    with storage_errors(folder):
        try:
            unfinished.mkdir(parents=True, exist_ok=True)
            yield unfinished
        except OSError:
            if processes() == 1:  # else another one may be writing into it; the next start deletes it
                shutil.rmtree(unfinished, ignore_errors=True)
            raise


def delete_drafts(folder: Path) -> None:
    """Delete what processes that died left unfinished."""
    for unfinished in folder.glob(f".{PREFIX}*.draft"):
        if _is_ours(unfinished):
            _delete_files(unfinished)


def publish(unfinished: Path, step: int, keep: int) -> None:
    """Give a draft its name, and delete the oldest states beyond ``keep``; 0 keeps all.

    Raises:
        WrongUse: a folder of that name holds something else.
    """
    folder = unfinished.parent
    final = folder / f"{PREFIX}{step}"
    if final.exists():
        if not _is_ours(final):
            raise WrongUse(f"{final} holds other files and no state of a training; move it away")
        _delete(final)
    os.replace(unfinished, final)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    for old in [each for each in saved_states(folder) if _is_ours(each)][:-keep] if keep else []:
        _delete(old)


def _delete(state: Path) -> None:
    """Delete a state. It leaves the list at once, not file by file; a kill leaves a draft."""
    removed = state.with_name(f".{state.name}.removed.draft")
    _delete_files(removed)
    os.replace(state, removed)
    _delete_files(removed)


def _delete_files(state: Path) -> None:
    # The positions, by which a part of a state is known, last.
    files = sorted(state.iterdir(), key=lambda file: file.match(POSITION.format("*"))) if state.is_dir() else []
    for file in files:
        file.unlink()
    if state.is_dir():
        state.rmdir()


def _is_ours(state: Path) -> bool:
    """Whether a folder is a state, or the start of one: each process writes its position first."""
    if state.is_symlink() or not state.is_dir():
        return False
    files = list(state.iterdir())
    return not any(file.is_dir() for file in files) and (not files or any(state.glob(POSITION.format("*"))))


def write(file: Path, content: bytes | memoryview) -> None:
    """Write a file of a draft."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def write_object(file: Path, content: Any) -> None:
    """Write the state of an optimizer or a schedule, as torch does."""
    memory = io.BytesIO()
    torch.save(content, memory)
    write(file, memory.getbuffer())


def read_positions(state: Path) -> Iterator[dict[str, Any]]:
    """The position of each process, by rank."""
    for rank in itertools.count():
        file = state / POSITION.format(rank)
        if not file.exists():
            return
        yield json.loads(file.read_text(encoding="utf-8"))


def write_trained(file: Path, module: nn.Module) -> None:
    """Write the weights that take gradients, by name."""
    write(file, pack({name: value.detach().cpu().contiguous() for name, value in _trained(module).items()}))


def read_trained(file: Path, module: nn.Module) -> None:
    """Read them back into the module.

    Raises:
        BadCheckpoint: they are of another network, or damaged.
    """
    try:
        found: dict[str, Tensor] = load_file(file)
    except (SafetensorError, FileNotFoundError) as error:
        raise BadCheckpoint(
            f"{file} cannot be read: {error}; delete its folder to resume from the state before"
        ) from error
    own = _trained(module)
    if {name: value.shape for name, value in found.items()} != {name: value.shape for name, value in own.items()}:
        raise BadCheckpoint(f"{file} does not hold the weights that are trained here")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(found[name])


def random_state() -> dict[str, Any]:
    """The state of every random generator, as transformers' ``_load_rng_state`` reads it."""
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        found["cuda"] = torch.cuda.get_rng_state_all() if distributed else torch.cuda.get_rng_state()
    return found


def _trained(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module.named_parameters() if value.requires_grad}
