"""Joins checkpoints that were aligned one modality at a time into one network, as AnyMAL's are.

Stage 1 changes no weight that two modalities share, so the projectors are put side by side and answer as before.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.config import AnyMALConfig, ModalityConfig
from anymal_eval.anymal.encoders import Medium
from anymal_eval.checkpoints.weights import read_tensors
from anymal_eval.errors import BadCheckpoint, WrongUse


def join(folders: Sequence[Path], out: Path) -> AnyMALConfig:
    """Write a checkpoint with the projectors of several; no backbone is loaded.

    Args:
        folders: checkpoints of stage 1 over one language model, each with other media.
        out: the new checkpoint's folder.

    Returns:
        The joined network.

    Raises:
        BadCheckpoint: one is no checkpoint, or was trained over another language model.
        WrongUse: fewer than two; two of them have the same medium; one has adapters; ``out`` holds other files.
    """
    if len(folders) < 2:
        raise WrongUse("join takes two checkpoints or more")
    first = checkpoint.placed(folders[0])
    modalities: dict[Medium, ModalityConfig] = {}
    frozen: dict[str, str] = {}
    tensors: dict[str, Any] = {}
    origin: dict[Medium, Path] = {}
    for folder in folders:
        config = checkpoint.placed(folder)
        _require_joinable(folder, config, folders[0], first)
        for medium in config.modalities:
            if medium in origin:
                raise WrongUse(f"{origin[medium]} and {folder} both have a projector for {medium}: join one of them")
            origin[medium] = folder
        modalities |= config.modalities
        frozen |= checkpoint.read(folder)[1]
        tensors |= read_tensors(folder / checkpoint.PROJECTORS)
    joined = AnyMALConfig(llm=first.llm, modalities=modalities, lora=first.lora, prompt_order=first.prompt_order)
    orders = tuple(dict.fromkeys(order for folder in folders for order in checkpoint.orders(folder)))
    notes = dict.fromkeys(note for folder in folders if (note := checkpoint.note(folder)))
    contents = checkpoint.Contents(
        config=joined, frozen=frozen, projectors=tensors, note="; ".join(notes), orders=orders
    )
    checkpoint.write(out, contents)
    return joined


def _require_joinable(folder: Path, config: AnyMALConfig, first_folder: Path, first: AnyMALConfig) -> None:
    if checkpoint.has_adapters(folder):
        raise WrongUse(f"{folder} has adapters, which only fit its own projectors: join the checkpoints of stage 1")
    mine, theirs = (checkpoint.read(each)[1].get("llm") for each in (folder, first_folder))
    if mine != theirs or (config.llm.chat, config.llm.context) != (first.llm.chat, first.llm.context):
        raise BadCheckpoint(f"{folder} and {first_folder} were aligned over two language models or prompts")
    if config.lora is not None and first.lora is not None and config.lora != first.lora:
        raise WrongUse(f"{folder} and {first_folder} name two [lora] for stage 2")
