"""Whole processes on one core: ``run --model hf:`` beside the same by hand, and beside one question at a time.

    python -m benchmarks.peer --write

The script by hand imports torch and transformers, loads the checkpoint, and answers. With all questions it is the
plain loop of other harnesses, one question at a time, which lmms-eval 0.7.2 is within 10 % of. The same checkpoint (a
LLaVA of 31 M, random), rows and decoding; the texts must be equal. Rounds are interleaved; a ratio is the median of
the rounds'.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import throughput_hf
from benchmarks.measuring import ratio, write_section
from benchmarks.scale import NAMES

ROOT = Path(__file__).parents[1]
SPEED = ROOT / "docs" / "speed.md"
EACH, NEW = 5, 16  # questions on a picture; tokens of an answer at most
PLAIN = "\nAnswer with a single word or phrase."  # of the protocol plain
QUESTIONS = (
    "What color is the big thing on the left?",
    "How many dogs are there?",
    "Is the man sitting near the table?",
    "Where is the bus?",
    "What kind of food is on the table behind the cat?",
)
BY_HAND = """
import json, sys, time
import torch, transformers
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
folder, rows, new = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3])
processor = AutoProcessor.from_pretrained(folder)
model = AutoModelForImageTextToText.from_pretrained(folder).eval()
start, answers = time.perf_counter(), {}
for row in rows:
    content = [{"type": "image"}, {"type": "text", "text": row["question"]}]
    talk = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    picture = Image.open(row["picture"]).convert("RGB")
    inputs = processor(text=[text], images=[picture], add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        out = model.generate(**inputs, do_sample=False, max_new_tokens=new)
    new_ids = out[0, inputs["input_ids"].shape[1]:]
    answers[row["id"]] = processor.tokenizer.decode(new_ids, skip_special_tokens=True).strip()
json.dump({"answers": answers, "seconds": time.perf_counter() - start}, open(sys.argv[4], "w"))
"""


@dataclass(frozen=True)
class Ended:
    """A process that has ended: wall-clock and CPU seconds, those of the model part, and its answers."""

    seconds: float
    cpu: float
    model: float
    answers: dict[str, str]


def make(folder: Path, count: int) -> Path:
    """VQAv2's official layout, and the rows of the script by hand."""
    drawn = np.random.default_rng(0)
    data = folder / "data" / "vqav2"
    (data / "val2014").mkdir(parents=True)
    questions: list[dict[str, Any]] = []
    for number in range(count):
        picture = data / "val2014" / f"COCO_val2014_{number // EACH + 1:012d}.jpg"
        if number % EACH == 0:
            pixels = drawn.integers(0, 256, (15, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC).save(picture, quality=90)
        name = (number // EACH + 1) * 1000 + number % EACH
        questions.append({"image_id": number // EACH + 1, "question_id": name, "question": QUESTIONS[number % EACH]})
    head = {"info": {}, "license": {}, "data_subtype": "val2014", "data_type": "mscoco", "task_type": "Open-Ended"}
    given = [{"answer": "red", "answer_confidence": "yes", "answer_id": place + 1} for place in range(10)]
    more = {"question_type": "what", "answer_type": "other", "multiple_choice_answer": "red", "answers": given}
    labels = [{key: row[key] for key in ("image_id", "question_id")} | more for row in questions]
    (data / NAMES["val"]).write_text(json.dumps({**head, "questions": questions}))
    (data / NAMES["labels"]).write_text(json.dumps({**head, "annotations": labels}))
    rows = [
        {"id": str(row["question_id"]), "question": f"{row['question']}{PLAIN}",
         "picture": str(data / "val2014" / f"COCO_val2014_{row['image_id']:012d}.jpg")}
        for row in questions
    ]  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


def process(command: Sequence[object], log: Path, cache: Path) -> tuple[float, float]:
    """Run a process on one core to its end: wall-clock and CPU seconds."""
    core = min(os.sched_getaffinity(0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
                   "ANYMAL_EVAL_CACHE": str(cache)}  # fmt: skip
    start = time.perf_counter()
    with log.open("wb") as out:
        child = subprocess.Popen(
            ["taskset", "-c", str(core), *map(str, command)], stdout=out, stderr=out, env=environment, cwd=log.parent
        )
        _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{command}: {log.read_text()[-3000:]}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def by_hand(folder: Path, checkpoint: Path) -> Ended:
    """The script by hand, over all rows of a folder."""
    out = folder / "hand.json"
    command = [sys.executable, "-c", BY_HAND, checkpoint, folder / "rows.json", NEW, out]
    seconds, cpu = process(command, folder / "hand.txt", folder / "cache")
    found = json.loads(out.read_text())
    return Ended(seconds, cpu, found["seconds"], found["answers"])


def ours(folder: Path, checkpoint: Path, cache: Path) -> tuple[Ended, float]:
    """``run``, and the seconds to its first answer."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    command = [
        sys.executable, "-m", "anymal_eval", "run", "--tasks", "vqav2", "--split", "val", "--device", "cpu",
        "--out", run, "--data-root", folder / "data", "--model", f"hf:{checkpoint}", "--max-new-tokens", NEW,
    ]  # fmt: skip
    seconds, cpu = process(command, folder / "ours.txt", cache)
    [session] = json.loads((run / "timings.json").read_text())["sessions"]
    model = sum(value for part, value in session["seconds"].items() if part != "scoring")
    rows = [json.loads(line) for line in (run / "vqav2" / "responses.jsonl").read_text().splitlines()]
    return Ended(seconds, cpu, model, {row["id"]: row["answer"] for row in rows}), session["first_answer"]


def compared(home: Path, checkpoint: Path, count: int, rounds: int) -> list[str]:
    """The rows of the table for ``count`` questions."""
    folder = make(home / str(count), count)
    hand: list[Ended] = []
    run: list[Ended] = []
    first: list[float] = []
    for number in range(rounds):
        hand.append(by_hand(folder, checkpoint))
        ended, to_first = ours(folder, checkpoint, home / "cache")
        run.append(ended)
        first.append(to_first)
        assert run[-1].answers == hand[-1].answers, "the texts differ"
        print(
            f"  {count}, round {number + 1}: by hand {hand[-1].cpu:.1f} s of CPU, run {run[-1].cpu:.1f}",
            file=sys.stderr,
        )
    parts = [
        ("whole process, CPU seconds", [one.cpu for one in hand], [one.cpu for one in run]),
        ("whole process, seconds", [one.seconds for one in hand], [one.seconds for one in run]),
    ]
    if count > 1:
        parts.append(("model part, seconds", [one.model for one in hand], [one.model for one in run]))
        what = f"{count} questions on {count // EACH} pictures"
    else:
        parts.append(("to the first answer (by hand: all), seconds", [one.seconds for one in hand], first))
        what = "1 question"
    return [
        f"| {what}: {name} | {np.median(slow):.1f} | {np.median(fast):.1f} | {ratio(slow, fast):.2f}x |"
        for name, slow, fast in parts
    ]


def first_runs(home: Path, checkpoint: Path, rounds: int) -> list[str]:
    """The rows of first runs of a class: nothing is remembered, so the self-test runs, and the weights are hashed."""
    folder, cache = make(home / "first", 1), home / "first-cache"
    hand: list[Ended] = []
    run: list[Ended] = []
    for number in range(rounds):
        hand.append(by_hand(folder, checkpoint))
        shutil.rmtree(cache, ignore_errors=True)
        run.append(ours(folder, checkpoint, cache)[0])
        assert run[-1].answers == hand[-1].answers, "the texts differ"
        print(f"  first, round {number + 1}: by hand {hand[-1].cpu:.1f} s, run {run[-1].cpu:.1f}", file=sys.stderr)
    cpu, fast = [one.cpu for one in hand], [one.cpu for one in run]
    what = "the first run of a class, with the self-test, 1 question: whole process, CPU seconds"
    return [f"| {what} | {np.median(cpu):.1f} | {np.median(fast):.1f} | {ratio(cpu, fast):.2f}x |"]


def main() -> None:
    """Measure, print the table, and write it into docs/speed.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="*", default=[1, 50, 500], help="1, or numbers of questions")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peer-") as temporary:
        home = Path(temporary)
        checkpoint = throughput_hf.write(home / "llava")
        rows = first_runs(home, checkpoint, given.rounds)
        ours(make(home / "warm", 1), checkpoint, home / "cache")  # what is remembered from here on
        for count in given.counts:
            rows += compared(home, checkpoint, count, given.rounds)
    head = (
        f"`python -m benchmarks.peer`, one core, a LLaVA of 31 M, {NEW} tokens an answer at most, medians of "
        f"{given.rounds} interleaved rounds, same texts."
    )
    text = "\n".join([head, "", "| what | by hand | run | by hand / run |", "|---|---|---|---|", *rows])
    print(text)
    if given.write:
        write_section("peer", text, SPEED)


if __name__ == "__main__":
    main()
