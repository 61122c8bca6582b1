"""A large file is hashed once, whatever process needs its digest; a file that may have changed is hashed again."""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from anymal_eval import fingerprint
from anymal_eval.checkpoints import weights
from anymal_eval.fingerprint import RememberedDigests
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _no_file_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "CLOCK_GRAIN_S", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file.bin"
    made.write_bytes(b"content")
    return made


def refuse(file: Path) -> str:
    pytest.fail(f"{file} was read")


def start(code: str, cache: Path) -> "subprocess.Popen[str]":
    """A process of its own, in which every file is large and none is new."""
    head = "import sys; from pathlib import Path; from anymal_eval import fingerprint\n"
    head += "fingerprint.LARGE_BYTES = 0; fingerprint.CLOCK_GRAIN_S = 0.0\n"
    environment = {**os.environ, "ANYMAL_EVAL_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", head + code], env=environment, stdout=subprocess.PIPE, text=True)


def run(code: str, cache: Path) -> str:
    """What such a process prints."""
    process = start(code, cache)
    printed, _ = process.communicate()
    assert process.returncode == 0
    return printed


def test_a_second_process_opens_no_weights(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for shard in range(2):
        save_file({f"w{shard}": np.full((3, 4), shard, np.float32)}, folder / f"model-{shard}.safetensors")
    expected = weights.fingerprint(folder)
    code = (
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "from anymal_eval.checkpoints import weights\n"
        f"found = weights.fingerprint(Path({str(folder)!r}))\n"
        "print(found, len({name for name in opened if name.endswith('.safetensors')}))"
    )
    cache = tmp_path / "cache"
    assert run(code, cache).split() == [expected, "2"]
    assert run(code, cache).split() == [expected, "0"]
    save_file({"w1": np.full((3, 4), 7, np.float32)}, folder / "model-1.safetensors")
    other, opened = run(code, cache).split()
    assert opened == "1"
    assert other == weights.fingerprint(folder) != expected


def test_the_digest_of_a_remembered_file_is_that_of_its_bytes(file: Path, tmp_path: Path) -> None:
    code = f"print(fingerprint.of_file(Path({str(file)!r})))"
    expected = hashlib.sha256(b"content").hexdigest()[:16]
    assert [run(code, tmp_path / "cache").strip() for _ in range(2)] == [expected] * 2
    assert fingerprint.of_file(file) == expected


def test_small_files_are_read_every_time(file: Path, tmp_path: Path) -> None:
    digests = RememberedDigests(tmp_path / "digests.jsonl", least_bytes=8)
    assert digests.of_all([file], lambda _: "first") == ["first"]
    assert digests.of_all([file], lambda _: "second") == ["second"]
    assert not (tmp_path / "digests.jsonl").exists()


def test_a_changed_file_is_hashed_again(file: Path, tmp_path: Path) -> None:
    digests = RememberedDigests(tmp_path / "digests.jsonl")
    assert digests.of(file, fingerprint.sha256) == digests.of(file, refuse)
    before = file.stat()
    file.write_bytes(b"CONTENT")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # the same size and time of change
    assert digests.of(file, fingerprint.sha256) == hashlib.sha256(b"CONTENT").hexdigest()


def test_a_file_that_changes_while_it_is_read_is_not_remembered(file: Path, tmp_path: Path) -> None:
    def change(file: Path) -> str:
        file.write_bytes(b"longer content")
        return "of the content before"

    digests = RememberedDigests(tmp_path / "digests.jsonl")
    digests.of(file, change)
    assert digests.of(file, fingerprint.sha256) == hashlib.sha256(b"longer content").hexdigest()


def test_a_new_file_is_not_remembered(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "CLOCK_GRAIN_S", 60.0)
    RememberedDigests(tmp_path / "digests.jsonl").of(file, fingerprint.sha256)
    assert not (tmp_path / "digests.jsonl").exists()


def test_damaged_lines_are_ignored(file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "digests.jsonl"
    RememberedDigests(kept).of(file, lambda _: "abc")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:20] + b"\n\xff\xfe no line\n\n" + whole)
    assert RememberedDigests(kept).of(file, refuse) == "abc"
    kept.write_bytes(whole.replace(b"abc", b"abd"))
    assert RememberedDigests(kept).of(file, lambda _: "new") == "new"


def test_a_line_is_a_checksum_and_a_list(file: Path, tmp_path: Path) -> None:
    """As feature folders hold them since version 0.1.0."""
    state = file.stat()
    facts = [str(file.resolve()), [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino], "abc"]
    line = json.dumps(facts)
    kept = tmp_path / "digests.jsonl"
    kept.write_text(f"{hashlib.sha256(line.encode()).hexdigest()[:16]} {line}\n")
    assert RememberedDigests(kept).of(file, refuse) == "abc"
    RememberedDigests(tmp_path / "other.jsonl").of(file, lambda _: "abc")
    assert (tmp_path / "other.jsonl").read_bytes() == kept.read_bytes()


def test_a_cache_that_cannot_be_written(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(file))  # a file where the folder would be
    monkeypatch.setattr(fingerprint, "LARGE_BYTES", 0)
    digests = fingerprint.remembered("x.jsonl")
    assert digests.of_all([file], lambda _: "abc") == ["abc"]
    assert digests.of_all([file], refuse) == ["abc"], "remembered by this process"
    assert fingerprint.remembered("x.jsonl") is digests


def test_a_user_without_a_home(file: Path) -> None:
    code = (
        "from anymal_eval.errors import WrongUse\n"
        "def none(): raise WrongUse('there is no home folder')\n"
        "fingerprint.paths.cache = none\n"
        f"print(fingerprint.of_file(Path({str(file)!r})))"
    )
    assert run(code, file).strip() == fingerprint.of_file(file)


def test_a_process_shares_what_another_has_computed_meanwhile(file: Path, tmp_path: Path) -> None:
    first, second = (RememberedDigests(tmp_path / "digests.jsonl") for _ in range(2))

    def compute(file: Path) -> str:
        (lock,) = tmp_path.glob(".*.lock")
        with lock.open("w") as handle, pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return "abc"

    assert first.of_all([file], compute) == ["abc"]
    assert second.of_all([file], refuse) == ["abc"]


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.bin" for number in range(200)]
    for each in files:
        each.write_bytes(b"x")
    kept = tmp_path / "digests.jsonl"
    code = (
        f"digests = fingerprint.RememberedDigests(Path({str(kept)!r})); folder = Path({str(tmp_path)!r})\n"
        "for number in range(200): digests.of(folder / f'{number}.bin', lambda file: file.stem * 40)"
    )
    for process in [start(code, tmp_path) for _ in range(3)]:
        process.communicate()
        assert process.returncode == 0
    digests = RememberedDigests(kept)
    assert [digests.of(each, refuse) for each in files] == [each.stem * 40 for each in files]
