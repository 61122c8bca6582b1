"""Checkpoints come back as they were, and what does not belong together is refused by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from anymal_eval.anymal import checkpoint, tiny
from anymal_eval.anymal.conversation import Prompt, Turn
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.errors import BadCheckpoint, BadData


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint and its backbones, free to be broken; backbones are links."""
    shutil.copytree(tiny_folder / "checkpoint", tmp_path / "checkpoint")
    (tmp_path / "backbones").mkdir()
    for part in (tiny_folder / "backbones").iterdir():
        (tmp_path / "backbones" / part.name).symlink_to(part)
    return tmp_path / "checkpoint"


def test_a_checkpoint_comes_back_and_can_be_moved(network: AnyMAL, copy: Path, tmp_path: Path) -> None:
    """``copy`` lies elsewhere than it was written: backbones beside it are found from it."""
    again = checkpoint.load(copy, Loading())
    prompt = Prompt(pieces=((5, 6), (7,)), media=("image",))
    tokens = torch.randn(8, 64)
    with torch.no_grad():
        assert torch.equal(again(again.rows([prompt], [[tokens]])), network(network.rows([prompt], [[tokens]])))
    for name, value in network.projectors.state_dict().items():
        assert torch.equal(value, again.projectors.state_dict()[name])
    assert checkpoint.fingerprints(again) == checkpoint.fingerprints(network)


def test_trained_adapters_come_back(copy: Path, tmp_path: Path) -> None:
    network = checkpoint.load(copy, Loading(), trainable=True)
    trained = [name for name, value in network.llm.named_parameters() if value.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert sum("layers.0." in name for name in trained) == 14, "two matrices on each of a block's seven linear layers"
    with torch.no_grad():
        for name, value in network.llm.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.2)
    batch = network.rows([Prompt(pieces=((5, 6, 7),))], [[]])
    with torch.no_grad():
        wanted = network(batch)
    checkpoint.save(network, tmp_path / "trained")
    assert (tmp_path / "trained" / "lora" / "adapter_model.safetensors").exists()
    again = checkpoint.load(tmp_path / "trained", Loading())
    assert not any(value.requires_grad for value in again.llm.parameters())
    with torch.no_grad():
        assert torch.equal(again(batch), wanted)
        fresh = checkpoint.load(copy, Loading())
        assert not torch.allclose(fresh(batch), wanted)


@pytest.mark.parametrize("part", ["llm", "clip", "clap", "videomae", "imu2clip.safetensors"])
def test_a_wrong_backbone_is_refused_by_name(part: str, copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    if not other.exists():
        tiny.write(other, seed=1)
    medium = {"llm": "llm", "clip": "image", "clap": "audio", "videomae": "video"}.get(part, "imu")
    message = "wrong language model" if medium == "llm" else f"wrong {medium} encoder"
    with pytest.raises(
        BadCheckpoint, match=rf"{message}.*trained with weights [0-9a-f]{{12}}, .*{part} has [0-9a-f]{{12}}"
    ):
        checkpoint.load(copy, Loading(), {medium: str(other / "backbones" / part)})


def test_the_same_weights_in_other_shards_are_the_same(copy: Path, tmp_path: Path) -> None:
    import transformers

    source = copy.parent / "backbones" / "llm"
    model = transformers.AutoModelForCausalLM.from_pretrained(source)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="50KB")
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path / "sharded")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    checkpoint.load(copy, Loading(), {"llm": str(tmp_path / "sharded")})


def test_missing_and_broken_files_are_refused(copy: Path, tmp_path: Path) -> None:
    cases = {
        "projectors.safetensors": "the trained projectors are missing",
        "lora/adapter_model.safetensors": "adapters of this checkpoint are missing",
        "config.json": "no AnyMAL checkpoint",
    }
    for name, message in cases.items():
        content = (copy / name).read_bytes()
        (copy / name).unlink()
        with pytest.raises(BadCheckpoint, match=message):
            checkpoint.load(copy, Loading())
        (copy / name).write_bytes(content)
    whole = (copy / "projectors.safetensors").read_bytes()
    (copy / "projectors.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadCheckpoint, match="cut off"):
        checkpoint.load(copy, Loading())


def test_a_backbone_without_safetensors_is_refused(copy: Path) -> None:
    llm = copy.parent / "backbones" / "llm"
    source = llm.resolve()
    llm.unlink()
    shutil.copytree(source, llm)
    (llm / "model.safetensors").rename(llm / "model.gguf")
    with pytest.raises(BadCheckpoint, match=r"llm holds no \.safetensors file"):
        checkpoint.load(copy, Loading())


def test_a_projector_of_another_size_is_refused(copy: Path) -> None:
    content = json.loads((copy / "config.json").read_text())
    content["network"]["modalities"]["image"]["projector"]["tokens"] = 4
    (copy / "config.json").write_text(json.dumps(content))
    with pytest.raises(BadCheckpoint, match=r"image\.latents"):
        checkpoint.load(copy, Loading())


def test_saving_replaces_whole_and_leaves_no_draft(network: AnyMAL, tmp_path: Path) -> None:
    for _ in range(2):
        checkpoint.save(network, tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_a_base_model_needs_plain(copy: Path) -> None:
    llm = copy.parent / "backbones" / "llm"
    source = llm.resolve()
    llm.unlink()
    shutil.copytree(source, llm)
    (llm / "chat_template.jinja").unlink()
    with pytest.raises(BadCheckpoint, match='no chat template; set chat = "plain"'):
        checkpoint.load(copy, Loading())
    content = json.loads((copy / "config.json").read_text())
    content["network"]["llm"]["chat"] = "plain"
    (copy / "config.json").write_text(json.dumps(content))
    network = checkpoint.load(copy, Loading())
    turns = [Turn(role="system", parts=("a dog",)), Turn(role="user", parts=("the color?",))]
    assert network.llm.generator.text(network.chat.prompt(turns).pieces[0]) == "a dog\n\nthe color?"
    prompt, options = network.chat.options(turns, ["yes", "no"])
    assert [network.llm.generator.text(option) for option in options] == [" yes", " no"]
    assert network.llm.generator.text(prompt.pieces[0]) == "a dog\n\nthe color?"


def test_a_template_that_takes_no_system_message_says_so(network: AnyMAL) -> None:
    before = network.chat.tokenizer.chat_template
    network.chat.tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    )
    try:
        with pytest.raises(BadData, match="refuses system, user: no system role"):
            network.chat.prompt([Turn(role="system", parts=("a",)), Turn(role="user", parts=("b",))])
    finally:
        network.chat.tokenizer.chat_template = before


def test_the_tiny_network_is_the_same_for_a_seed(tiny_folder: Path, tmp_path: Path) -> None:
    again = tiny.write(tmp_path / "again")
    assert checkpoint.read(again).frozen == checkpoint.read(tiny_folder / "checkpoint").frozen
    from safetensors.numpy import load_file

    left, right = (load_file(folder / "projectors.safetensors") for folder in (again, tiny_folder / "checkpoint"))
    assert all(np.array_equal(left[name], right[name]) for name in right)
