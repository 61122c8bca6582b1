"""``--with-blind``: the same again without media, beside; interrupted, resumed and scored again like any run."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from anymal_eval.cli.run import run
from anymal_eval.cli.score import score
from anymal_eval.errors import WrongUse
from anymal_eval.models import constant
from tests.cli.conftest import write

TASKS = "vqav2,scienceqa"


@pytest.fixture(autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path_factory.getbasetemp() / "blind-world"))


def call(command: click.Command, *typed: object) -> Result:
    return CliRunner().invoke(command, [str(each) for each in typed], standalone_mode=False)


def blind(out: Path, *more: object, tasks: str = TASKS) -> Result:
    return call(
        run, "--tasks", tasks, "--model", "constant", "--data", "demo", "--demo-examples", 20, "--out", out,
        "--with-blind", *more,
    )  # fmt: skip


def rows(text: str) -> list[list[str]]:
    return [[cell.strip(" *") for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("| ")]


def asked(out: Path, task: str = "vqav2") -> list[str]:
    return [json.loads(line)["id"] for line in (out / task / "responses.jsonl").read_text().splitlines()]


def bytes_of(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.suffix in (".json", ".md")}


def test_the_blind_row_stands_below_the_headline(tmp_path: Path) -> None:
    done = blind(tmp_path / "run")
    assert (done.exception, done.return_value) == (None, 0)
    shown = rows(done.stdout)[1:]
    metrics = [row[1] for row in shown[:8]]
    ways = ["no media", "chance, uniform", "chance, majority"]
    assert metrics == ["vqa_accuracy@2021", *ways, "choice_accuracy@1", *ways]
    assert shown[0][2:6] == shown[1][2:6]  # this model never looks
    assert "the same prompts without their media" in done.stdout
    assert (tmp_path / "run/table.md").read_text().count("no media") == 3
    assert "no media" in (tmp_path / "run/table.tex").read_text()

    inside = json.loads((tmp_path / "run/no-media/results.json").read_text())
    assert inside["run"]["ablate"] == "no-media"
    assert inside["run"]["name"] != json.loads((tmp_path / "run/results.json").read_text())["run"]["name"]
    assert set(asked(tmp_path / "run")) == set(asked(tmp_path / "run/no-media"))


def test_a_blind_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tired(constant._Constant):
        """Stopped by the user in its seventh batch."""

        batches = 0

        def answer(self, batch: Any) -> Any:
            self.batches += 1
            if self.batches == 7:
                raise KeyboardInterrupt
            return super().answer(batch)

    with monkeypatch.context() as patched:
        patched.setattr(constant, "_Constant", Tired)
        done = blind(tmp_path / "run", "--batch-size", 5, tasks="vqav2")
    assert isinstance(done.exception, KeyboardInterrupt | click.Abort)
    assert f"the same command with --out {tmp_path / 'run'} resumes it" in done.output
    assert (tmp_path / "run/results.json").is_file()  # what had been answered with media is scored
    assert len(asked(tmp_path / "run/no-media")) == 10

    assert blind(tmp_path / "run", "--batch-size", 5, tasks="vqav2").return_value == 0
    assert len(set(asked(tmp_path / "run/no-media"))) == len(asked(tmp_path / "run/no-media")) == 20
    assert blind(tmp_path / "whole", tasks="vqav2").return_value == 0
    tables = [(tmp_path / name / "table.md").read_bytes() for name in ("run", "whole")]
    assert tables[0] == tables[1]


def test_scoring_again_keeps_the_blind_row(tmp_path: Path) -> None:
    blind(tmp_path / "run", tasks="vqav2")
    before = bytes_of(tmp_path / "run")
    done = call(score, tmp_path / "run")
    assert (done.exception, done.return_value) == (None, 0)
    assert done.stdout.count("no media") == 2
    assert bytes_of(tmp_path / "run") == before


def test_a_run_without_it_has_no_such_row(tmp_path: Path) -> None:
    done = call(run, "--tasks", "vqav2", "--model", "constant", "--data", "demo", "--demo-examples", 20,
                "--out", tmp_path / "run")  # fmt: skip
    assert "no media" not in done.stdout
    assert not (tmp_path / "run/no-media").exists()


def test_what_cannot_be_blinded_is_refused(tmp_path: Path) -> None:
    done = blind(tmp_path / "run", "--ablate", "shuffled-media")
    assert isinstance(done.exception, WrongUse)
    assert "leave out --ablate shuffled-media" in str(done.exception)
    answers = write(tmp_path / "answers.jsonl", [{"id": "1", "answer": "x"}])
    done = call(run, "--tasks", "vqav2", "--model", f"replay:{answers}", "--data", "demo", "--demo-examples", 20,
                "--with-blind", "--out", tmp_path / "run")  # fmt: skip
    assert isinstance(done.exception, WrongUse)
    assert "which the file of model replay cannot answer" in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_the_network_answers_with_and_without_media(tmp_path: Path) -> None:
    from anymal_eval.anymal import tiny

    checkpoint = tiny.write(tmp_path / "tiny")
    done = call(
        run, "--tasks", "vqav2,star", "--model", f"anymal:{checkpoint}",
        "--data", "demo", "--demo-examples", 8, "--out", tmp_path / "run", "--with-blind", "--media-timeout", 120,
    )  # fmt: skip
    assert (done.exception, done.return_value) == (None, 0)
    for task in ("vqav2", "star"):
        assert len(asked(tmp_path / "run/no-media", task)) == 8
    seen, unseen = (
        [
            json.loads(line)["prompt_tokens"]
            for line in (tmp_path / f"run{at}/vqav2/responses.jsonl").read_text().splitlines()
        ]
        for at in ("", "/no-media")
    )
    assert all(more > less for more, less in zip(seen, unseen, strict=True))
