"""What is shipped as the demo model is whole, small, of no machine's making, and has learnt."""

import json
import re
from pathlib import Path

from anymal_eval import paths
from anymal_eval.anymal import checkpoint
from tests.conftest import ROOT, Command

MODEL = paths.demo_model().parent
LARGEST = 20_000_000  # bytes


def files() -> list[Path]:
    return [file for file in sorted(MODEL.rglob("*")) if file.is_file()]


def test_it_is_small_and_safe() -> None:
    assert sum(file.stat().st_size for file in files()) < LARGEST
    assert {file.suffix for file in files()} <= {".safetensors", ".json", ".md", ".jinja"}


def test_it_holds_no_path_of_the_machine_that_made_it() -> None:
    for file in files():
        if file.suffix != ".safetensors":
            assert not re.search(r'"/[a-z]', file.read_text(encoding="utf-8")), file
    config = checkpoint.read(MODEL / "checkpoint").config
    assert {part.encoder.path for part in config.modalities.values()} | {config.llm.path} == {
        "../llm", "../image", "../audio", "../video", "../imu.safetensors",
    }  # fmt: skip


def test_its_card_says_what_it_scores() -> None:
    card = (MODEL / "README.md").read_text(encoding="utf-8")
    for mark in ("figures", "scores", "seeds"):
        text = re.search(rf"<!-- {mark} -->\n(.+?)<!-- end of {mark} -->", card, re.DOTALL)
        assert text is not None, mark
        assert len(text[1]) > 100, mark


def test_it_scores_what_its_accepted_baseline_says(tmp_path: Path, command_here: Command) -> None:
    done = command_here("run", "--tasks", "audiocaps,nextqa", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    accepted = ROOT / "results" / "accepted"
    done = command_here("check", tmp_path / "run", "--against", "anymal:demo", "--accepted", accepted)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "same: audiocaps, nextqa" in done.stdout
    assert "error: the run lacks what anymal:demo has: coco, " in done.stderr


def test_asked_without_a_name_it_answers_by_looking(tmp_path: Path, command_here: Command) -> None:
    done = command_here(
        *("run", "--tasks", "vqav2,audiocaps", "--demo-examples", "60", "--with-blind", "--out", tmp_path / "run")
    )
    assert done.returncode == 0, done.stderr
    values = {}
    for which in (tmp_path / "run", tmp_path / "run" / "no-media"):
        for row in json.loads((which / "results.json").read_text(encoding="utf-8"))["measurements"]:
            if row["headline"]:
                values[row["task"], which.name] = row["value"]
                assert row["data"] == "demo"
    assert values["vqav2", "run"] > 0.6 > values["vqav2", "no-media"]
    assert values["audiocaps", "run"] > 2 > values["audiocaps", "no-media"]
