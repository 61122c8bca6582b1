"""The networks, pictures, clips and requests that ``throughput.py`` asks; everything is made on the spot."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

from anymal_eval.anymal import checkpoint, tiny
from anymal_eval.anymal.config import AnyMALConfig, preset
from anymal_eval.checkpoints.loading import quiet
from anymal_eval.records import Decoding, Media, Message, Request

WORDS = [
    "what",
    "is",
    "the",
    "color",
    "of",
    "a",
    "dog",
    "man",
    "riding",
    "wave",
    "video",
    "sound",
    "left",
    "how",
    "many",
]
LLM_30M = {
    "model_type": "llama", "vocab_size": 512, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 9,
    "num_attention_heads": 8, "num_key_value_heads": 8, "max_position_embeddings": 1024,
}  # fmt: skip
VIT_43M = {
    "model_type": "clip_vision_model", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 6,
    "num_attention_heads": 12, "image_size": 224, "patch_size": 16,
}  # fmt: skip


@dataclass(frozen=True)
class Load:
    """A checkpoint and its requests."""

    checkpoint: Path
    requests: tuple[Request, ...]


def pictures(folder: Path, count: int, each: int = 5, new: int = 10) -> Load:
    """VQAv2's shape: ``each`` questions a picture, 256 picture tokens, a language model of 30 M parameters."""
    rng = np.random.default_rng(0)
    media = []
    for number in range(count):
        file = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)).save(file)
        media.append(Media(kind="image", uri=str(file)))
    how = Decoding(max_new_tokens=new, min_new_tokens=new)
    return Load(write(folder, shaped()), _requests(media, each, how=how))


def clips(folder: Path, count: int, each: int = 3, options: int = 5) -> Load:
    """NExT-QA's shape, its options ranked as whole texts: 256 tokens a clip of 8 frames."""
    rng = np.random.default_rng(0)
    media = []
    for number in range(count):
        file = folder / f"{number}.mp4"
        with av.open(str(file), "w") as container:
            stream: Any = container.add_stream("mpeg4", rate=10)
            stream.height, stream.width, stream.pix_fmt = 128, 160, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 10)
            for _ in range(16):
                frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (128, 160, 3), dtype=np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        media.append(Media(kind="video", uri=str(file)))
    texts = tuple(" ".join(rng.choice(WORDS, 6)) for _ in range(options))
    return Load(write(folder, shaped()), _requests(media, each, candidates=texts))


def encoded(folder: Path, count: int) -> tuple[Load, Path]:
    """A vision transformer of 43 M parameters before a tiny language model; and the same after more training."""
    config = preset("tiny")
    image = config.modalities["image"]
    coder: Any = replace(image.encoder, architecture=VIT_43M)
    config = replace(config, modalities={"image": replace(image, encoder=coder)})
    rng = np.random.default_rng(0)
    media = []
    for number in range(count):
        file = folder / f"{number}.jpg"
        Image.fromarray(rng.integers(0, 256, (240, 240, 3), dtype=np.uint8)).save(file)
        media.append(Media(kind="image", uri=str(file)))
    first = write(folder, config)
    network = tiny.network_of(config, folder / "backbones")
    for parameter in network.projectors.parameters():
        parameter.data.mul_(1.5)
    checkpoint.save(network, folder / "retrained")
    return Load(first, _requests(media, 1, how=Decoding(max_new_tokens=4))), folder / "retrained"


def shaped() -> AnyMALConfig:
    """The tiny preset with a larger language model and 256 tokens a medium."""
    config = preset("tiny")
    modalities = {}
    for medium in ("image", "video"):
        part = config.modalities[medium]  # type: ignore[index]
        projector: Any = replace(part.projector, tokens=256)  # type: ignore[call-arg]
        modalities[medium] = replace(part, projector=projector)
    return replace(config, llm=replace(config.llm, architecture=LLM_30M), modalities=modalities, lora=None)  # type: ignore[arg-type]


def write(folder: Path, config: AnyMALConfig) -> Path:
    """Random backbones and a checkpoint over them."""
    backbones = folder / "backbones"
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        tiny.write_llm(backbones / "llm", config.llm)
        for part in config.modalities.values():
            tiny.write_encoder(backbones / part.encoder.path, part.encoder)
        checkpoint.save(tiny.network_of(config, backbones), folder / "checkpoint")
    return folder / "checkpoint"


def _requests(
    media: Sequence[Media], each: int, *, candidates: tuple[str, ...] = (), how: Decoding | None = None
) -> tuple[Request, ...]:
    rng = np.random.default_rng(1)
    made = []
    for place, medium in enumerate(media):
        for number in range(each):
            text = " ".join(rng.choice(WORDS, int(rng.integers(5, 12))))
            made.append(
                Request(
                    id=f"{place}-{number}",
                    messages=(Message(role="user", parts=("Look: ", medium, text)),),
                    candidates=candidates,
                    decoding=how or Decoding(),
                )
            )
    return tuple(made)
