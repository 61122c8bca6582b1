"""Other networks' checkpoints that hold code, or name files outside: one line, nothing runs, nothing is written."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.anymal import imagebind_layout
from tests.attacks.conftest import Ended, listing

LLAVA = {
    "model_type": "llava", "hidden_size": 48, "mm_vision_tower": "/not/here", "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch", "image_aspect_ratio": "pad",
}  # fmt: skip
HF = {
    "model_type": "llava", "projector_hidden_act": "gelu", "vision_feature_layer": -2, "image_token_index": 9,
    "text_config": {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    "vision_config": {"model_type": "clip_vision_model", "hidden_size": 32, "num_attention_heads": 2},
}  # fmt: skip


class Code:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def evil(file: Path, mark: Path, tensors: dict[str, Any] | None = None) -> None:
    torch.save({**(tensors or {}), "more": Code(mark)}, file)


def projector() -> dict[str, torch.Tensor]:
    shapes = {"0.weight": (48, 32), "0.bias": (48,), "2.weight": (48, 48), "2.bias": (48,)}
    return {f"model.mm_projector.{name}": torch.ones(shape) for name, shape in shapes.items()}


def whole_llava(folder: Path, mark: Path) -> None:
    (folder / "config.json").write_text(json.dumps(LLAVA))
    (folder / "tokenizer.json").write_text("{}")
    evil(folder / "pytorch_model.bin", mark, projector())


def llava_projector(folder: Path, mark: Path) -> None:
    (folder / "config.json").write_text(json.dumps(LLAVA))
    evil(folder / "mm_projector.bin", mark, projector())


def llava_lora(folder: Path, mark: Path) -> None:
    (folder / "config.json").write_text(json.dumps(LLAVA))
    (folder / "adapter_config.json").write_text("{}")
    evil(folder / "non_lora_trainables.bin", mark, projector())


def llava_hf(folder: Path, mark: Path) -> None:
    (folder / "config.json").write_text(json.dumps(HF))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "preprocessor_config.json").write_text("{}")
    evil(folder / "pytorch_model.bin", mark)


def reimplementation(folder: Path, mark: Path) -> None:
    evil(folder / "projector.pt", mark)


def pandagpt(folder: Path, mark: Path) -> None:
    evil(folder / "pytorch_model.pt", mark)


LAYOUTS = [whole_llava, llava_projector, llava_lora, llava_hf, reimplementation, pandagpt]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "given").mkdir()
    return tmp_path / "given"


@pytest.mark.parametrize("craft", LAYOUTS, ids=lambda craft: craft.__name__)
def test_no_code_runs(anymal: Callable[..., Ended], folder: Path, craft: Callable[[Path, Path], None]) -> None:
    mark = folder.parent / "ran"
    craft(folder, mark)
    before = listing(folder)
    inside = craft in (whole_llava, llava_hf)
    parts = ["--encoder", "/not/here"] if inside else ["--llm", "/not/here", "--encoder", "/not/here"]
    ended = anymal("checkpoints", "import", folder, "--out", folder.parent / "out", *parts)
    assert ended.code == 1
    assert len(ended.lines) == 1
    assert "cannot be read as tensors alone" in ended.lines[0]
    assert not mark.exists()
    assert not (folder.parent / "out").exists()
    assert listing(folder) == before
    # nor where it is taken for a checkpoint of ours
    for command in (
        ("run", "--tasks", "vqav2", "--model", f"anymal:{folder}", "--data", "demo", "--limit", "1"),
        ("checkpoints", "estimate", folder),
        ("train", "instruct", folder, "--data", "pairs:rows.jsonl", "--steps", "1", "--out", folder.parent / "trained"),
    ):
        ended = anymal(*command)
        assert ended.code == 1
        assert len(ended.lines) == 1
        assert f"checkpoints import {folder} --out DIR" in ended.lines[0]
    assert not mark.exists()


def test_no_code_of_an_encoder_runs(anymal: Callable[..., Ended], folder: Path) -> None:
    mark, file = folder.parent / "ran", folder.parent / "imagebind_huge.pth"
    evil(file, mark, dict(imagebind_layout.released()))
    adapters = {
        f"llama_model.base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight": torch.ones(2, 2)
        for side in "AB"
    }
    torch.save(
        {"llama_proj.weight": torch.ones(4, 20), "llama_proj.bias": torch.ones(4), **adapters},
        folder / "pytorch_model.pt",
    )
    ended = anymal("checkpoints", "import", folder, "--out", folder.parent / "out", "--llm", "x", "--encoder", file)
    assert ended.code == 1
    assert len(ended.lines) == 1
    assert "imagebind_huge.pth cannot be read as tensors alone" in ended.lines[0]
    assert not mark.exists()
    assert not (folder.parent / "out").exists()
    assert not list((folder.parent / "cache").glob("converted/*"))


def test_an_index_that_leads_outside(anymal: Callable[..., Ended], folder: Path) -> None:
    torch.save(projector(), folder.parent / "secret.bin")
    (folder / "config.json").write_text(json.dumps(LLAVA))
    (folder / "tokenizer.json").write_text("{}")
    places = dict.fromkeys(projector(), "../secret.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    ended = anymal("checkpoints", "import", folder, "--out", folder.parent / "out")
    assert ended.code == 1
    assert len(ended.lines) == 1
    assert "no name in its folder" in ended.lines[0]


def test_an_older_folder_of_the_user_is_not_replaced(anymal: Callable[..., Ended], folder: Path) -> None:
    reimplementation(folder, folder.parent / "ran")
    (folder.parent / "out").mkdir()
    (folder.parent / "out" / "thesis.txt").write_text("mine")
    before = listing(folder.parent / "out")
    ended = anymal("checkpoints", "import", folder, "--out", folder.parent / "out", "--llm", "x", "--encoder", "y")
    assert ended.code == 1
    assert len(ended.lines) == 1
    assert "holds other files" in ended.lines[0]
    assert listing(folder.parent / "out") == before
