"""Answers and places that are odd but real: nothing is lost, misread or told with a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import lines, write
from tests.conftest import Command

HEADER = "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
ASKED = 6


class Clips:
    """A small NExT-QA of our own in its official layout; the right answer to question n is n % 5."""

    def __init__(self, folder: Path, command: Command) -> None:
        self.folder, self.command = folder, command
        rows = "".join(f"{n},9,9,9,why is it {n},{n % 5},{n},CW,a,b,c,d,e\n" for n in range(ASKED))
        (folder / "data/nextqa").mkdir(parents=True)
        (folder / "data/nextqa/val.csv").write_text(HEADER + rows)
        self.right: dict[str, Any] = {f"{n}_{n}": n % 5 for n in range(ASKED)}

    def run(self, answers: object, *more: object, out: Path | None = None, root: Path | None = None) -> Any:
        return self.command(
            "run", "--tasks", "nextqa", "--model", f"replay:{write(self.folder / 'answers.json', answers)}",
            "--data-root", root or self.folder / "data", "--out", out or self.folder / "run", *more, cwd=self.folder,
        )  # fmt: skip

    def headline(self) -> dict[str, Any]:
        rows = json.loads((self.folder / "run/results.json").read_text())["measurements"]
        found: list[dict[str, Any]] = [row for row in rows if row["headline"]]
        assert len(found) == 1
        return found[0]


@pytest.fixture
def clips(tmp_path: Path, command_here: Command) -> Clips:
    return Clips(tmp_path, command_here)


def test_one_odd_answer_does_not_change_how_the_others_are_read(clips: Clips) -> None:
    done = clips.run(clips.right | {"0_0": "don't know", "1_1": "1"})
    assert done.returncode == 0, done.stderr
    row = clips.headline()
    assert row["value"] == pytest.approx((ASKED - 1) / ASKED)
    assert row["states"] == {"ok": ASKED - 1, "empty": 0, "unparsable": 1, "error": 0}


def test_text_that_ends_lines_or_is_no_text_stays_in_its_row(clips: Clips) -> None:
    odd = "a\u2028b\x85c\u2029d\r\v\f\0\U0001f600"
    file = clips.folder / "answers.json"
    file.write_text(json.dumps(clips.right | {"0_0": odd, "1_1": "half \ud83d"}))
    done = clips.run(json.loads(file.read_text()))
    assert done.returncode == 0, done.stderr
    written = clips.folder / "run/nextqa/scores.jsonl"
    assert len(written.read_text().splitlines()) == ASKED
    raw = {row["id"]: row["raw"] for row in lines(written)}
    assert (raw["0_0"], raw["1_1"]) == (odd, "half \ud83d")


def test_a_subset_of_a_limited_run_is_scored_again(clips: Clips) -> None:
    done = clips.run(clips.right, "--limit", 4)
    assert done.returncode == 0, done.stderr
    limited = [row["id"] for row in lines(clips.folder / "run/nextqa/scores.jsonl")]
    out = clips.folder / "some"
    done = clips.run({limited[0]: 0, limited[2]: 0}, "--limit", 4, "-o", "subset=answered", out=out)
    assert done.returncode == 0, done.stderr
    before = (out / "results.json").read_bytes()
    assert b"subset 2/4" in before
    done = clips.command("score", out, "--data-root", clips.folder / "data")
    assert done.returncode == 0, done.stderr
    assert (out / "results.json").read_bytes() == before


def test_a_subset_of_nothing_is_refused(clips: Clips) -> None:
    done = clips.run({}, "-o", "subset=answered")
    assert done.returncode == 1
    assert done.stderr == "error: nextqa: the file has no answer to any of its 6 examples\n"


def test_a_run_may_be_scored_from_another_folder(clips: Clips) -> None:
    done = clips.run(clips.right, root=Path("data"))
    assert done.returncode == 0, done.stderr
    done = clips.command("score", clips.folder / "run", "--data-root", clips.folder / "data")
    assert done.returncode == 0, done.stderr


def test_places_that_cannot_be_written_are_said_in_one_line(clips: Clips) -> None:
    (clips.folder / "file").write_text("mine")
    (clips.folder / "loop").symlink_to(clips.folder / "loop")
    for out in (clips.folder / "file/run", clips.folder / "loop", Path("/proc/nowhere")):
        done = clips.run(clips.right, out=out)
        assert done.returncode == 1, done.stderr
        assert f"error: {out} cannot be written: " in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert clips.run(clips.right, "--max-errors", "inf%").stderr.startswith("error: --max-errors inf%: write")


def test_a_headline_without_examples_is_told(tmp_path: Path, command_here: Command) -> None:
    problem = {"question": "?", "choices": ["x", "y"], "answer": 1, "hint": "", "image": None, "grade": "grade4",
               "subject": "natural science"}  # fmt: skip
    write(tmp_path / "data/scienceqa/problems.json", {"7": problem, "8": problem})
    write(tmp_path / "data/scienceqa/pid_splits.json", {"test": ["7", "8"]})
    answers = write(tmp_path / "answers.json", {"outputs": {"7": "B", "8": "The answer is A."}})
    base = ("run", "--tasks", "scienceqa", "--model", f"replay:{answers}", "--data-root", tmp_path / "data")
    done = command_here(*base, "-o", "field=outputs", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "the headline, of image yes, has none here" in done.stdout
    found = json.loads((tmp_path / "run/results.json").read_text())
    assert [row["value"] for row in found["measurements"] if row["group"] is None] == [0.5]
    (tmp_path / "data/scienceqa/problems.json").write_text('{"7": {}, "8": {}, "7": {}}')
    done = command_here(*base, "-o", "field=outputs", "--out", tmp_path / "other")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "problems.json: 1 keys are in one object more than once: 7" in done.stderr


def test_half_a_character_in_the_data_is_refused_by_row(tmp_path: Path, command_here: Command) -> None:
    images = [{"id": 1}, {"id": 2}]
    for name, notes in {
        "caption": [{"image_id": 1, "caption": "a cat"}, {"image_id": 2, "caption": "half \ud83d"}],
        "image_id": [{"image_id": 1, "caption": "a cat"}, {"image_id": "\ud83d", "caption": "a dog"}],
    }.items():
        write(tmp_path / "data/coco/coco_karpathy_test_gt.json", {"images": images, "annotations": notes})
        done = command_here(
            "run", "--tasks", "coco", "--model", "constant", "--data-root", tmp_path / "data", "--out", tmp_path / "run"
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert f"coco_karpathy_test_gt.json: annotations row 2: '{name}' must be" in done.stderr
