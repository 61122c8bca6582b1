"""A response that has changed on the disk is found by whatever reads it, and no answer beside it is lost."""

import json
import shlex
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import BadData
from anymal_eval.records import Failure, Response
from anymal_eval.store.responses import ResponseLog, read_responses
from tests.attacks.conftest import Ended

Anymal = Callable[..., Ended]
ANSWERS = [
    Response(id="10", answer="JJ red, \u00e9 jj", finish="stop", prompt_tokens=12, new_tokens=3),
    Response(id="11", option_scores=(-1.5, -0.25), option_tokens=(1, 2), finish="ranked"),
    Response(id="12", answer="a dog"),
]
RUN = ("run", "--tasks", "vqav2", "--model", "constant", "-o", "says=red", "--data", "demo", "--demo-examples", 12)


def test_the_checksum_is_the_crc_32_of_the_line_before_it(tmp_path: Path) -> None:
    with ResponseLog(tmp_path / "responses.jsonl") as log:
        log.append(ANSWERS)
    for line in (tmp_path / "responses.jsonl").read_bytes().splitlines():
        start, _, end = line.rpartition(b', "crc": ')
        assert end == b'"%08x"}' % zlib.crc32(start)
        assert json.loads(line)["crc"] == json.loads(start + b', "crc": ' + end)["crc"]


def test_no_flipped_bit_goes_unseen(tmp_path: Path) -> None:
    file = tmp_path / "responses.jsonl"
    with ResponseLog(file) as log:
        log.append(ANSWERS)
    content = file.read_bytes()
    for bit in range(len(content) * 8):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        if bit // 8 == len(content) - 1:  # the last newline: as after a kill, the line is requested again
            with ResponseLog(file) as log:
                assert log.cut
                assert log.answered == {"10", "11"}
            continue
        with pytest.raises(BadData, match=r"line"):
            read_responses(file)
        with pytest.raises(BadData), ResponseLog(file):
            pass
        assert file.read_bytes() == damaged, "what is damaged stays as it is"


def test_lines_of_an_earlier_version_stand_before_those_with_checksums(tmp_path: Path) -> None:
    file = tmp_path / "responses.jsonl"
    old = b'{"id": "1", "answer": "red"}\n{"id": "2", "failure": {"kind": "media", "message": "gone"}}\n'
    file.write_bytes(old)
    with ResponseLog(file) as log:
        assert log.answered == {"1"}
        log.append([Response(id="2", answer="blue"), Response(id="3", failure=Failure(kind="media", message="gone"))])
    assert list(read_responses(file)) == ["1", "2", "3"]
    lines = file.read_bytes().splitlines(keepends=True)
    assert lines[0] == old.splitlines(keepends=True)[0], "no checksum vouches for a line that had none"
    file.write_bytes(b"".join([lines[1], lines[0]]))
    with pytest.raises(BadData, match="line 2: damaged"):
        read_responses(file)
    file.write_bytes(b"".join([lines[0], lines[1], lines[1]]))
    with pytest.raises(BadData, match="line 3: 2 occurs twice"):
        read_responses(file)


@pytest.fixture
def run(tmp_path: Path, anymal: Anymal, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))
    assert anymal(*RUN, "--out", tmp_path / "run").code == 0
    return tmp_path / "run"


def damage(file: Path, *numbers: int) -> dict[str, Any]:
    """Change a letter of the answer in some lines, and return all rows of before by id."""
    lines = file.read_text().splitlines(keepends=True)
    rows = {row["id"]: row for row in map(json.loads, lines)}
    for number in numbers:
        lines[number - 1] = lines[number - 1].replace('"red"', '"rad"')
    file.write_text("".join(lines))
    return rows


@pytest.mark.parametrize("again", ["run", "score", "replay"])
def test_damaged_lines_are_refused_by_number(again: str, run: Path, anymal: Anymal, tmp_path: Path) -> None:
    file = run / "vqav2" / "responses.jsonl"
    damage(file, 3, 7)
    before = {each: each.read_bytes() for each in run.rglob("*.*") if each.name != "timings.json"}
    replay = ("run", "--tasks", "vqav2", "--model", f"replay:{file}", "--data", "demo", "--demo-examples", 12,
              "--out", tmp_path / "other")  # fmt: skip
    command: tuple[object, ...] = {"run": (*RUN, "--out", run), "score": ("score", run), "replay": replay}[again]
    ended = anymal(*command)
    assert ended.code == 1
    errors = [line for line in ended.lines if line.startswith("error:")]
    assert len(errors) == 1
    assert f"{file}: lines 3, 7: damaged" in errors[0]
    assert {each: each.read_bytes() for each in before} == before


def test_what_the_message_says_to_do(run: Path, anymal: Anymal) -> None:
    file = run / "vqav2" / "responses.jsonl"
    rows = damage(file, 3, 7)
    ended = anymal(*RUN, "--out", run)
    remedy = ended.lines[-1].rpartition("missing: ")[2]
    subprocess.run(shlex.split(remedy), check=True)
    kept = file.read_text().splitlines()
    assert len(kept) == 10
    ended = anymal(*RUN, "--out", run)
    assert ended.code == 0, ended.lines
    assert file.read_text().splitlines()[:10] == kept, "the whole lines are as they were"
    assert {row["id"]: row for row in map(json.loads, file.read_text().splitlines())} == rows


def test_a_cut_last_line_is_named(run: Path, anymal: Anymal) -> None:
    file = run / "vqav2" / "responses.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[:-9])
    assert anymal("score", run).code == 2
    ended = anymal(*RUN, "--out", run)
    assert ended.code == 0
    assert sum(f"{file}: the last line was cut off" in line for line in ended.lines) == 1
    assert file.read_bytes() == content
