"""Full-size benchmarks, end to end: VQAv2 val in its official layout at 1 %, 10 % and 100 % of its 214,354 questions.

    python -m benchmarks.scale [--shares 1 10 100] [--folder DIR] [--only ROW,ROW] [--write]

Every command is a process of its own, started cold, and measured by its resource usage: seconds, CPU seconds and peak
memory. The official script (transcribed in ``official_vqa.py``: one rule, no intervals) runs beside in the same round.
The growth is the exponent between the two largest shares, of CPU seconds: 1 is linear. Pictures are files of one byte.
"Resume" is a run with 200,000 of the answers (or that share of them) until its model gets the first request.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import write_section

ROOT = Path(__file__).parents[1]
SPEED = ROOT / "docs" / "speed.md"
QUESTIONS, PICTURES = 214_354, 42_871  # 40,504 pictures have questions in the real split; all rows here are drawn
TYPES = ("yes/no", "number", "other")
WORDS = [
    "what",
    "is",
    "the",
    "color",
    "of",
    "this",
    "man",
    "are",
    "there",
    "how",
    "many",
    "people",
    "in",
    "picture",
    "does",
    "woman",
    "kind",
    "animal",
    "on",
    "where",
    "sitting",
    "can",
    "you",
    "see",
    "street",
    "sign",
    "bus",
    "train",
    "dog",
    "cat",
    "table",
    "food",
    "holding",
    "wearing",
    "looking",
    "at",
    "near",
    "behind",
    "playing",
    "game",
    "sport",
    "weather",
]
ANSWERS = [
    "yes",
    "no",
    "1",
    "2",
    "3",
    "white",
    "black",
    "red",
    "blue",
    "green",
    "brown",
    "yellow",
    "left",
    "right",
    "man",
    "woman",
    "dog",
    "cat",
    "tennis",
    "baseball",
    "frisbee",
    "pizza",
    "nothing",
    "grass",
    "wood",
    "beach",
    "kitchen",
    "morning",
    "sunny",
    "winter",
    "metal",
    "bus",
    "train",
    "car",
    "truck",
    "plane",
    "boat",
    "two",
    "men",
    "a",
    "dog",
    "on",
    "the",
    "left",
]
KINDS = [f"{one} {two}" for one in WORDS[:13] for two in WORDS[13:18]]  # 65 types of question, as the real split has
NAMES = {"val": "v2_OpenEnded_mscoco_val2014_questions.json", "labels": "v2_mscoco_val2014_annotations.json"}


@dataclass(frozen=True)
class Usage:
    """What one process took."""

    seconds: float
    cpu: float
    peak: float  # MB


def make(folder: Path, share: float) -> None:
    """Write the official files, answers of an imaginary system, and the pictures; in ``bare`` the files alone."""
    drawn = random.Random(7)
    data = folder / "data" / "vqav2"
    (data / "val2014").mkdir(parents=True)
    questions, labels, answers = [], [], []
    images = max(1, round(PICTURES * share))
    for number in range(round(QUESTIONS * share)):
        image = 1 + number * images // round(QUESTIONS * share)
        question_id = image * 1000 + number % 1000
        kind = drawn.choices(TYPES, (0.38, 0.13, 0.49))[0]
        main = drawn.choice(ANSWERS)
        given = [main if drawn.random() < 0.7 else drawn.choice(ANSWERS) for _ in range(10)]
        text = " ".join(drawn.choices(WORDS, k=drawn.randint(4, 9))).capitalize() + "?"
        questions.append({"image_id": image, "question": text, "question_id": question_id})
        start = KINDS[min(len(KINDS) - 1, int(drawn.expovariate(0.08)))]
        rows = [{"answer": word, "answer_confidence": "yes", "answer_id": n + 1} for n, word in enumerate(given)]
        labels.append(
            {"question_type": start, "multiple_choice_answer": main, "answers": rows,
             "image_id": image, "answer_type": kind, "question_id": question_id}
        )  # fmt: skip
        answers.append({"question_id": question_id, "answer": main if drawn.random() < 0.6 else drawn.choice(ANSWERS)})
    head = {"info": {}, "license": {}, "data_subtype": "val2014", "data_type": "mscoco", "task_type": "Open-Ended"}
    (data / NAMES["val"]).write_text(json.dumps({**head, "questions": questions}))
    (data / NAMES["labels"]).write_text(json.dumps({**head, "annotations": labels}))
    (folder / "answers.json").write_text(json.dumps(answers))
    for image in range(1, images + 1):
        (data / "val2014" / f"COCO_val2014_{image:012d}.jpg").write_bytes(b"x")
    bare = folder / "bare" / "vqav2"
    bare.mkdir(parents=True)
    for name in NAMES.values():
        os.link(data / name, bare / name)


def measure(command: Sequence[str | Path], cwd: Path, allowed: Sequence[int] = (0,)) -> Usage:
    """Run one process to its end."""
    start = time.perf_counter()
    with (cwd / "out.txt").open("wb") as out:
        child = subprocess.Popen([*map(str, command)], cwd=cwd, stdout=out, stderr=out, env={**os.environ})
        _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in allowed:
        sys.exit(f"{command} ended with {child.returncode}: {(cwd / 'out.txt').read_text()[-2000:]}")
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


OFFICIAL = """
import json, sys
sys.path.insert(0, {benchmarks!r})
import official_vqa
labels = {{row["question_id"]: row for row in json.load(open({labels!r}))["annotations"]}}
questions = json.load(open({questions!r}))["questions"]
answers = {{row["question_id"]: row for row in json.load(open({answers!r}))}}
pairs = [(labels[q["question_id"]]["answers"], answers[q["question_id"]]["answer"]) for q in questions]
scores = official_vqa.vqa_2021(pairs)
print(sum(scores) / len(scores))
"""

# Runs the command line until the model of constant answers has given a number of answers, which is the first argument.
STOPPING = """
import os, runpy, sys
from anymal_eval.models import constant
most, answer = int(sys.argv[1]), constant._Constant.answer
def stopping(self, batch):
    global most
    if most <= 0:
        os._exit(0)
    most -= len(batch)
    return answer(self, batch)
