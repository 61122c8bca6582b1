"""Shards of the feature cache: packed while others read and write, damage and kills cost what they must cost."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from anymal_eval.anymal import features, shards
from anymal_eval.anymal.features import FeatureCache
from anymal_eval.anymal.shard_files import checksum, is_view
from anymal_eval.cli.main import cli
from tests.conftest import ROOT

KEYS = [f"{at * 7919:064x}" for at in range(1, 41)]


def value(key: str) -> torch.Tensor:
    return torch.full((5, 3), float(int(key, 16) % 251)).to(torch.bfloat16 if int(key, 16) % 2 else torch.float32)


def fill(folder: Path, keys: list[str]) -> FeatureCache:
    cache = FeatureCache(folder)
    for key in keys:
        cache.put(key, value(key))
    return cache


def files(folder: Path) -> list[Path]:
    return sorted((folder / "shards").glob("*"))


def single(folder: Path) -> list[Path]:
    return sorted(folder.glob("??/*"))


def right(cache: FeatureCache, keys: list[str]) -> list[str]:
    """The keys that are there; each must have its value."""
    found = {key: cache.get(key) for key in keys}
    for key, entry in found.items():
        assert entry is None or (entry.dtype == value(key).dtype and torch.equal(entry, value(key)))
    return [key for key, entry in found.items() if entry is not None]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A folder of one shard."""
    folder = tmp_path / "packed"
    assert fill(folder, KEYS[:10]).pack() == 10
    assert len(files(folder)) == 1
    assert not single(folder)
    return folder


def test_many_entries_are_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "PACK_ENTRIES", 12)
    cache = fill(tmp_path, KEYS)
    assert len(files(tmp_path)) == 3
    assert len(single(tmp_path)) == len(KEYS) % 12
    assert len(cache) == len(KEYS)
    for reader in (cache, FeatureCache(tmp_path)):
        assert right(reader, KEYS) == KEYS
        assert reader.counts.hits == len(KEYS)
    assert cache.verify() == []
    entries = {key: tensor for file in files(tmp_path) for key, tensor in load_file(file).items()}
    assert len(entries) == 36
    for key, tensor in entries.items():
        assert torch.equal(tensor, value(key))


def test_a_folder_of_an_earlier_version_is_read_and_packed_by_command(tmp_path: Path) -> None:
    fill(tmp_path, KEYS)
    assert len(single(tmp_path)) == len(KEYS)
    size = FeatureCache(tmp_path).size()
    ended = CliRunner().invoke(cli, ["features", "pack", "--features", str(tmp_path)])
    assert ended.output.startswith("40 entries packed; 40 entries, ")
    assert not single(tmp_path)
    assert FeatureCache(tmp_path).size() < size
    assert right(FeatureCache(tmp_path), KEYS) == KEYS
    assert CliRunner().invoke(cli, ["features", "verify", "--features", str(tmp_path)]).exit_code == 0


def test_a_reader_finds_what_was_packed_after_it_began(tmp_path: Path) -> None:
    writer = fill(tmp_path, KEYS[:5])
    reader = FeatureCache(tmp_path)
    assert right(reader, KEYS[:2]) == KEYS[:2]
    writer.pack()
    assert right(reader, KEYS[:6]) == KEYS[:5]


def test_a_damaged_entry_costs_itself(packed: Path, caplog: pytest.LogCaptureFixture) -> None:
    (shard,) = files(packed)
    content = bytearray(shard.read_bytes())
    lost = KEYS[4]
    places = shards.read_header(shard)
    assert places is not None
    content[places[lost].start + 7] ^= 16
    shard.write_bytes(content)
    cache = FeatureCache(packed)
    with caplog.at_level(logging.WARNING):
        assert right(cache, KEYS[:10]) == [key for key in KEYS[:10] if key != lost]
    assert cache.counts.corrupt == [lost]
    assert [lost in record.message for record in caplog.records] == [True]
    cache.put(lost, value(lost))
    cache.pack()  # must not take the damaged one for it
    assert right(FeatureCache(packed), KEYS[:10]) == KEYS[:10]
    assert cache.verify(remove=False) == [shard / lost]
    assert cache.verify() == [shard / lost]
    assert cache.verify() == []
    again = FeatureCache(packed)
    assert right(again, KEYS[:10]) == KEYS[:10]
    assert again.counts.corrupt == []


