"""What a training can go on from: only what is trained, with its optimiser, chance and place in the data.

A state is a folder ``checkpoint-STEP`` that appears whole or not at all.
"""

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor, nn

from anymal_eval.errors import BadCheckpoint
from anymal_eval.store.atomic import storage_errors

TRAINED, POSITION = "trained.safetensors", "position_{}.json"
_PREFIX = "checkpoint-"


def states(folder: Path) -> list[Path]:
    """All states, the latest last."""
    found = [each for each in folder.glob(f"{_PREFIX}*") if each.name.removeprefix(_PREFIX).isdigit()]
    return sorted(found, key=step_of)


def step_of(state: Path) -> int:
    """The step after which a state was saved.

    >>> step_of(Path("steps/checkpoint-20"))
    20
    """
    return int(state.name.removeprefix(_PREFIX))


def draft_of(folder: Path, step: int) -> Path:
    """Where a state is written before it is whole."""
    return folder / f".{_PREFIX}{step}.draft"


def clean(folder: Path) -> None:
    """Delete what processes that died left unfinished."""
    for draft in folder.glob(f".{_PREFIX}*.draft"):
        shutil.rmtree(draft)


def publish(folder: Path, step: int, keep: int) -> Path:
    """Give a draft its name, and delete the oldest states beyond ``keep``."""
    final = folder / f"{_PREFIX}{step}"
    if final.exists():
        shutil.rmtree(final)
    os.replace(draft_of(folder, step), final)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    for old in states(folder)[:-keep] if keep else []:
        shutil.rmtree(old)
    return final


def write(file: Path, fill: Callable[[BinaryIO], None]) -> None:
    """A file of a draft; a full disk removes the whole draft.

    Raises:
        StorageFull: there is no space; earlier states are whole.
    """
    with storage_errors(file.parent.parent):
        try:
            with file.open("wb") as stream:
                fill(stream)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError:
            shutil.rmtree(file.parent, ignore_errors=True)
            raise


def read_positions(state: Path) -> Iterator[dict[str, Any]]:
    """What each process was at, in the order of their ranks."""
    for rank in itertools.count():
        file = state / POSITION.format(rank)
        if not file.exists():
            return
        yield json.loads(file.read_text(encoding="utf-8"))


def write_trained(file: Path, module: nn.Module) -> None:
    """What takes gradients, by name."""
    from safetensors.torch import save

    trained = {name: value.detach().cpu().contiguous() for name, value in _trained(module).items()}
    content: bytes = save(trained)
    write(file, lambda stream: _put(stream, content))


def read_trained(file: Path, module: nn.Module) -> None:
    """The inverse.

    Raises:
        BadCheckpoint: it is of another network, or damaged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: dict[str, Tensor] = load_file(file)
    except (SafetensorError, FileNotFoundError) as error:
        raise BadCheckpoint(f"{file} cannot be read: {error}; delete its folder to go on from the state before") from (
            error
        )
    own = _trained(module)
    if {name: value.shape for name, value in found.items()} != {name: value.shape for name, value in own.items()}:
        raise BadCheckpoint(f"{file} does not hold the weights that are trained here")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(found[name])


def save_object(file: Path, content: Any) -> None:
    """An optimiser's or a schedule's state, as torch writes it."""
    import io

    import torch

    memory = io.BytesIO()
    torch.save(content, memory)
    write(file, lambda stream: _put(stream, memory.getbuffer()))


def _put(stream: BinaryIO, content: "bytes | memoryview") -> None:
    stream.write(content)


def _trained(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module.named_parameters() if value.requires_grad}