constant._Constant.answer = stopping
sys.argv = ["anymal_eval", *sys.argv[2:]]
runpy.run_module("anymal_eval", run_name="__main__", alter_sys=True)
"""
ANSWERED = 200_000


def commands(folder: Path) -> dict[str, tuple[list[str | Path], tuple[int, ...]]]:
    """What is measured, in the order in which it needs what came before, with the exit codes that are right."""
    ours: list[str | Path] = [sys.executable, "-m", "anymal_eval"]
    run, other, resumed = folder / "run", folder / "other", folder / "resumed"
    check = ["data", "check", "vqav2", "--split", "val"]
    data: list[str | Path] = ["--data-root", folder / "data"]
    official = OFFICIAL.format(
        benchmarks=str(ROOT / "benchmarks"), labels=str(folder / "data/vqav2" / NAMES["labels"]),
        questions=str(folder / "data/vqav2" / NAMES["val"]), answers=str(folder / "answers.json"),
    )  # fmt: skip
    task: list[str | Path] = ["run", "--tasks", "vqav2", "--split", "val", *data]
    replay: list[str | Path] = [*task, "--model", f"replay:{folder}/answers.json", "--out", run]
    return {
        "official script": ([sys.executable, "-c", official], (0,)),
        "run (replay)": ([*ours, *replay], (0,)),
        "run again (nothing is missing)": ([*ours, *replay], (0,)),
        "score": ([*ours, "score", run, *data], (0,)),
        "check": ([*ours, "check", run, "--against", other], (0, 3, 4)),
        "table": ([*ours, "table", run], (0,)),
        "report": ([*ours, "report", run, *data, "--out", folder / "report"], (0,)),
        "data check (all pictures there)": ([*ours, *check, *data], (0, 1)),
        "data check (no picture there)": ([*ours, *check, "--data-root", folder / "bare"], (0, 1)),
        "resume": ([sys.executable, "-c", STOPPING, "0", *task, "--model", "constant", "--out", resumed], (0,)),
    }


def prepare(name: str, folder: Path, command: Sequence[str | Path], share: float) -> None:
    """Make what a command needs beside what the commands before it made."""
    if name == "check" and not (folder / "other").exists():
        shutil.copytree(folder / "run", folder / "other")
    if name == "report" and (folder / "report").exists():
        shutil.rmtree(folder / "report")
    if name == "resume" and not (folder / "resumed").exists():
        measure([*command[:3], str(round(ANSWERED * share)), *command[4:]], folder)


def main() -> None:
    """Measure, print the table, and write it into docs/speed.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shares", type=float, nargs="+", default=[1, 10, 100], help="in per cent")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", help="commands, separated by commas")
    given = parser.parse_args()
    home = given.folder or Path(tempfile.mkdtemp(prefix="scale-"))
    found: dict[str, dict[float, Usage]] = {}
    for share in given.shares:
        folder = home / f"{share:g}"
        if not folder.exists():
            # In a process of its own: a child's peak is at least what its parent held when it was started.
            maker = multiprocessing.get_context("spawn").Process(target=make, args=(folder, share / 100))
            maker.start()
            maker.join()
        for name, (command, allowed) in commands(folder).items():
            if given.only and name not in given.only.split(","):
                continue
            prepare(name, folder, command, share / 100)
            used = measure(command, folder, allowed)
            found.setdefault(name, {})[share] = used
            print(f"{share:g} %: {name}: {used.seconds:.1f} s, {used.cpu:.1f} s of CPU, {used.peak:.0f} MB", flush=True)
    text = table(found, given.shares)
    print(text)
    if given.write:
        write_section("scale", text, SPEED)
    if given.folder is None:
        shutil.rmtree(home)


def machine() -> str:
    """What else ran: the load is of the last quarter of an hour."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[2]:.0f}"


def table(found: dict[str, dict[float, Usage]], shares: Sequence[float]) -> str:
    """The rows as Markdown, of the largest share, with the growth from the one before."""
    last, before = shares[-1], shares[-2] if len(shares) > 1 else None
    lines = [
        f"`python -m benchmarks.scale`, VQAv2 val at {last:g} % ({round(QUESTIONS * last / 100):,} questions); cold, "
        f"whole processes. {machine()}.",
        "",
        "| command | seconds | CPU seconds | peak MB | of the official script's CPU | growth |",
        "|---|---|---|---|---|---|",
    ]
    base: Any = found.get("official script", {}).get(last)
    for name, by_share in found.items():
        used = by_share[last]
        part = f"{used.cpu / base.cpu:.2f}" if base else ""
        growth = ""
        if before is not None:
            growth = f"{math.log(used.cpu / by_share[before].cpu) / math.log(last / before):.2f}"
        lines.append(f"| {name} | {used.seconds:.1f} | {used.cpu:.1f} | {used.peak:,.0f} | {part} | {growth} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
