"""A tiny AnyMAL network whose language model a real vLLM server takes: its attention wants heads of 64."""

from dataclasses import replace
from pathlib import Path

from anymal_eval.records import MediaKind

SIZES = {"hidden_size": 256, "intermediate_size": 512, "max_position_embeddings": 1024}


def write_network(folder: Path, seed: int = 0) -> Path:
    """Write backbones and a checkpoint of an untrained network; the checkpoint's folder."""
    import torch

    from anymal_eval.anymal import checkpoint, tiny
    from anymal_eval.anymal.config import ModalityConfig, preset
    from anymal_eval.checkpoints.loading import quiet

    config = preset("tiny")
    media: dict[MediaKind, ModalityConfig] = {"image": config.modalities["image"]}
    wide = replace(config.llm, architecture={**(config.llm.architecture or {}), **SIZES})
    config = replace(config, llm=wide, modalities=media, lora=None)
    backbones = folder / "backbones"
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        tiny.write_llm(backbones / "llm", config.llm)
        for part in config.modalities.values():
            tiny.write_encoder(backbones / part.encoder.path, part.encoder)
        network = tiny.network_of(config, backbones)
        checkpoint.save(network, folder / "checkpoint", note="untrained")
    return folder / "checkpoint"
