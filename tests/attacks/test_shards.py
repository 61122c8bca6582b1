"""Tar shards that are compressed, unordered, without captions, damaged, or crafted."""

import bz2
import gzip
import io
import lzma
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anymal_eval.training import order
from anymal_eval.training.sources import TrainingData, _shard_file, open_data
from anymal_eval.training.sources._tar import members
from tests.conftest import ROOT

BLOCK = 512
COMPRESSIONS = [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]


def tar(names: Sequence[tuple[str, bytes]], layout: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=layout) as archive:
        for name, content in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def samples(count: int) -> list[tuple[str, bytes]]:
    return [
        (f"{n:04d}.{ending}", content)
        for n in range(count)
        for ending, content in (("jpg", b"picture %d" % n), ("txt", b"words %d" % n))
    ]


def opened(data: TrainingData) -> list[tuple[str, bytes]]:
    assert data.opener is not None
    return [(str(one.turns[-1].parts[0]), data.opener(one.media[0].uri)) for one in data.read_shard(0)]


@pytest.mark.parametrize(("ending", "compress"), COMPRESSIONS)
@pytest.mark.parametrize("named", [True, False], ids=["by its name", "as .tar"])
def test_compressed(tmp_path: Path, ending: str, compress: Callable[[bytes], bytes], named: bool) -> None:
    file = tmp_path / (f"a.tar.{ending}" if named else "a.tar")
    file.write_bytes(compress(tar(samples(5))))
    data = open_data(f"webdataset:{file}")
    assert opened(data) == [(f"words {n}", b"picture %d" % n) for n in range(5)]
    assert data.unreadable == []


def test_threads_and_many_compressed_shards(tmp_path: Path) -> None:
    shards = _shard_file.KEPT
    assert shards > order.OPEN_SHARDS
    for number in range(shards):
        (tmp_path / f"{number}.tar.gz").write_bytes(gzip.compress(tar(samples(number + 2))))
    data = open_data(f"webdataset:{tmp_path}/{{0..{shards - 1}}}.tar.gz")
    _shard_file.kept.clear()
    uris = [one.media[0].uri for number in range(shards) for one in data.read_shard(number)]
    assert data.opener is not None
    drawn = random.Random(3).sample(uris, len(uris))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(data.opener, drawn))
    assert found == [b"picture %d" % int(uri.rpartition(":")[2].partition(".")[0]) for uri in drawn]
    assert _shard_file.kept.made == shards


@pytest.mark.parametrize(("ending", "compress"), COMPRESSIONS)
def test_compressed_and_damaged(tmp_path: Path, ending: str, compress: Callable[[bytes], bytes]) -> None:
    file = tmp_path / f"a.tar.{ending}"
    whole = compress(tar(samples(50)))
    for content in (whole[:-20], whole[:40], whole[:20] + b"\xff" * 20 + whole[40:]):
        file.write_bytes(content)
        data = open_data(f"webdataset:{file}")
        assert opened(data) == []
        (line,) = data.unreadable
        assert line.startswith(f"{file}: it cannot be inflated: ")
        assert "\n" not in line


def test_a_shard_that_inflates_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shard_file, "SPARE_BYTES", 1 << 20)
    file = tmp_path / "a.tar.gz"
    file.write_bytes(gzip.compress(bytes(20 << 20)))
    data = open_data(f"webdataset:{file}")
    assert opened(data) == []
    assert "inflate to more than" in data.unreadable[0]


def test_files_of_a_sample_apart(tmp_path: Path) -> None:
    apart = sorted(samples(3), key=lambda named: named[0][-3:])
    (tmp_path / "a.tar").write_bytes(tar([*apart, ("0009.jpg", b"p"), ("0009.txt", b"words 9")]))
    data = open_data(f"webdataset:{tmp_path}/a.tar")
    assert opened(data) == [("words 9", b"p")]
    assert (
        f"{tmp_path}/a.tar: 0000: its files do not follow one another; write the shard sorted by name"
        in data.unreadable
    )