@pytest.mark.parametrize("where", [0, 5, 30, 200, 900])
def test_a_damaged_header_costs_the_entries_of_its_shard(
    packed: Path, caplog: pytest.LogCaptureFixture, where: int
) -> None:
    (shard,) = files(packed)
    content = bytearray(shard.read_bytes())
    content[where] ^= 1
    shard.write_bytes(content)
    cache = fill(packed, KEYS[10:12])
    with caplog.at_level(logging.WARNING):
        assert right(cache, KEYS[:12]) == KEYS[10:12]
    assert len(caplog.records) == 1
    assert "header is damaged" in caplog.text
    assert cache.verify() == [shard]
    assert not shard.exists()


def test_a_cut_shard(packed: Path) -> None:
    (shard,) = files(packed)
    os.truncate(shard, shard.stat().st_size - 10)
    assert len(right(FeatureCache(packed), KEYS[:10])) == 9
    assert len(FeatureCache(packed).verify()) == 1
    assert len(FeatureCache(packed)) == 9


def test_bytes_are_compared_once(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared, real = list[int](), checksum

    def counting(tensor: torch.Tensor) -> int:
        compared.append(1)
        return real(tensor)

    monkeypatch.setattr(shards, "checksum", counting)
    for mapped in (False, True):
        compared.clear()
        cache = FeatureCache(packed, mapped=mapped)
        for _ in range(3):
            right(cache, KEYS[:10])
        assert len(compared) == 10
        found = cache.get(KEYS[0])
        assert found is not None
        assert is_view(found) == mapped


def test_checksums_are_those_of_zlib(packed: Path) -> None:
    """Whichever library computes them, a shard that one machine writes is read on another."""
    [shard] = (packed / "shards").iterdir()
    content = shard.read_bytes()
    places = (shards.read_header(shard) or {}).values()
    assert places
    for place in places:
        assert place.crc == zlib.crc32(content[place.start : place.start + place.size])


def test_a_mapped_shard_is_whole_while_it_is_read(packed: Path) -> None:
    """A damaged entry is found, and a view outlives the file's name."""
    [shard] = (packed / "shards").iterdir()
    place = next(place for key, place in (shards.read_header(shard) or {}).items() if key == KEYS[3])
    with shard.open("r+b") as file:
        file.seek(place.start)
        byte = file.read(1)[0]
        file.seek(place.start)
        file.write(bytes([byte ^ 1]))
    cache = FeatureCache(packed, mapped=True)
    assert cache.get(KEYS[3]) is None
    assert KEYS[4] in cache
    before = len(os.listdir("/dev/fd"))
    views = [FeatureCache(packed, mapped=True).get(KEYS[4]) for _ in range(20)]
    assert len(os.listdir("/dev/fd")) <= before + 2  # views keep no file open
    view = views[-1]
    shard.unlink()
    assert view is not None
    assert torch.equal(view, value(KEYS[4]))


KILLED = """
import os, signal, sys
from pathlib import Path
from anymal_eval.anymal.features import FeatureCache

point, real, left = sys.argv[2], {"unlink": Path.unlink, "replace": os.replace, "fsync": os.fsync}, [3]

def killed(*given, **more):
    left[0] -= 1
    if not left[0] or point != "unlink":
        os.kill(os.getpid(), signal.SIGKILL)
    return real[point](*given, **more)

setattr(Path if point == "unlink" else os, point, killed)
FeatureCache(Path(sys.argv[1])).pack()
"""


@pytest.mark.parametrize("point", ["fsync", "replace", "unlink"])
def test_killed_while_packing(tmp_path: Path, point: str) -> None:
    cache = fill(tmp_path, KEYS)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), point], cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    assert len(single(tmp_path)) == (38 if point == "unlink" else 40)
    assert right(cache, KEYS) == KEYS
    assert len(FeatureCache(tmp_path)) == 40
    assert cache.verify() == []
    cache.pack()
    assert not single(tmp_path)
    assert len(files(tmp_path)) == 1, "no draft, nothing twice"
    assert right(FeatureCache(tmp_path), KEYS) == KEYS


