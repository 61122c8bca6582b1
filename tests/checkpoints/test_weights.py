"""The fingerprint of weights depends on the tensors alone, and damaged files are named."""

import errno
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from anymal_eval.checkpoints.weights import fingerprint, read_tensors, save_tensors
from anymal_eval.errors import BadCheckpoint
from anymal_eval.paths import PACKAGE

TENSORS = {name: np.arange(12, dtype=np.float32).reshape(3, 4) + number for number, name in enumerate("abc")}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return saved(tmp_path / "whole", TENSORS)


def saved(folder: Path, *shards: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    for number, shard in enumerate(shards):
        save_file(shard, folder / f"model-{number}.safetensors", {"format": "pt"})
    return folder


def test_sharding_is_no_part_of_it(whole: Path, tmp_path: Path) -> None:
    shards = [{"c": TENSORS["c"]}, {"b": TENSORS["b"], "a": TENSORS["a"]}]
    assert fingerprint(saved(tmp_path / "shards", *shards)) == fingerprint(whole)
    # of version 0.1.0: manifests and checkpoints hold it
    assert fingerprint(whole) == "cdc3fa9d0413df130e3ad78bc036537523d1abdfa351825709ba20bbc756d784"


@pytest.mark.parametrize(
    "other",
    [
        {**TENSORS, "a": TENSORS["a"] + 1},
        {**TENSORS, "a": TENSORS["a"].reshape(4, 3)},
        {**TENSORS, "a": TENSORS["a"].view(np.int32)},
        {("d" if name == "a" else name): value for name, value in TENSORS.items()},
    ],
    ids=["values", "shape", "type", "name"],
)
def test_another_tensor_is_another_fingerprint(other: dict[str, np.ndarray], whole: Path, tmp_path: Path) -> None:
    assert fingerprint(saved(tmp_path / "other", other)) != fingerprint(whole)


@pytest.mark.parametrize(
    ("length", "message"),
    [(0, "is empty"), (7, "or was cut off"), (100, "or was cut off"), (-1, "was cut off: . ends")],
)
def test_a_file_that_was_cut_off(length: int, message: str, whole: Path) -> None:
    file = whole / "model-0.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(BadCheckpoint, match=rf"model-0\.safetensors .*{message}"):
        fingerprint(whole)


def test_a_broken_link(whole: Path) -> None:
    (whole / "model-1.safetensors").symlink_to(whole / "none")
    with pytest.raises(BadCheckpoint, match="none cannot be read: No such file"):
        fingerprint(whole)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"holds no \.safetensors file"):
        fingerprint(tmp_path)


def test_tensors_are_read_and_nothing_else(whole: Path, tmp_path: Path) -> None:
    assert {name: value.tolist() for name, value in read_tensors(whole / "model-0.safetensors").items()} == {
        name: value.tolist() for name, value in TENSORS.items()
    }
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name in ("list", "empty"):
        with pytest.raises(BadCheckpoint, match=rf"{name}\.pt cannot be read as tensors alone"):
            read_tensors(tmp_path / f"{name}.pt")


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*model\.safetensors") as raised:
            save_tensors({"a": torch.zeros(1000)}, tmp_path / "model.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.errno == errno.EFBIG
    save_tensors({"a": torch.ones(3)}, tmp_path / "model.safetensors")
    assert torch.equal(read_tensors(tmp_path / "model.safetensors")["a"], torch.ones(3))


def test_one_place_writes_tensors() -> None:
    """``save_tensors`` makes a full disk an OSError, which every command ends with in one line."""
    package = PACKAGE
    direct = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if "import save_file" in (text := file.read_text(encoding="utf-8")) or "load_file, save_file" in text
    }
    # The networks of the tests, and the recipe that made the shipped demo model.
    assert direct == {"checkpoints/weights.py", "anymal/tiny.py", "training/demo_model/towers.py"}