@pytest.mark.parametrize(
    "caption", [b"", b" \n", b"null", b"{}", b'{"caption": null}', b'{"caption": []}', b"{", b"\xff"]
)
def test_no_caption(tmp_path: Path, caption: bytes) -> None:
    ending = "json" if caption[:1] in (b"n", b"{") else "txt"
    made = [("0000.jpg", b"p"), (f"0000.{ending}", caption), *samples(2)[2:]]
    (tmp_path / "a.tar").write_bytes(tar(made))
    data = open_data(f"webdataset:{tmp_path}/a.tar")
    assert opened(data) == [("words 1", b"picture 1")]
    (line,) = data.unreadable
    assert line.startswith(f"{tmp_path}/a.tar: 0000: ")
    assert "\n" not in line


def signed(content: bytes, at: int) -> bytes:
    """The header at a place with its checksum made right."""
    header = bytearray(content[at : at + BLOCK])
    header[148:156] = b" " * 8
    return content[: at + 148] + b"%06o\0 " % sum(header) + content[at + 156 :]


FIELDS = {"name": (0, 100), "mode": (100, 8), "uid": (108, 8), "size": (124, 12), "mtime": (136, 12), "type": (156, 1)}
VALUES = [
    b"\x80" + b"\xff" * 11,
    b"\xff" * 12,
    b"\x80" + b"\0" * 10 + b"\x7f",
    b"9" * 12,
    b"-1",
    b"7" * 11,
    b" " * 12,
    b"",
]
PAX = [
    b"20 size=-5\n", b"20 size=x\n", b"30 size=99999999999999999\n", b"99999999999999 path=a\n", b"0 path=\n",
    b"12 path=\0a\n", b"22 GNU.sparse.map=a,b\n", b"24 GNU.sparse.size=x\n22 GNU.sparse.numblocks=5\n",
    b"30 GNU.sparse.realsize=-9999\n", b"18 path=\xff\xfe\n", b"9" * 400,
]  # fmt: skip


def crafted() -> list[bytes]:
    found = []
    for layout in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        whole = tar([("a.jpg", b"p"), (f"{'n' * 120}.jpg", b"p"), ("é.txt", b"w")], layout)
        headers = [at for at in range(0, len(whole), BLOCK) if whole[at + 257 : at + 262] == b"ustar"]
        for at in headers:
            values = [(start, length, value) for start, length in FIELDS.values() for value in VALUES]
            values += [(156, 1, bytes([kind])) for kind in b"01234567gxXLKSDMVN"]
            for start, length, value in values:
                field = value[:length].ljust(length, b"\0")
                found.append(signed(whole[: at + start] + field + whole[at + start + length :], at))
            if whole[at + 156 : at + 157] == b"x":
                found += [whole[: at + BLOCK] + value.ljust(BLOCK, b"\0") + whole[at + 2 * BLOCK :] for value in PAX]
    drawn = random.Random(14)
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(drawn.choice([1, 2, 8])):
            content[drawn.randrange(len(content))] = drawn.randrange(256)
        found.append(signed(bytes(content), drawn.choice(headers)))
    return found


def try_crafted(folder: Path) -> None:
    """Every crafted shard gives members and lines, and no error."""
    shard = folder / "a.tar"
    for content in crafted():
        shard.write_bytes(content)
        lines: list[str] = []
        found = list(members(shard, lines.append))
        assert sum(len(member.content) for member in found) <= len(content)
        assert all(line.startswith(f"{shard}: ") and "\n" not in line for line in lines)


def test_crafted_headers_within_a_gigabyte(tmp_path: Path) -> None:
    """A header may claim 8 GB; the process may take 2."""
    code = (
        "import resource, pathlib; from tests.attacks.test_shards import try_crafted;"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30));"
        f"try_crafted(pathlib.Path({str(tmp_path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
