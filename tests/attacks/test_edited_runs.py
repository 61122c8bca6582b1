"""A run or a baseline whose numbers were edited, digests and all, is refused; so is one that inflates."""

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import anymal_eval
from anymal_eval.errors import BadData, MissingData
from anymal_eval.store import digests
from anymal_eval.store.arrays import read_arrays
from anymal_eval.store.packed import inflated, pack
from anymal_eval.store.stored import open_run
from tests.attacks.conftest import Ended, listing

Scored = Callable[..., Path]
Anymal = Callable[..., Ended]
HALF = np.array([[1.0], [0.0]] * 50)
RULE = "vqa_accuracy@2021"
COMMANDS = {
    "check": ["check", "{run}", "--against", "{base}"],
    "check against it": ["check", "{base}", "--against", "{run}"],
    "accept": ["accept", "{run}", "--results", "{out}"],
    "report": ["report", "{run}", "--out", "{out}"],
    "table": ["table", "{base}", "{run}"],
    "table of a file": ["table", "{run}/results.json"],
    "export": ["export", "{run}", "--format", "eval-results", "--out", "{out}"],
}


def statistics(run: Path) -> None:
    arrays: Any = {RULE: np.ones((100, 1))}
    np.savez_compressed(run / "vqav2" / "statistics.npz", **arrays)


def scores(run: Path, key: str = "scores", value: Any = None) -> None:
    file = run / "vqav2" / "scores.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[1][key] = {RULE: 1.0} if value is None else value
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def results(run: Path, key: str = "value", value: Any = 1.0) -> None:
    data = json.loads((run / "results.json").read_text())
    data["measurements"][0][key] = value
    (run / "results.json").write_text(json.dumps(data))


def both(run: Path) -> None:
    statistics(run)
    results(run)


EDITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "statistics": (statistics, f"the {RULE} of e1 in scores.jsonl is not that of statistics.npz"),
    "scores": (scores, f"the {RULE} of e1 in scores.jsonl is not that of statistics.npz"),
    "a value": (results, "is 1.0, but statistics.npz gives 0.5"),
    "statistics and value": (both, f"the {RULE} of e1 in scores.jsonl is not that of statistics.npz"),
    "a state": (lambda run: scores(run, "state", "empty"), "counts other states"),
    "no state": (lambda run: scores(run, "state", "fine"), "line 2 of scores.jsonl has no known state"),
    "an id": (lambda run: scores(run, "id", "e0"), "e0 occurs twice"),
    "direction": (lambda run: results(run, "better", "lower"), "is no output of that metric"),
    "data": (lambda run: results(run, "data", "hub"), "is of another split, data or protocol"),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("command", ["check", "check against it"])
def test_an_edit_with_new_digests_is_refused(
    edit: str, command: str, scored: Scored, anymal: Anymal, tmp_path: Path
) -> None:
    base, run = scored("base", {"vqav2": HALF}), scored("run", {"vqav2": HALF})
    change, why = EDITS[edit]
    change(run)
    digests.write(run, ["vqav2"])
    refuse(anymal, COMMANDS[command], {"base": base, "run": run, "out": tmp_path / "out"}, why)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_it(command: str, scored: Scored, anymal: Anymal, tmp_path: Path) -> None:
    base, run = scored("base", {"vqav2": HALF}), scored("run", {"vqav2": HALF})
    statistics(run)
    refuse(anymal, COMMANDS[command], {"base": base, "run": run, "out": tmp_path / "out"}, "has changed since")
    digests.write(run, ["vqav2"])
    before = listing(run, base)
    refuse(anymal, COMMANDS[command], {"base": base, "run": run, "out": tmp_path / "out"}, "was changed")
    assert listing(run, base) == before
    assert not list(tmp_path.glob("out/accepted/*"))
    with pytest.raises(BadData, match="was changed"):
        anymal_eval.load_run(run)
    with pytest.raises(BadData, match="was changed"):
        anymal_eval.compare(run, base)


def refuse(anymal: Anymal, command: list[str], places: dict[str, Path], why: str) -> None:
    ended = anymal(*(word.format(**places) for word in command))
    assert ended.code == 1, ended.lines
    assert len(ended.lines) == 1
    assert why in ended.lines[0]


