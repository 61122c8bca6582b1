"""Pickled weights: converted once, read as tensors alone; and which files of a repository are used."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as typed
from safetensors.torch import load_file

from anymal_eval.anymal import encoders, tiny
from anymal_eval.checkpoints import conversion
from anymal_eval.checkpoints.conversion import with_safetensors
from anymal_eval.checkpoints.files import skipped_in, weight_files
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.checkpoints.weights import fingerprint
from anymal_eval.codec import decode
from anymal_eval.errors import BadCheckpoint

transformers: Any = typed
OPTIONS = {
    "kind": "clip", "architecture": {
        "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "image_size": 32, "patch_size": 8,
    },
}  # fmt: skip
# As huggingface.co lists laion/CLIP-ViT-bigG-14-laion2B-39B-b160k, with OpenCLIP's weights beside transformers'.
BIG_G = [
    ".gitattributes", "README.md", "config.json", "merges.txt", "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors", "model.safetensors.index.json", "open_clip_config.json",
    "open_clip_model.safetensors", "open_clip_pytorch_model.bin", "preprocessor_config.json",
    "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json",
    "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint with safetensors."""
    torch.manual_seed(0)
    path = tmp_path / "clip"
    tiny.write_encoder(path, decode(encoders.options_of("clip"), {**OPTIONS, "path": str(path)}, "clip"))
    return path


def pickled(folder: Path, shards: int = 1) -> Path:
    """The same checkpoint as openai/clip-vit-large-patch14-336 has it: pytorch_model.bin alone, or shards of it."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(tensors, folder / "pytorch_model.bin")
        return folder
    places: dict[str, str] = {}
    for number in range(shards):
        name = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        part = {key: tensors[key] for key in sorted(tensors)[number::shards]}
        torch.save(part, folder / name)
        places |= dict.fromkeys(part, name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def built(path: Path) -> encoders.Encoder:
    return encoders.build(
        decode(encoders.options_of("clip"), {**OPTIONS, "path": str(path)}, "clip"), BackboneLoading()
    )


@pytest.mark.parametrize("shards", [1, 3])
def test_an_encoder_of_pickles_is_that_of_safetensors(
    shards: int, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    windows = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = built(folder)
        wanted = before(windows)
        after = built(pickled(folder, shards))
        assert torch.equal(after(windows), wanted)
    assert after.weights == before.weights
    assert [record.getMessage().count("converted to safetensors once") for record in caplog.records] == [1]
    caplog.clear()
    built(folder)
    assert not caplog.records
    assert sorted(path.name for path in (tmp_path / "cache" / "converted").iterdir()) == [with_safetensors(folder).name]


def test_tensors_that_share_memory_and_files_of_old_torch(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["tied"] = next(iter(tensors.values()))
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    found = load_file(with_safetensors(folder) / "model.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


class _Runs:
    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (self.file,)


@pytest.mark.parametrize("content", ["code", "objects", "cut", "text"])
def test_a_pickle_that_is_not_tensors_is_refused(content: str, folder: Path, tmp_path: Path) -> None:
    pickled(folder)
    file = folder / "pytorch_model.bin"
    if content == "code":
        torch.save({"a": torch.zeros(1), "b": _Runs(str(tmp_path / "ran"))}, file)
    elif content == "objects":
        torch.save({"a": torch.zeros(1), "b": {"c": 1}}, file)
    elif content == "cut":
        file.write_bytes(file.read_bytes()[:-1000])
    else:
        file.write_bytes(pickle.dumps(["a"]))
    with pytest.raises(BadCheckpoint, match=r"pytorch_model\.bin cannot be") as caught:
        built(folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix == ".safetensors"]


def test_a_conversion_that_is_interrupted_leaves_no_half(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled(folder, 3)
    real, calls = conversion.pickled_tensors, []

    def interrupted(file: Path) -> dict[str, Any]:
        calls.append(file)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(file)

    monkeypatch.setattr(conversion, "pickled_tensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        with_safetensors(folder)
    assert not list((tmp_path / "cache" / "converted").iterdir())
    monkeypatch.setattr(conversion, "pickled_tensors", real)
    assert len(weight_files(with_safetensors(folder))) == 3


def test_other_programs_weights_are_neither_downloaded_nor_read(folder: Path) -> None:
    skipped = skipped_in(BIG_G, pickled="alone")
    assert [name for name in BIG_G if name not in skipped and ("model-" in name or "open" in name)] == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    ]  # fmt: skip
    assert {"config.json", "preprocessor_config.json", "model.safetensors.index.json"}.isdisjoint(skipped)
    # laion/clap-htsat-unfused: pickles alone
    clap = ["config.json", "preprocessor_config.json", "pytorch_model.bin", "tokenizer.json", "vocab.json"]
    assert skipped_in(clap, pickled="alone") == []
    assert skipped_in(clap, pickled="never") == ["pytorch_model.bin"]
    mistral = [
        "config.json",
        "consolidated.safetensors",
        "model.safetensors",
        "original/consolidated.00.pth",
        "a/b.json",
    ]
    assert skipped_in(mistral, pickled="alone") == ["consolidated.safetensors", "original/consolidated.00.pth"]

    before = fingerprint(folder)
    (folder / "open_clip_model.safetensors").write_bytes(b"not read")
    assert fingerprint(folder) == before


@pytest.mark.parametrize("name", ["../other.safetensors", "none.safetensors", ""])
def test_an_index_that_leads_elsewhere_is_refused(name: str, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(BadCheckpoint, match=r"index\.json names"):
        built(folder)
