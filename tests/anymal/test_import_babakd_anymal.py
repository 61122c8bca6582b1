"""Checkpoints in babakd/anymal's layout: a state dict written down here by hand, in their names and shapes."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anymal_eval.anymal import checkpoint, importers, lora
from anymal_eval.anymal.config import LoraConfig
from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.anymal.importers import Given
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.records import Decoding

WIDTH, SOURCE, TOKENS, LAYERS = 64, 32, 5, 2


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    found = {
        "latents": (TOKENS, WIDTH), "input_proj.weight": (WIDTH, SOURCE), "input_proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,), "norm.bias": (WIDTH,),
    }  # fmt: skip
    for layer in range(LAYERS):
        here = f"layers.{layer}."
        for norm in ("cross_attn_norm", "context_norm", "self_attn_norm", "ff_norm"):
            found |= {f"{here}{norm}.weight": (WIDTH,), f"{here}{norm}.bias": (WIDTH,)}
        for part in ("cross_attn", "self_attn"):
            found |= {f"{here}{part}.in_proj_weight": (3 * WIDTH, WIDTH), f"{here}{part}.in_proj_bias": (3 * WIDTH,)}
            found |= {f"{here}{part}.out_proj.weight": (WIDTH, WIDTH), f"{here}{part}.out_proj.bias": (WIDTH,)}
        found |= {f"{here}ff.net.0.weight": (4 * WIDTH, WIDTH), f"{here}ff.net.0.bias": (4 * WIDTH,)}
        found |= {f"{here}ff.net.3.weight": (WIDTH, 4 * WIDTH), f"{here}ff.net.3.bias": (WIDTH,)}
    return {name: torch.randn(shape) * 0.2 for name, shape in found.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "released"
    folder.mkdir()
    torch.save(state(), folder / "projector.pt")
    meta = {
        "architecture": "anymal_v1", "projector_type": "PerceiverResampler", "num_image_tokens": TOKENS,
        "preprocessing_family": "clip", "vision_model_name": "ViT-L-14", "vision_pretrained": "openai",
        "llm_checkpoint_saved": False, "llm_base_weights_saved": False,
    }  # fmt: skip
    (folder / "model_meta.json").write_text(json.dumps(meta))
    return folder


def load(folder: Path, tiny_folder: Path) -> AnyMAL:
    backbones = tiny_folder / "backbones"
    out = folder.parent / "imported"
    importers.write(folder, out, Given(llm=str(backbones / "llm"), encoder=str(backbones / "clip")))
    return checkpoint.load(out, Loading())


def test_it_is_read_and_answers(folder: Path, tiny_folder: Path) -> None:
    with pytest.raises(
        BadCheckpoint, match=r"checkpoint of babakd/anymal .*: python -m anymal_eval checkpoints import"
    ):
        importers.refuse(folder)
    network = load(folder, tiny_folder)
    pixels = torch.randn(1, 3, 32, 32)
    encoder = network.encoder("image")
    with torch.no_grad():
        clip = encoder.model
        assert isinstance(clip, torch.nn.Module)
        hidden = clip(pixel_values=pixels).last_hidden_state
        wanted = clip.get_submodule("post_layernorm")(hidden)
        features = network.encode("image", [pixels])
    torch.testing.assert_close(features[0], wanted[0])
    assert len(features[0]) == 17, "class token and all"
    tokens = network.project("image", features)
    assert tokens[0].shape == (TOKENS, WIDTH)
    prompt = network.chat.prompt([Turn(role="user", parts=(Slot(medium="image"), "what?"))])
    assert network.generate(network.rows([prompt], [tokens]), Decoding(max_new_tokens=3))[0].new_tokens


def test_adapters_are_put_on(folder: Path, tiny_folder: Path) -> None:
    network = load(folder, tiny_folder)
    network.llm.model = lora.attach(network.llm.model, LoraConfig(rank=2))
    with torch.no_grad():
        for name, value in network.llm.named_parameters():
            if "lora_B" in name:
                value.fill_(0.1)
    lora.save(network.llm.model, folder / "llm")
    prompt = network.chat.prompt([Turn(role="user", parts=("what?",))])
    again = load(folder, tiny_folder)
    with torch.no_grad():
        assert torch.equal(again(again.rows([prompt], [[]])), network(network.rows([prompt], [[]])))


def test_what_is_not_given_or_missing_is_named(folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    llm = str(tiny_folder / "backbones" / "llm")
    with pytest.raises(WrongUse, match=r"released does not record its language model: give it with --llm PATH"):
        importers.write(folder, tmp_path / "out", Given())
    # its own name of OpenAI's CLIP is known, and is not on this machine
    with pytest.raises(BadCheckpoint, match=r"openai/clip-vit-large-patch14: no such folder"):
        importers.write(folder, tmp_path / "out", Given(llm=llm))
    (folder / "llm").mkdir()
    with pytest.raises(BadCheckpoint, match=r"llm holds no adapter_model\.safetensors or adapter_model\.bin"):
        load(folder, tiny_folder)
    (folder / "projector.pt").unlink()
    with pytest.raises(BadCheckpoint, match=r"released holds no projector\.pt"):
        load(folder, tiny_folder)
    assert not (tmp_path / "imported").exists()


def test_what_we_do_not_know_is_refused(folder: Path, tiny_folder: Path) -> None:
    (folder / "model_meta.json").write_text(json.dumps({"architecture": "anymal_v3"}))
    with pytest.raises(BadCheckpoint, match="this is anymal_v3"):
        load(folder, tiny_folder)
    (folder / "model_meta.json").unlink()
    broken = state()
    del broken["norm.bias"]
    torch.save(broken, folder / "projector.pt")
    with pytest.raises(BadCheckpoint, match=r"norm\.bias"):
        load(folder, tiny_folder)
    torch.save({"code": folder}, folder / "projector.pt")
    with pytest.raises(BadCheckpoint, match="tensors alone"):
        load(folder, tiny_folder)