def test_a_full_disk_costs_no_entry(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = small_disk / "features"
    cache, kept = FeatureCache(folder), 0
    with caplog.at_level(logging.WARNING):
        while not cache.counts.not_stored:
            cache.put(KEYS[kept], torch.full((100, 100), float(kept)))
            kept += 1
        cache.pack()
    assert len(caplog.records) == 1
    assert "no space" in caplog.text
    for at in range(kept - 1):
        found = cache.get(KEYS[at])
        assert found is not None
        assert bool((found == at).all())
    assert not list(folder.rglob("*.draft"))


FILLS = """
import sys, torch
from pathlib import Path
from anymal_eval.anymal import features
from tests.anymal.test_shards import KEYS, fill, right
features.PACK_ENTRIES = 5
cache = fill(Path(sys.argv[1]), KEYS[int(sys.argv[2]):int(sys.argv[3])])
assert right(cache, KEYS[int(sys.argv[2]):int(sys.argv[3])]) == KEYS[int(sys.argv[2]):int(sys.argv[3])]
assert not cache.counts.corrupt
"""


def test_processes_that_fill_and_pack_at_once(tmp_path: Path) -> None:
    spans = [("0", "25"), ("15", "40")]
    running = [subprocess.Popen([sys.executable, "-c", FILLS, str(tmp_path), *span], cwd=ROOT) for span in spans]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert right(FeatureCache(tmp_path), KEYS) == KEYS
    assert FeatureCache(tmp_path).verify() == []
    assert len(FeatureCache(tmp_path)) == 40


def test_pruning_removes_the_shard_that_was_not_used_and_leaves_its_readers(tmp_path: Path) -> None:
    cache = fill(tmp_path, KEYS[:10])
    cache.pack()
    (old,) = files(tmp_path)
    os.utime(old, (1_000, 1_000))
    fill(tmp_path, KEYS[10:20]).pack()
    reader = FeatureCache(tmp_path)
    assert reader.get(KEYS[10]) is not None
    draft = old.with_name(f"{'0' * 64}.deadbeef.draft")
    draft.write_bytes(b"x")
    os.utime(draft, (0, 0))
    size = old.stat().st_size
    assert cache.prune(cache.size() - 1) == size
    assert not old.exists()
    assert not draft.exists()
    assert right(reader, KEYS[:20]) == KEYS[10:20]
    assert right(FeatureCache(tmp_path), KEYS[:20]) == KEYS[10:20]
    assert cache.prune(0) > 0
    assert cache.size() == 0
    assert reader.get(KEYS[10]) is not None, "an open shard is read to its end"
    assert reader.get(KEYS[0]) is None


def test_files_of_others_between_the_shards_stay(packed: Path, tmp_path: Path) -> None:
    (shard,) = files(packed)
    from safetensors.torch import save_file

    theirs = shard.with_name(f"{'ab' * 32}.safetensors")
    save_file({"weight": torch.ones(3)}, theirs)
    (shard.parent / "notes.txt").write_text("x")
    (tmp_path / "thesis").write_text("years of work")
    shard.with_name(f"{'cd' * 32}.safetensors").symlink_to(tmp_path / "thesis")
    before = {file.name for file in files(packed)} - {shard.name}
    cache = FeatureCache(packed)
    assert right(cache, KEYS[:10]) == KEYS[:10]
    assert cache.counts.corrupt == []
    assert cache.verify() == []
    cache.prune(0)
    assert {file.name for file in files(packed)} == before
    assert (tmp_path / "thesis").read_text() == "years of work"


def test_a_linked_folder_of_shards_is_not_followed(packed: Path, tmp_path: Path) -> None:
    shutil.move(packed / "shards", tmp_path / "elsewhere")
    (packed / "shards").symlink_to(tmp_path / "elsewhere")
    FeatureCache(packed).prune(0)
    cache = fill(packed, KEYS[:3])
    assert cache.pack() == 0
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1
    assert right(FeatureCache(packed), KEYS[:3]) == KEYS[:3]
