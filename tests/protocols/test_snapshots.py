"""The prompts of each protocol for each task, as files that a person can read.

After a change that is meant: ``ANYMAL_EVAL_WRITE_PROMPTS=1 pytest tests/protocols``, and look at the difference.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from anymal_eval import catalog, protocols
from anymal_eval.protocols.prompting import build_request
from anymal_eval.records import Example, Media, Request
from anymal_eval.task import Task
from tests.conftest import SHIPPED

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "prompts"
TABLE = ROOT.parent / "shared" / "facts" / "prompts.md"
NAMES = [name for name in catalog.protocols().names() if name != protocols.DEFAULT]
WORDED = [(name, task) for name in NAMES for task in protocols.get(name).tasks]

# The rows of the table in facts/prompts.md, by the tasks they word.
ROWS = {
    "VQAv2, TextVQA, OKVQA": ("vqav2", "textvqa", "okvqa"),
    "VizWiz": ("vizwiz",),
    "Hateful Memes": ("hateful_memes",),
    "COCO caption": ("coco",),
    "ScienceQA (image subset)": ("scienceqa",),
    "AudioCaps": ("audiocaps",),
    "STAR, How2QA, NExT-QA": ("star", "how2qa", "nextqa"),
    "IMU (Ego4D)": ("imu_caption",),
    "MM-IT": ("mmit_cap",),
}


def shown(request: Request) -> str:
    lines = []
    for message in request.messages:
        text = "".join(f"<{part.kind}>" if isinstance(part, Media) else part for part in message.parts)
        lines += [f"[{message.role}]", text]
    decoding = request.decoding
    lines += [
        "[reading]",
        f"answer prefix: {request.answer_prefix!r}",
        f"candidates: {', '.join(request.candidates) or 'none, text is generated'}",
        f"length normalised: {request.length_normalise}",
        f"decoding: {decoding.min_new_tokens} to {decoding.max_new_tokens} tokens, {decoding.beams} beams, "
        f"length penalty {decoding.length_penalty}, stop {list(decoding.stop)}",
        f"frames: {request.frames}",
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("name", "task_name"), WORDED)
def test_prompts_are_as_they_were(
    name: str, task_name: str, task: Callable[[str], Task], example: Callable[[str], Example]
) -> None:
    text = shown(build_request(example(task_name), task(task_name), {}, protocols.get(name)))
    file = GOLDEN / name / f"{task_name}.txt"
    if os.environ.get("ANYMAL_EVAL_WRITE_PROMPTS"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert file.is_file(), f"no snapshot {file}: write it with ANYMAL_EVAL_WRITE_PROMPTS=1 pytest tests/protocols"
    assert text == file.read_text(encoding="utf-8")


def test_no_snapshot_is_left_over() -> None:
    assert {(file.parent.name, file.stem) for file in GOLDEN.glob("*/*.txt")} == set(WORDED)


def test_every_entry_says_where_it_was_read() -> None:
    known = catalog.tasks().names()
    for name in NAMES:
        for task_name, phrase in protocols.get(name).tasks.items():
            assert task_name in known, f"{name} names {task_name}"
            assert phrase.source, f"{name} {task_name}"
            assert all(choice.strip() for choice in phrase.ours)


def test_anymal_words_every_task() -> None:
    assert set(protocols.get("anymal-2023").tasks) == SHIPPED


def test_splits_are_those_of_the_tasks() -> None:
    known = catalog.tasks()
    for name, task_name in WORDED:
        split = protocols.get(name).tasks[task_name].split
        if split and task_name in known.names():
            assert known.get(task_name, "TASK", Task).split(split).name == split


def second_reading() -> dict[str, tuple[str, str]]:
    """The table of facts/prompts.md: row -> system and user message in our placeholders."""
    read = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = re.fullmatch(r"\| (?P<row>[^|]+?) \| (?P<system>.+) \| `(?P<user>.+)` \|", line)
        if cells and cells["row"] in ROWS:
            read[cells["row"]] = (as_ours(cells["system"]), as_ours(cells["user"]))
    return read


def as_ours(text: str) -> str:
    text = text.removeprefix("`").removesuffix("`").replace("\\n", "\n")
    text = re.sub(r"<(img|audio|video|IMU)>", "{media}", text)
    return text.replace("{context}", "{hint}").replace("{choices}", "{options}").replace("[options]", "{options}")


@pytest.mark.skipif(not TABLE.is_file(), reason="../shared/facts/prompts.md is not there")
def test_anymal_words_are_those_of_the_appendix() -> None:
    read = second_reading()
    assert set(read) == set(ROWS)
    entries = protocols.get("anymal-2023").tasks
    for row, (system, user) in read.items():
        for task_name in ROWS[row]:
            assert entries[task_name].user == user
            if task_name == "imu_caption":
                # The appendix's system message is only described there; its end is quoted.
                end = system[system.index("`") + 1 :]
                assert end.startswith("Here are the user's predicted motions:")
                assert entries[task_name].system.endswith(end)
            else:
                assert entries[task_name].system == system
