"""The cache of frozen features: nothing is encoded twice, nothing corrupt is used, nothing is lost."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.conversation import Prompt
from anymal_eval.anymal.encoders import Medium
from anymal_eval.anymal.features import FeatureCache, feature_key
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.checkpoints.loading import Loading

Draw = Callable[..., NDArray[Any]]
PROMPT = Prompt(pieces=((5, 6), (7,)), media=("image",))


@dataclass(frozen=True)
class Item:
    """One medium: a digest of it, and how it is opened and preprocessed."""

    digest: str
    load: Callable[[], Tensor]


def encode_through(network: AnyMAL, medium: Medium, items: list[Item], cache: FeatureCache | None) -> list[Tensor]:
    """Features (n_i, e) of each item: from the cache, or encoded in one batch and stored. Equal digests are one."""
    wanted = {item.digest: item for item in items}
    keys = {digest: feature_key(network.encoder(medium), digest) for digest in wanted}
    entries = {digest: cache.get(key) if cache is not None else None for digest, key in keys.items()}
    found = {digest: entry for digest, entry in entries.items() if entry is not None}
    missing = [item for digest, item in wanted.items() if digest not in found]
    for item, features in zip(missing, network.encode(medium, [item.load() for item in missing]), strict=True):
        found[item.digest] = features
        if cache is not None:
            cache.put(keys[item.digest], features)
    return [found[item.digest] for item in items]


class Library:
    """Media that count how often they are opened."""

    def __init__(self, network: AnyMAL, draw: Draw, medium: Medium, count: int) -> None:
        self.opened = 0
        self.network, self.medium = network, medium
        self.arrays = [draw(medium) for _ in range(count)]

    def items(self) -> list[Item]:
        def loader(array: NDArray[Any]) -> Callable[[], Tensor]:
            def load() -> Tensor:
                self.opened += 1
                return self.network.preprocess(self.medium, array, 48_000)

            return load

        return [Item(digest=f"{self.medium}-{i}", load=loader(array)) for i, array in enumerate(self.arrays)]


def answers(network: AnyMAL, features: list[Tensor]) -> Tensor:
    with torch.no_grad():
        tokens = network.project("image", features)
        logits: Tensor = network(network.rows([PROMPT] * len(tokens), [[one] for one in tokens]))
    return logits


def test_another_projector_opens_nothing_and_encodes_nothing(tiny_folder: Path, tmp_path: Path, draw: Draw) -> None:
    first = checkpoint.load(tiny_folder / "checkpoint", Loading())
    library = Library(first, draw, "image", 5)
    cache = FeatureCache(tmp_path / "features")
    filled = encode_through(first, "image", library.items(), cache)
    assert library.opened == 5
    assert first.encoder_calls > 0
    for value in first.projectors.parameters():
        torch.nn.init.normal_(value, std=0.1)
    checkpoint.save(first, tmp_path / "second")

    second = checkpoint.load(tmp_path / "second", Loading(), {
        name: str(tiny_folder / "backbones" / part) for name, part in
        [("llm", "llm"), ("image", "clip"), ("audio", "clap"), ("video", "videomae"), ("imu", "imu2clip.safetensors")]
    })  # fmt: skip
    again = FeatureCache(tmp_path / "features")
    found = encode_through(second, "image", library.items(), again)
    assert library.opened == 5, "no media file is opened"
    assert second.encoder_calls == 0, "no encoder is called"
    assert (again.counts.hits, again.counts.misses) == (5, 0)
    uncached = encode_through(second, "image", library.items(), None)
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(found, uncached, filled, strict=True))
    assert torch.equal(answers(second, found), answers(second, uncached))


@pytest.mark.parametrize("medium", ["audio", "video", "imu"])
def test_every_medium_comes_back_as_it_was(network: AnyMAL, tmp_path: Path, draw: Draw, medium: Medium) -> None:
    library = Library(network, draw, medium, 2)
    cache = FeatureCache(tmp_path)
    made = encode_through(network, medium, library.items(), cache)
    found = encode_through(network, medium, library.items(), cache)
    assert all(torch.equal(a, b) for a, b in zip(made, found, strict=True))
    assert cache.counts.hits == 2


def test_equal_media_are_encoded_once(network: AnyMAL, draw: Draw) -> None:
    library = Library(network, draw, "image", 2)
    calls = network.encoder_calls
    one, two = library.items()
    found = encode_through(network, "image", [one, two, one, one], None)
    assert library.opened == 2
    assert network.encoder_calls == calls + 2
    assert torch.equal(found[0], found[3])


@pytest.mark.parametrize("where", [3, 40, 120, -1, -300])
def test_a_corrupt_entry_is_reported_and_computed_again(
    network: AnyMAL, tmp_path: Path, draw: Draw, caplog: pytest.LogCaptureFixture, where: int
) -> None:
    library = Library(network, draw, "image", 3)
    cache = FeatureCache(tmp_path)
    made = encode_through(network, "image", library.items(), cache)
    key = feature_key(network.encoder("image"), "image-1")
    file = tmp_path / key[:2] / f"{key}.safetensors"
    content = bytearray(file.read_bytes())
    content[where] ^= 1
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        found = encode_through(network, "image", library.items(), cache)
    assert library.opened == 4, "only the corrupt one is made anew"
    assert cache.counts.corrupt == [key]
    assert "is corrupt" in caplog.text
    assert key in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(made, found, strict=True))
    assert FeatureCache(tmp_path).verify() == []


def test_a_cut_entry_is_found_by_verify(network: AnyMAL, tmp_path: Path, draw: Draw) -> None:
    cache = FeatureCache(tmp_path)
    encode_through(network, "image", Library(network, draw, "image", 3).items(), cache)
    file = sorted(tmp_path.glob("??/*.safetensors"))[1]
    os.truncate(file, 100)
    assert cache.verify() == [file]
    assert len(cache) == 2


def test_the_key_is_all_it_depends_on(network: AnyMAL, tiny_folder: Path) -> None:
    half = checkpoint.load(tiny_folder / "checkpoint", Loading(precision=torch.bfloat16))
    image, audio = network.encoder("image"), network.encoder("audio")
    keys = {
        feature_key(image, "a"), feature_key(image, "b"), feature_key(audio, "a"),
        feature_key(half.encoder("image"), "a"),
    }  # fmt: skip
    assert len(keys) == 4
    before = image.layer, image.weights
    try:
        image.layer = "layer -1, no class token"
        keys.add(feature_key(image, "a"))
        image.layer, image.weights = before[0], "other"
        keys.add(feature_key(image, "a"))
    finally:
        image.layer, image.weights = before
    assert len(keys) == 6
    assert feature_key(image, "a") in keys


FILL = """
import sys, torch
from pathlib import Path
from anymal_eval.anymal.features import FeatureCache
cache = FeatureCache(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for i in range(int(sys.argv[2]), int(sys.argv[3])):
    key = f"{i * 7919:064x}"
    if cache.get(key) is None:
        cache.put(key, torch.full((64, 32), float(i)))
assert not cache.counts.corrupt
"""


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    spans = [("0", "150"), ("50", "200")]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", FILL, str(tmp_path), *span], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
        )
        for span in spans
    ]  # fmt: skip
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.close()
    for process in running:
        assert process.wait(timeout=120) == 0
        assert process.stdout is not None
        process.stdout.close()
    cache = FeatureCache(tmp_path)
    assert len(cache) == 200
    assert cache.verify() == []
    for i in range(200):
        found = cache.get(f"{i * 7919:064x}")
        assert found is not None
        assert bool((found == i).all())
    assert not list(tmp_path.glob("*/*.draft"))


def test_a_limit_drops_what_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    keys = [f"{i:02x}" + "0" * 62 for i in range(10)]
    for key in keys:
        cache.put(key, torch.zeros(100, 100))
    one = cache.size() // 10
    for age, key in enumerate(keys):
        os.utime(tmp_path / key[:2] / f"{key}.safetensors", (1_000 + age, 1_000 + age))
    assert cache.get(keys[0]) is not None  # used again: the newest now
    draft = tmp_path / "00" / f"{0:064x}.dead0000.draft"
    draft.write_bytes(b"x")
    os.utime(draft, (0, 0))
    freed = cache.prune(one * 4)
    assert freed == one * 6
    assert [key for key in keys if cache.get(key) is not None] == [keys[0], *keys[7:]]
    assert not draft.exists()


def test_filling_stays_under_the_limit(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, limit_bytes=200_000)
    for i in range(30):
        cache.put(f"{i:064x}", torch.full((50, 50), float(i)))
        assert cache.size() <= 200_000
        time.sleep(0.002)
    assert cache.get(f"{29:064x}") is not None
    assert cache.get(f"{0:064x}") is None


def test_a_full_disk_costs_the_entry_and_is_reported(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = FeatureCache(small_disk / "features")
    with caplog.at_level(logging.WARNING):
        for i in range(5):
            cache.put(f"{i:064x}", torch.zeros(300, 300))
    assert cache.counts.not_stored > 0
    assert "no space" in caplog.text
    assert cache.verify() == []
    assert not list(small_disk.glob("features/*/*.draft"))
