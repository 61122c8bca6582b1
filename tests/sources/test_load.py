"""Fingerprints, samples, and what ``data`` reports about the files on disk."""

import itertools
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from anymal_eval import catalog
from anymal_eval.demo import write_task
from anymal_eval.records import Example, Media
from anymal_eval.sources.limit import limit
from anymal_eval.sources.load import data_fingerprint

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def example(number: int, **more: object) -> Example:
    media = (Media(kind="image", uri=f"/data/coco/val2014/{number}.jpg"),)
    plain = Example(id=str(number), cluster=str(number // 3), kind="caption", media=media, references=("a",))
    return replace(plain, **more)  # type: ignore[arg-type]


def test_the_fingerprint_tells_data_and_not_places() -> None:
    examples = [example(n) for n in range(5)]
    here = data_fingerprint(examples, Path("/data/coco"))
    moved = [replace(e, media=(Media(kind="image", uri=f"/other/coco/val2014/{e.id}.jpg"),)) for e in examples]
    assert data_fingerprint(moved, Path("/other/coco")) == here
    changes: list[dict[str, object]] = [
        {"id": "x"}, {"cluster": "x"}, {"question": "x"}, {"context": {"hint": "x"}}, {"options": ("x",)},
        {"references": ("x",)}, {"references": None}, {"label": 0},
        {"media": (Media(kind="image", uri="/data/coco/val2014/x.jpg"),)},
        {"media": (Media(kind="image", uri="/data/coco/val2014/0.jpg", end_s=1.0),)},
    ]  # fmt: skip
    prints = {data_fingerprint([example(0, **change), *examples[1:]], Path("/data/coco")) for change in changes}
    assert len(prints) == len(changes)
    assert here not in prints
    assert data_fingerprint(examples[::-1], Path("/data/coco")) != here


def test_a_sample_is_whole_clusters_and_part_of_larger_ones() -> None:
    examples = [example(n) for n in range(300)]
    sizes = [1, 2, 3, 30, 31, 299, 300, 400]
    samples = [limit(examples, n) for n in sizes]
    assert [len(sample) for sample in samples] == [min(n, 300) for n in sizes]
    for smaller, larger in itertools.pairwise(samples):
        assert {e.id for e in smaller} <= {e.id for e in larger}
    for sample in samples:
        assert [int(e.id) for e in sample] == sorted(int(e.id) for e in sample)
    thirty = limit(examples, 30)
    assert len({e.cluster for e in thirty}) == 10
    assert {e.id for e in limit(examples[::-1], 30)} == {e.id for e in thirty}
    more = [*examples, *(example(n) for n in range(300, 600))]
    assert {e.cluster for e in limit(more, 30)} & {e.cluster for e in thirty}


@pytest.mark.parametrize("name", catalog.tasks().names())
def test_describe_tells_files_and_counts(name: str, command_here: Command) -> None:
    done = command_here("data", "describe", name)
    assert done.returncode == 0, done.stderr
    assert f"DIR/{name}/" in done.stdout
    assert "Paper " in done.stdout
    assert "--data hub: " in done.stdout


def test_check_names_what_is_wrong(command_here: Command, tmp_path: Path) -> None:
    home = write_task("coco", tmp_path, examples=12)
    done = command_here("data", "check", "coco", "--data-root", tmp_path, "--media")
    assert (done.returncode, done.stderr) == (0, "")
    assert "coco test: 12 examples: subset 12/5000" in done.stdout
    pictures = sorted((home / "val2014").iterdir())
    pictures[0].unlink()
    pictures[1].write_bytes(b"")
    pictures[2].write_bytes(b"no picture")
    done = command_here("data", "check", "coco", "--data-root", tmp_path)
    assert done.returncode == 1
    assert f"1 file not there: {pictures[0]}" in done.stdout
    assert f"1 file empty (0 bytes): {pictures[1]}" in done.stdout
    assert pictures[2].name not in done.stdout
    done = command_here("data", "check", "coco", "--data-root", tmp_path, "--media")
    assert done.returncode == 1
    assert f"1 file unreadable: {pictures[2]}" in done.stdout
    assert command_here("data", "check", "coco", "--data-root", tmp_path, "--annotations").returncode == 0


def test_check_in_one_line_and_exit_code_1(command_here: Command, tmp_path: Path) -> None:
    home = write_task("mmit_cap", tmp_path, examples=3)
    lines = (home / "test.jsonl").read_text().splitlines()
    name = json.loads(lines[0])["id"]
    (home / "test.jsonl").write_text("\n".join([*lines, lines[0]]))
    cases = {
        ("mmit_cap",): f"error: {home / 'test.jsonl'}: 1 double id: {name}",
        (
            "vqav2",
        ): f"error: not in {tmp_path / 'vqav2'}: v2_OpenEnded_mscoco_val2014_questions.json (from visualqa.org",
        ("vqav3",): "error: no task named 'vqav3'; did you mean vqav2",
        ("vqav2", "--split", "dev"): "error: task vqav2 has no split 'dev'; it has val, test-dev, test",
    }
    for arguments, expected in cases.items():
        done = command_here("data", "check", *arguments, "--data-root", tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(expected)
        assert done.stderr.count("\n") == 1
    shutil.rmtree(home)
