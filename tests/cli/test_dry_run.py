"""``run --dry-run``: tasks, examples, media, first prompts, memory and time; nothing is kept."""

import json
import os
import re
from pathlib import Path

from tests.conftest import EXAMPLES, Command


def test_it_shows_what_a_run_would_do_and_keeps_nothing(tmp_path: Path, command_here: Command) -> None:
    done = command_here(
        "run", "--tasks", "vqav2", "--demo-examples", 12, "--limit", 10, "--with-blind", "--dry-run",
        "--out", tmp_path / "run", cwd=tmp_path, ANYMAL_EVAL_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == ["cache"]
    assert re.search(r"^vqav2 val, demo data: 10 examples of 12, (\d) of \1 media found$", done.stdout, re.M)
    assert re.search(r"^memory: about 0\.0\d GiB for one row .*checkpoints estimate anymal:demo$", done.stdout, re.M)
    (file,) = tmp_path.rglob("v2_OpenEnded_mscoco_val2014_questions.json")
    questions = {row["question_id"]: row["question"] for row in json.loads(file.read_text())["questions"]}
    ((example, prompt),) = re.findall(r"^=== vqav2 (\d+)\n((?:.*\n)*?)generated", done.stdout, re.M)
    assert questions[int(example)] in prompt
    assert re.search(r"^vqav2: 8 answers in [\d.]+ s; all in [\d.]+ (s|min|h)$", done.stdout, re.M)
    assert re.search(r"^time: about [\d.]+ (s|min|h) for all answers, 2 times, ", done.stdout, re.M)


def test_a_model_that_does_not_look_is_not_timed_and_lacking_media_are_counted(
    tmp_path: Path, command: Command, command_here: Command
) -> None:
    world = command_here(
        "data", "draw", "textvqa", "--split", "eval", "--examples", 6, "--data-root", tmp_path / "data"
    )
    assert world.returncode == 0, world.stderr
    arguments = ("run", "--tasks", "textvqa", "--data-root", tmp_path / "data", "--dry-run", "--model")
    done = command_here(*arguments, "constant", cwd=tmp_path)
    assert (done.returncode, os.listdir(tmp_path)) == (0, ["data"])
    assert "time: not measured" in done.stdout
    pictures = sorted((tmp_path / "data").rglob("*.jpg"))
    pictures[0].unlink()
    lacking = command(*arguments, "adding_a_model.strongest:Strongest", cwd=tmp_path,
                      PYTHONPATH=f"{EXAMPLES}:{EXAMPLES.parents[1]}")  # fmt: skip
    assert lacking.returncode == 0, lacking.stderr
    assert f"{len(pictures) - 1} of {len(pictures)} media found, the first that is missing is " in lacking.stdout
    assert pictures[0].name in lacking.stdout
