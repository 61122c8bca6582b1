"""Whether host memory stays flat while demo examples pass through ``prepare``: images, audio, video, IMU recordings.

    python benchmarks/memory_flat.py --examples 10000

Requests of four tasks, interleaved, run through the engine of ``run`` with the tiny AnyMAL network's own ``prepare``;
``answer`` is replaced, because it is not measured. The network caches decoded media for further questions about them,
limited in bytes and in number as in every run.

Memory is the resident size of this process and of its decoders, sampled every 50 examples. The growth is from the
median of the 500 examples after the first ``--after`` to the median of the last 500. Linux only. Exit code 1 where
memory grew by 5 % or more.
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anymal_eval import catalog, protocols
from anymal_eval.engine import EngineSettings
from anymal_eval.engine.local import run_requests
from anymal_eval.models import Model, Prepared, choose_model
from anymal_eval.protocols.prompting import build_request
from anymal_eval.records import Request, Response
from anymal_eval.sources.load import load_examples
from anymal_eval.task import Task

TASKS = ("vqav2", "audiocaps", "nextqa", "imu_caption")
EVERY = 50
AROUND = 10  # samples that a median is over
MOST_GROWTH = 0.05


class Preparing:
    """A model with the real ``prepare`` and an empty ``answer``."""

    def __init__(self, model: Model) -> None:
        self.fingerprint, self.accepts, self.wording = model.fingerprint, model.accepts, model.wording
        self.prepare, self.close = model.prepare, model.close

    def answer(self, batch: Sequence[Prepared]) -> list[Response]:
        return [Response(id=item.request.id, answer="", finish="stop") for item in batch]


def requests(model: Model, examples: int) -> list[Request]:
    """A quarter of the requests from each task, interleaved."""
    each = []
    for name in TASKS:
        task = catalog.tasks().get(name, "TASK", Task)
        found = load_examples(task, task.split(None), "demo", Path("none"), demo_examples=examples // len(TASKS))
        words = protocols.get(protocols.DEFAULT)
        each.append([build_request(example, task, model.wording, words) for example in found])
    return list(itertools.chain.from_iterable(zip(*each, strict=True)))


def resident_mib() -> float:
    """The resident memory of this process and its children."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task").glob("*/children")
    members = [own, *(int(child) for file in children for child in _read(file).split())]
    return sum(_resident(member) for member in members) / 1024


def _resident(process: int) -> int:
    lines = _read(Path(f"/proc/{process}/status")).splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):  # a thread or a decoder that has just ended
        return ""


def measure(examples: int, after: int, checkpoint: Path) -> dict[str, float]:
    model = Preparing(choose_model(f"anymal:{checkpoint}", {}).load())
    try:
        made = requests(model, examples)
        sizes: list[float] = []
        done = failed = 0
        began = time.perf_counter()

        def sink(batch: Sequence[Response]) -> None:
            nonlocal done, failed
            failed += sum(response.failure is not None for response in batch)
            for _ in batch:
                done += 1
                if done % EVERY == 0:
                    sizes.append(resident_mib())

        run_requests(made, model, sink, EngineSettings(batch_size=10))
        seconds = time.perf_counter() - began
    finally:
        model.close()
    first, last = after // EVERY, len(sizes)
    if failed:
        raise SystemExit(f"{failed} of {done} examples could not be prepared")
    if last < first + 2 * AROUND:
        raise SystemExit(f"{examples} examples are too few: give at least {after + 2 * AROUND * EVERY}")
    start, end = float(np.median(sizes[first : first + AROUND])), float(np.median(sizes[-AROUND:]))
    return {
        "examples": done,
        "after": after,
        "mib_at_start": round(sizes[0], 1),
        "mib_after_warm_up": round(start, 1),
        "mib_at_end": round(end, 1),
        "highest_mib": round(max(sizes[first:]), 1),
        "growth_percent": round(100 * (end / start - 1), 2),
        "seconds": round(seconds, 1),
    }


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--examples", type=int, default=10_000)
    reader.add_argument("--after", type=int, default=1_000, help="How many examples are warming up.")
    reader.add_argument("--checkpoint", type=Path, help="By default a tiny one is made.")
    given = reader.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.checkpoint is None:
            from anymal_eval.anymal import tiny

            given.checkpoint = tiny.write(Path(folder))
        found = measure(given.examples, given.after, given.checkpoint)
    print(json.dumps(found))
    return int(found["growth_percent"] >= 100 * MOST_GROWTH)


if __name__ == "__main__":
    raise SystemExit(main())
