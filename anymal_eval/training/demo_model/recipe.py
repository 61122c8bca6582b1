"""The whole recipe, part by part: what is made in which order, how long, and what came of it.

Parts that do not need each other run side by side, each in a process of one thread: two such processes are faster on
two cores than one of two threads. A part that is there already is kept, so an interrupted recipe goes on.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from anymal_eval.anymal.config import AnyMALConfig, preset, with_paths
from anymal_eval.records import MediaKind
from anymal_eval.training.demo_model.world import KINDS

LANES: tuple[tuple[str, ...], ...] = (("llm",), ("image", "video", "audio", "imu", "world"))
STAGES = ("align", "instruct")
FIGURES = "figures.jsonl"
THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, kw_only=True)
class Course:
    """Of one part: steps, rows of a step, learning rate."""

    steps: int
    rows: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything."""

    scenes: dict[MediaKind, int]
    texts: int
    courses: dict[str, Course]


FULL = Scale(
    scenes={"image": 12_000, "audio": 4_000, "video": 5_000, "imu": 4_000},
    texts=3_000,
    courses={
        "llm": Course(steps=1_000, rows=64, rate=4e-3),
        "image": Course(steps=900, rows=64, rate=2e-3),
        "video": Course(steps=800, rows=32, rate=2e-3),
        "audio": Course(steps=500, rows=64, rate=2e-3),
        "imu": Course(steps=500, rows=64, rate=2e-3),
        "align": Course(steps=600, rows=64, rate=1e-3),
        "instruct": Course(steps=1_200, rows=64, rate=1e-3),
    },
)
SMALL = Scale(
    scenes={"image": 300, "audio": 100, "video": 100, "imu": 100},
    texts=60,
    courses={
        "llm": Course(steps=8, rows=32, rate=4e-3),
        "image": Course(steps=10, rows=16, rate=2e-3),
        "video": Course(steps=6, rows=8, rate=2e-3),
        "audio": Course(steps=6, rows=16, rate=2e-3),
        "imu": Course(steps=10, rows=16, rate=2e-3),
        "align": Course(steps=10, rows=16, rate=2e-3),
        "instruct": Course(steps=10, rows=16, rate=1e-3),
    },
)
SCALES = {"full": FULL, "small": SMALL}


def make(out: Path, scale: str, seed: int) -> Path:
    """Everything, in processes of their own.

    Args:
        out: the work folder; backbones and checkpoint end in ``out/model``.
        scale: ``full``, or ``small`` to see that every part runs.
        seed: of stage 1 and 2; scenes, tokenizer, language model and encoders are seed 0's.

    Returns:
        The checkpoint.

    Raises:
        CalledProcessError: a part failed; what it said is on the terminal.
    """
    out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(LANES)) as pool:
        list(pool.map(partial(_lane, out, scale, seed), LANES))
    for stage in STAGES:
        call(out, scale, seed, stage)
    return out / "model" / "checkpoint"


def _lane(out: Path, scale: str, seed: int, parts: Sequence[str]) -> None:
    for part in parts:
        call(out, scale, seed, part)


def call(out: Path, scale: str, seed: int, part: str) -> None:
    """One part in a process of its own, if it is not done."""
    if part in done(out):
        return
    command = [sys.executable, "-m", "anymal_eval.training.demo_model"]
    command += ["--out", str(out), "--scale", scale, "--seed", str(seed), "--part", part]
    subprocess.run(command, env={**os.environ, **THREADS}, check=True)


def network(out: Path) -> AnyMALConfig:
    """The demo preset, its parts in ``out/model``."""
    config = preset("demo")
    names = {"llm": config.llm.path} | {str(kind): one.encoder.path for kind, one in config.modalities.items()}
    return with_paths(config, {part: str(out / "model" / name) for part, name in names.items()})


def done(out: Path) -> set[str]:
    """The parts that are there."""
    file = out / FIGURES
    if not file.is_file():
        return set()
    return {json.loads(line)["part"] for line in file.read_text(encoding="utf-8").splitlines()}


class Figures:
    """Keeps what a part took and where its loss ended, and shows it on the way."""

    def __init__(self, out: Path, part: str, course: Course | None) -> None:
        self._out, self._part, self._course = out, part, course
        self._start, self._losses = time.perf_counter(), list[float]()

    def log(self, step: int, loss: float) -> None:
        """One step."""
        self._losses.append(loss)
        if (step + 1) % 50 == 0:
            print(f"{self._part}: step {step + 1}, loss {self._mean():.4f}, {self._seconds():.0f} s", flush=True)

    def close(self) -> None:
        """The part is whole: from now on it is kept."""
        row: dict[str, object] = {"part": self._part}
        if self._course is not None:
            row |= {"steps": self._course.steps, "rows": self._course.rows}
        if self._losses:
            row["loss"] = round(self._mean(), 4)
        used = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
        cpu = sum(each.ru_utime + each.ru_stime for each in used)
        row |= {"seconds": round(self._seconds()), "cpu_seconds": round(cpu)}
        with (self._out / FIGURES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _mean(self) -> float:
        last = self._losses[-50:]
        return sum(last) / len(last)

    def _seconds(self) -> float:
        return time.perf_counter() - self._start


def needs(part: str) -> Sequence[MediaKind]:
    """The scenes that a part is made from."""
    return tuple(kind for kind in KINDS if part in (kind, "llm", "world"))
