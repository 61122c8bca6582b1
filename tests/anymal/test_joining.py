"""Checkpoints made of others: joined ones answer as their parts, merged ones as with their adapters."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from anymal_eval.anymal import checkpoint, lora
from anymal_eval.anymal.backbones import placed
from anymal_eval.anymal.config import AnyMALConfig, with_paths
from anymal_eval.anymal.conversation import Prompt
from anymal_eval.anymal.encoders import Medium
from anymal_eval.anymal.joining import join
from anymal_eval.anymal.merging import merge
from anymal_eval.anymal.model import AnyMAL, create
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.records import Decoding

MEDIA: tuple[Medium, ...] = ("image", "audio", "imu")


def part(tiny_folder: Path, medium: Medium, out: Path, **changed: str) -> Path:
    """A checkpoint of stage 1 for one medium, its projector drawn with a seed of its own."""
    whole = placed(checkpoint.read(tiny_folder / "checkpoint"))
    config = AnyMALConfig(llm=whole.llm, modalities={medium: whole.modalities[medium]})
    torch.manual_seed(MEDIA.index(medium) + 1)
    network = create(with_paths(config, changed), Loading())
    network.config = dataclasses.replace(config, lora=whole.lora)
    checkpoint.save(network, out, note=f"of {medium}")
    return out


@pytest.fixture(scope="module")
def parts(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Medium, Path]:
    root = tmp_path_factory.mktemp("parts")
    return {medium: part(tiny_folder, medium, root / medium) for medium in MEDIA}


def answers(network: AnyMAL, medium: Medium) -> tuple[str, torch.Tensor]:
    """A text, and the logits behind it, for a fixed medium."""
    generator = torch.Generator().manual_seed(7)
    windows = torch.randn(1, *network.encoder(medium).window_shape, generator=generator)
    with torch.no_grad():
        tokens = network.project(medium, network.encode(medium, [windows]))
        batch = network.rows([Prompt(pieces=((5, 6), (7, 8)), media=(medium,))], [tokens])
        text = network.generate(batch, Decoding(max_new_tokens=8))[0].text
        return text, network(batch)


def test_a_joined_checkpoint_answers_as_its_parts(parts: dict[Medium, Path], tmp_path: Path) -> None:
    config = join(list(parts.values()), tmp_path / "joined")
    assert tuple(config.modalities) == MEDIA
    assert checkpoint.read(tmp_path / "joined").note == "of image; of audio; of imu"
    joined = checkpoint.load(tmp_path / "joined", Loading())
    assert joined.accepts == set(MEDIA)
    for medium, folder in parts.items():
        text, logits = answers(checkpoint.load(folder, Loading()), medium)
        found, other = answers(joined, medium)
        assert found == text
        assert torch.equal(other, logits)
    assert checkpoint.read(tmp_path / "joined").config.lora == checkpoint.read(parts["image"]).config.lora is not None
    assert not lora.is_attached(joined.llm.model)


def test_what_cannot_be_joined(parts: dict[Medium, Path], tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="two checkpoints or more"):
        join([parts["image"]], tmp_path / "out")
    with pytest.raises(WrongUse, match="both have a projector for image"):
        join([parts["image"], part(tiny_folder, "image", tmp_path / "again")], tmp_path / "out")
    with pytest.raises(WrongUse, match="has adapters"):
        join([parts["image"], tiny_folder / "checkpoint"], tmp_path / "out")
    with pytest.raises(BadCheckpoint, match=r"holds no config\.json"):
        join([parts["image"], tmp_path], tmp_path / "out")
    other = shutil.copytree(parts["audio"], tmp_path / "other")
    content = json.loads((other / "config.json").read_text())
    content["frozen"]["llm"] = "0" * 64
    (other / "config.json").write_text(json.dumps(content))
    with pytest.raises(BadCheckpoint, match="two language models"):
        join([parts["image"], other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_merged_adapters_are_in_the_weights(tiny_folder: Path, tmp_path: Path) -> None:
    network = checkpoint.load(tiny_folder / "checkpoint", Loading(), trainable=True)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in network.llm.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.2)
    checkpoint.save(network.train(False), tmp_path / "tuned")
    merge(tmp_path / "tuned", tmp_path / "merged")
    shutil.move(tmp_path / "merged", tmp_path / "elsewhere")  # it carries its language model
    merged = checkpoint.load(tmp_path / "elsewhere", Loading())
    assert not lora.is_attached(merged.llm.model)
    assert merged.config.lora is None
    for medium in MEDIA:
        text, logits = answers(network, medium)
        found, other = answers(merged, medium)
        assert found == text
        torch.testing.assert_close(other, logits, rtol=1e-4, atol=1e-4)
    with pytest.raises(WrongUse, match="no adapters"):
        merge(tmp_path / "elsewhere", tmp_path / "twice")