def test_raw_answers_are_those_of_the_responses(scored: Scored, anymal: Anymal, tmp_path: Path) -> None:
    run = scored("run", {"vqav2": HALF})
    rows = [json.loads(line) for line in (run / "vqav2" / "scores.jsonl").read_text().splitlines()]
    lines = [{"id": row["id"], "answer": row["raw"]} for row in rows]
    (run / "vqav2" / "responses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    digests.write(run, ["vqav2"])
    assert anymal("table", run).code == 0
    lines[7]["answer"] = "another"
    (run / "vqav2" / "responses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    refuse(anymal, ["table", "{run}"], {"run": run}, "vqav2/responses.jsonl has changed since it was scored")
    digests.write(run, ["vqav2"])
    refuse(anymal, ["table", "{run}"], {"run": run}, "the raw answer of e7 in scores.jsonl is not the one in responses")


def test_a_task_that_is_not_scored_again_keeps_its_digests(scored: Scored) -> None:
    run = scored("run", {"vqav2": HALF, "coco": HALF})
    (run / "table.md").write_text("| a table |")
    statistics(run)
    digests.write(run, ["vqav2", "coco"], scored=["coco"])
    with pytest.raises(BadData, match=r"vqav2/statistics.npz has changed"):
        open_run(run)
    digests.write(run, ["vqav2", "coco"], scored=["vqav2", "coco"])
    open_run(run)
    (run / "table.md").write_text("| a better table |")
    with pytest.raises(BadData, match=r"table.md has changed"):
        open_run(run)
    known = json.loads((run / digests.FILE).read_text())
    (run / "table.md").unlink()
    open_run(run)
    del known["sha256"]["coco/scores.jsonl"]
    (run / digests.FILE).write_text(json.dumps(known))
    with pytest.raises(BadData, match=r"no digest of coco/scores.jsonl"):
        open_run(run)


@pytest.mark.parametrize("rewritten", [False, True])
def test_scores_that_inflate(rewritten: bool, scored: Scored, anymal: Anymal, tmp_path: Path) -> None:
    base = baseline(scored, anymal, tmp_path)
    bomb = b"\n" * (64 << 20)
    for content in (pack(bomb), gzip.compress(bomb, mtime=0), pack(bomb)[:-4] + struct.pack("<I", 1000)):
        (base / "vqav2" / "scores.jsonl.gz").write_bytes(content)
        if rewritten:
            known = json.loads((base / digests.FILE).read_text())
            known["sha256"]["vqav2/scores.jsonl"] = digests._hash([bomb])
            (base / digests.FILE).write_text(json.dumps(known))
        places = {"run": tmp_path / "run", "base": base}
        with peak_below(32 << 20):
            refuse(anymal, ["check", "{run}", "--against", "{base}"], places, "scores.jsonl")


@contextmanager
def peak_below(most: int) -> Iterator[None]:
    """Python's memory, which holds what zlib returns."""
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most


def baseline(scored: Scored, anymal: Anymal, tmp_path: Path) -> Path:
    run = scored("run", {"vqav2": HALF})
    assert anymal("accept", run, "--results", tmp_path / "results").code == 0
    return next((tmp_path / "results" / "accepted").glob("*/"))


def npz(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", method) as archive:
        archive.writestr(f"{RULE}.npy", content)
    return memory.getvalue()


def npy(shape: tuple[int, ...], size: int, dtype: str = "<f8") -> bytes:
    memory = io.BytesIO()
    np.lib.format.write_array_header_1_0(memory, {"descr": dtype, "fortran_order": False, "shape": shape})
    return memory.getvalue() + bytes(size)


def lying(content: bytes, size: int) -> bytes:
    """The archive, declaring another size of its one member."""
    end = content.rindex(b"PK\x05\x06")
    start = struct.unpack_from("<I", content, end + 16)[0]
    return content[: start + 24] + struct.pack("<I", size) + content[start + 28 :]


ARCHIVES = {
    "a bomb": (npz(bytes(64 << 20)), "declares 67,108,864 bytes"),
    "a bomb that declares little": (lying(npz(bytes(64 << 20)), 1000), "CRC"),
    "a bomb that declares 4 GB": (lying(npz(npy((1, 1), 8)), 2**32 - 2), "declares 4,294,967,294 bytes"),
    "another method": (npz(npy((1, 1), 8), zipfile.ZIP_LZMA), "numpy does not write"),
    "a shape of 8 TB": (npz(npy((10**12, 1), 8)), r"an array of \(1000000000000, 1\)"),
    "a negative shape": (npz(npy((-1, 1), 8)), "array of"),
    "objects": (npz(npy((1, 1), 8, "|O")), "an array of"),
    "no array": (npz(b"nothing"), "magic string"),
    "no archive": (b"nothing", "not a zip file"),
    "cut": (npz(npy((1, 1), 8))[:-30], "not a zip file"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_of_arrays(name: str) -> None:
    content, why = ARCHIVES[name]
    with pytest.raises(BadData, match=why), peak_below(4 << 20):
        read_arrays(content, "statistics.npz", 1 << 20)


def test_arrays_are_read_as_numpy_reads_them() -> None:
    memory = io.BytesIO()
    arrays = {"a@1": np.arange(6.0).reshape(3, 2), "b@1": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
              "none@1": np.zeros((0, 4))}  # fmt: skip
    np.savez_compressed(memory, **cast("Any", arrays))
    found = read_arrays(memory.getvalue(), "statistics.npz", 10_000)
    assert found.keys() == arrays.keys()
    for each in arrays:
        np.testing.assert_array_equal(found[each], arrays[each])


def test_a_packed_file_shows_every_flipped_bit(tmp_path: Path) -> None:
    content, file = b"".join(b'{"id": "%d"}\n' % number for number in range(40)), tmp_path / "scores.jsonl.gz"
    file.write_bytes(pack(content))
    assert gzip.decompress(file.read_bytes()) == content
    assert b"".join(inflated(file, 10_000)) == content
    packed = file.read_bytes()
    for bit in range(len(packed) * 8):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(BadData):
            list(inflated(file, 10_000))


def test_a_manifest_that_was_edited_is_not_scored(scored: Scored, anymal: Anymal) -> None:
    run = scored("run", {"vqav2": HALF})
    file = run / "manifest.json"
    before = file.read_text()
    file.write_text(before.replace('"n_expected": 100', '"n_expected": 99'))
    refuse(anymal, ["score", "{run}"], {"run": run}, "manifest.json: its checksum differs")
    refuse(anymal, ["table", "{run}"], {"run": run}, "manifest.json has changed since")
    manifest = json.loads(before)
    del manifest["sha256"]  # as of an earlier version
    file.write_text(json.dumps({**manifest, "environment": {}}))
    refuse(anymal, ["score", "{run}"], {"run": run}, "manifest.json has changed since")
    (run / digests.FILE).unlink()
    with pytest.raises(MissingData):
        open_run(run)
