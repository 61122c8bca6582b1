"""What a training starts from: a fresh network of a preset or a file, or a checkpoint; and what of it is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from anymal_eval.anymal import checkpoint, lora
from anymal_eval.anymal.allocator import return_large_blocks
from anymal_eval.anymal.config import (
    AnyMALConfig,
    LoraConfig,
    preset,
    preset_names,
    read_toml,
    with_paths,
    write_config,
)
from anymal_eval.anymal.model import AnyMAL, create
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.errors import BadCheckpoint, WrongUse

LARGE = 256 << 20  # bytes of a language model from which on memory matters more than a few per cent of time


@dataclass(frozen=True, kw_only=True)
class Start:
    """A network to train.

    Attributes:
        network: a preset's name, a TOML file, or a checkpoint folder.
        backbones: where frozen parts lie, by ``llm`` or medium.
        adapters: those to train besides the projectors; None for projectors alone.
    """

    network: str
    backbones: Mapping[str, str] = field(default_factory=dict)
    adapters: LoraConfig | None = None

    @property
    def folder(self) -> Path | None:
        """The checkpoint, where it is one."""
        found = Path(self.network)
        return found if found.is_dir() else None

    def config(self) -> AnyMALConfig:
        """What the network is made of; loads nothing.

        Raises:
            NotInCatalog, BadDefinition, BadCheckpoint: there is no such network.
        """
        if self.folder is not None:
            return checkpoint.read(self.folder)[0]
        file = Path(self.network)
        if file.suffix != ".toml":
            if "/" in self.network and self.network not in preset_names():
                raise BadCheckpoint(f"{self.network}: there is no such folder")
            return with_paths(preset(self.network), self.backbones)
        if not file.is_file():
            raise WrongUse(f"{file}: there is no such file")
        return with_paths(_beside(read_toml(file), file.parent), self.backbones)


def load(start: Start, loading: Loading, seed: int) -> AnyMAL:
    """The network with fresh weights where it has none, made of the seed.

    Raises:
        BadCheckpoint: a part is not there, not whole or not the one that was trained with.
        WrongUse: adapters of another rank are already there.
    """
    config = start.config()
    if _bytes(start, config) >= LARGE:
        return_large_blocks()
    torch.manual_seed(seed)
    if start.folder is None:
        network = create(AnyMALConfig(llm=config.llm, modalities=config.modalities), loading)
    else:
        network = checkpoint.load(start.folder, loading, start.backbones, trainable=start.adapters is not None)
    wanted = start.adapters
    if wanted is None:
        return network
    have = network.config.lora
    if have is None:
        network.llm.model = lora.attach(network.llm.model, wanted)
        network.config = replace(network.config, lora=wanted)
    elif (have.rank, have.alpha) != (wanted.rank, wanted.alpha):
        raise WrongUse(
            f"{start.network} has adapters of rank {have.rank} and alpha {have.alpha}: give these as --lora-rank and "
            "--lora-alpha to go on with them"
        )
    return network


def described(start: Start, network: AnyMAL) -> dict[str, Any]:
    """What the result depends on: the architecture, the frozen weights and the weights that were trained before."""
    config = write_config(with_paths(network.config, dict.fromkeys(("llm", *network.config.modalities), "")))
    before = None
    if start.folder is not None:
        from anymal_eval import fingerprint

        files = sorted(file for file in start.folder.rglob("*.safetensors"))
        before = [f"{file.relative_to(start.folder)} {fingerprint.of_file(file)}" for file in files]
    return {"network": config, "frozen": checkpoint.fingerprints(network), "from": before}


def _beside(config: AnyMALConfig, folder: Path) -> AnyMALConfig:
    """Relative paths of a file are relative to it, where something lies there."""
    paths = {"llm": config.llm.path} | {str(name): part.encoder.path for name, part in config.modalities.items()}
    return with_paths(
        config, {name: str(folder / path) for name, path in paths.items() if path and (folder / path).exists()}
    )


def _bytes(start: Start, config: AnyMALConfig) -> int:
    path = start.backbones.get("llm", config.llm.path)
    folder = Path(path) if start.folder is None or Path(path).is_absolute() else start.folder / path
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder.is_dir() else LARGE
