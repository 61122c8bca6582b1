"""Joins checkpoints that were aligned one modality at a time into one network, as AnyMAL's are.

Stage 1 changes no weight that two modalities share, so the projectors are put side by side and answer as before.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.backbones import placed
from anymal_eval.anymal.checkpoint_facts import CheckpointFacts
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
    parts = [checkpoint.read(folder) for folder in folders]
    first, config = parts[0], placed(parts[0])
    modalities: dict[Medium, ModalityConfig] = {}
    frozen: dict[str, str] = {}
    tensors: dict[str, Any] = {}
    origin: dict[Medium, Path] = {}
    for part in parts:
        _require_joinable(part, first)
        for medium in part.config.modalities:
            if medium in origin:
                raise WrongUse(
                    f"{origin[medium]} and {part.folder} both have a projector for {medium}: join one of them"
                )
            origin[medium] = part.folder
        modalities |= placed(part).modalities
        frozen |= part.frozen
        tensors |= read_tensors(part.folder / checkpoint.PROJECTORS)
    adapters = next((part.config.lora for part in parts if part.config.lora is not None), None)
    joined = replace(config, modalities=modalities, lora=adapters)
    contents = checkpoint.Contents(
        config=joined,
        frozen=frozen,
        projectors=tensors,
        note="; ".join(dict.fromkeys(part.note for part in parts if part.note)),
        orders=tuple(dict.fromkeys(order for part in parts for order in part.orders)),
    )
    checkpoint.write(out, contents)
    return joined


def _require_joinable(part: CheckpointFacts, first: CheckpointFacts) -> None:
    if part.adapters:
        raise WrongUse(f"{part.folder} has adapters, which fit its own projectors alone: join checkpoints of stage 1")
    mine, theirs = part.config, first.config
    if part.frozen.get("llm") != first.frozen.get("llm") or _prompting(mine) != _prompting(theirs):
        raise BadCheckpoint(f"{part.folder} and {first.folder} were aligned over two language models or prompts")
    if None not in (mine.lora, theirs.lora) and mine.lora != theirs.lora:
        raise WrongUse(f"{part.folder} and {first.folder} name two [lora] for stage 2")


def _prompting(config: AnyMALConfig) -> AnyMALConfig:
    """All of a network that its media share, without the place of its language model."""
    return replace(
        config,
        llm=replace(config.llm, path="", architecture=None),
        modalities={},
        lora=None,
        prompt_order="media-first",
    )
