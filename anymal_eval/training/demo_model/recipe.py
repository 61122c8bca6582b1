"""The demo model's parts: what each is made from, how long it trains, and a record of how it went."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from anymal_eval.anymal.config import AnyMALConfig, preset, with_paths
from anymal_eval.records import MediaKind
from anymal_eval.training.demo_model.world import KINDS

LANES: tuple[tuple[str, ...], ...] = (("llm",), ("image", "video", "audio", "imu", "world"))
STAGES = ("align", "instruct")
ALIGNED: dict[MediaKind, float] = {"image": 10, "video": 10, "audio": 3, "imu": 3}  # clips are the slowest to learn
FIGURES = "figures.jsonl"


@dataclass(frozen=True, kw_only=True)
class Course:
    """The training of one part: steps, rows per step, learning rate.

    ``embedding_rate`` is that of a language model's embeddings. AdamW lengthens them by rate times steps, and stages 1
    and 2 learn slower the longer they are: a longer course needs a lower rate.
    """

    steps: int
    rows: int
    rate: float
    embedding_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The amount of data and training: scenes by medium, text questions, and a course by part."""

    scenes: dict[MediaKind, int]
    texts: int
    courses: dict[str, Course]


FULL = Scale(
    scenes={"image": 12_000, "audio": 4_000, "video": 5_000, "imu": 4_000},
    texts=3_000,
    courses={
        "llm": Course(steps=1_400, rows=64, rate=4e-3, embedding_rate=2.8e-3),
        "image": Course(steps=900, rows=64, rate=2e-3),
        "video": Course(steps=800, rows=32, rate=2e-3),
        "audio": Course(steps=500, rows=64, rate=2e-3),
        "imu": Course(steps=500, rows=64, rate=2e-3),
        "align": Course(steps=1_300, rows=64, rate=1e-3),
        "instruct": Course(steps=1_200, rows=64, rate=1e-3),
    },
)
SMALL = Scale(
    scenes={"image": 300, "audio": 100, "video": 100, "imu": 100},
    texts=60,
    courses={
        "llm": Course(steps=8, rows=32, rate=4e-3, embedding_rate=2.8e-3),
        "image": Course(steps=10, rows=16, rate=2e-3),
        "video": Course(steps=6, rows=8, rate=2e-3),
        "audio": Course(steps=6, rows=16, rate=2e-3),
        "imu": Course(steps=10, rows=16, rate=2e-3),
        "align": Course(steps=10, rows=16, rate=2e-3),
        "instruct": Course(steps=10, rows=16, rate=1e-3),
    },
)
SCALES = {"full": FULL, "small": SMALL}


def network(out: Path) -> AnyMALConfig:
    """The demo preset with its parts in ``out/model``."""
    return with_paths(preset("demo"), backbones(out))


def backbones(out: Path) -> dict[str, str]:
    """The paths of the frozen parts, by ``llm`` or medium."""
    config = preset("demo")
    names = {"llm": config.llm.path} | {str(kind): one.encoder.path for kind, one in config.modalities.items()}
    return {part: str(out / "model" / name) for part, name in names.items()}


def needed_scenes(part: str) -> Sequence[MediaKind]:
    """The media whose scenes a part is made from."""
    return tuple(kind for kind in KINDS if part in (kind, "llm", "world"))


def finished_parts(out: Path) -> set[str]:
    """The parts that are made already."""
    file = out / FIGURES
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {json.loads(line)["part"] for line in lines}


class Figures:
    """Records the time and the final loss of a part, and prints them during training."""

    def __init__(self, out: Path, part: str, course: Course | None) -> None:
        self._out, self._part, self._course = out, part, course
        self._start, self._losses = time.perf_counter(), list[float]()

    def log(self, step: int, loss: float) -> None:
        """Record one step."""
        self._losses.append(loss)
        if (step + 1) % 50 == 0:
            print(f"{self._part}: step {step + 1}, loss {self._mean():.4f}, {self._seconds():.0f} s", flush=True)

    def close(self) -> None:
        """Record the part as finished; the recipe does not make it again."""
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
