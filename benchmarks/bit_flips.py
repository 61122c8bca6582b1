"""Is any single flipped bit in what is on the disk read as if nothing had happened?

    python -m benchmarks.bit_flips [--flips 2000] [--seed 0] [--write]

Makes a small run, an accepted baseline, a feature cache and the saved states of a training, all on demo data. Then
flips one bit at a time, in every file in turn, lets what reads the file read it, and puts it back: the verification
that every command starts with, and for one flip in 49 and each that it does not find, the commands too. A flip is

- refused: a command ends with exit code 1 or 2 and one line;
- repaired: every command gives what it gives without the flip, and one prints a line about it;
- without effect: every command gives the same, and none prints anything;
- UNSEEN: a command ends with 0 and gives something else;
- a fault: a traceback, or more than one line of error.

The exit code is 0 where no flip is UNSEEN, a fault or without effect.
"""

import argparse
import contextlib
import gc
import hashlib
import io
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from anymal_eval.cli.main import main as command_line
from anymal_eval.errors import AnyMALEvalError
from anymal_eval.fingerprint import CLOCK_GRAIN_S
from anymal_eval.scoring.verification import open_verified
from anymal_eval.store.folder import BLIND
from benchmarks.measuring import write_section

PAGE = Path(__file__).parents[1] / "docs" / "durability.md"
RUN = ("run", "--tasks", "vqav2,scienceqa", "--model", "constant", "-o", "says=red", "--data", "demo",
       "--demo-examples", "8", "--with-blind")  # fmt: skip
FEATURES = ("run", "--tasks", "vqav2,audiocaps", "--model", "anymal:demo", "--data", "demo", "--demo-examples", "8")
TRAIN = ("--device", "cpu", "--batch-size", "2", "--learning-rate", "0.01", "--save-every", "1", "--keep", "3",
         "--log-every", "1")  # fmt: skip
OUTCOMES = ("refused", "repaired", "without effect", "UNSEEN", "fault")


class Ended(NamedTuple):
    """How a command ended: exit code, lines on stderr, and what it gave."""

    code: int
    lines: tuple[str, ...]
    gave: str


Reader = Callable[[], Ended]


@dataclass
class Kind:
    """Something on the disk, and what reads it.

    Attributes:
        folder: what bits are flipped in.
        readers: what reads it at each flip.
        rare: what takes long: it reads at some flips, and where no other reader shows a flip.
        unread: files that hold no number that anything reads.
        expected: by reader, what it gives without a flip.
    """

    name: str
    folder: Path
    readers: Sequence[Reader]
    rare: Sequence[Reader] = ()
    unread: Sequence[str] = ()
    expected: dict[Reader, Ended] = field(default_factory=dict)

    def files(self) -> list[Path]:
        """Everything that holds a bit."""
        found = (file for file in self.folder.rglob("*") if file.is_file() and file.name not in self.unread)
        return sorted(file for file in found if file.stat().st_size)


class Copy:
    """A folder that can be put back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    def restore(self) -> None:
        """Put back what has changed, and delete what is new."""
        for file in [file for file in self.folder.rglob("*") if file.is_file() and file not in self.content]:
            file.unlink()
        for each in sorted((each for each in self.folder.rglob("*") if each.is_dir()), reverse=True):
            if not any(file.is_relative_to(each) for file in self.content):
                each.rmdir()
        for file, content in self.content.items():
            if not file.is_file() or file.read_bytes() != content:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)


def call(*words: object) -> Ended:
    """A command of ``anymal-eval`` in this process; what it gave is its output."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["anymal-eval", *map(str, words)]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command_line()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = before
    return Ended(code, tuple(err.getvalue().splitlines()), out.getvalue())


def opened(*runs: Path) -> Ended:
    """What ``check``, ``accept``, ``report``, ``table``, ``export`` and ``load_run`` do first with every run."""
    try:
        for run in runs:
            open_verified(run)
    except AnyMALEvalError as error:
        return Ended(error.exit_code, (f"error: {error}",), "")
    return Ended(0, (), "")


def content_of(*roots: Path, but: Sequence[str] = ()) -> str:
    """A digest of files, in their order."""
    found = hashlib.sha256()
    for root in roots:
        for file in sorted(each for each in root.rglob("*") if each.is_file() and each.name not in but):
            found.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return found.hexdigest()


def giving(ended: Ended, *roots: Path, but: Sequence[str] = ()) -> Ended:
    """The same, giving files in place of output."""
    return ended._replace(gave=content_of(*roots, but=but))


def run_kind(root: Path) -> Kind:
    run, other = root / "run", root / "other"
    require(call(*RUN, "--out", run))
    shutil.copytree(run, other)
    times = (".lock", "timings.json", "run.log", "prompts.jsonl")  # the files of a run that differ from time to time
    return Kind(
        name="run",
        folder=run,
        unread=("run.log",),
        readers=[lambda: opened(run, run / BLIND)],
        rare=[
            lambda: call("table", run),
            lambda: call("check", other, "--against", run),
            lambda: giving(call("score", run), run, but=times),
            lambda: giving(call(*RUN, "--out", run), run, but=times),
        ],
    )


def baseline_kind(root: Path) -> Kind:
    run, results = root / "other", root / "results"
    require(call("accept", run, "--results", results))
    (base,) = (results / "accepted").glob("demo-*")
    return Kind(
        name="baseline",
        folder=base,
        readers=[lambda: opened(base)],
        rare=[
            lambda: call("check", run, "--against", base),
            lambda: call("check", run, "--accepted", results / "accepted"),
            lambda: call("table", base),
        ],
    )


def cache_kind(root: Path) -> Kind:
    cache, first = root / "features", root / "first"
    require(call(*FEATURES, "--features", cache, "--out", first))
    time.sleep(CLOCK_GRAIN_S)  # digests of media that were just drawn are not remembered
    require(call(*FEATURES, "--features", cache, "--out", root / "second"))

    def again() -> Ended:
        with tempfile.TemporaryDirectory() as place:
            ended = call(*FEATURES, "--features", cache, "--out", Path(place) / "run")
            return giving(ended, Path(place) / "run" / "vqav2", Path(place) / "run" / "audiocaps")

    def verify() -> Ended:
        ended = call("features", "verify", "--features", cache)
        # It names corrupt entries on stdout, and its exit code is 1.
        lines = tuple(line for line in ended.gave.splitlines() if line.startswith("corrupt"))
        return Ended(0, lines, "")

    return Kind(name="feature cache", folder=cache, readers=[verify], rare=[again])


def state_kind(root: Path, data: Path) -> Kind:
    out = root / "training"
    network = root / "tiny" / "checkpoint"
    command = ("train", "align", network, *TRAIN, "--data", f"pairs:{data}", "--out", out)
    require(call(*command, "--steps", 4))
    finished = content_of(out / "checkpoint")
    # As it was before the last step: not finished, and without the state that the last step saved.
    shutil.rmtree(out / "checkpoint")
    shutil.rmtree(out / "steps" / "checkpoint-4")
    from anymal_eval.training import record, state_digests

    record.write(out, {**{k: v for k, v in record.read(out).items() if k != "format"}, "finished": 0})

    def verify() -> Ended:
        """Every state as a resume verifies the latest; an older one is read where those after it are damaged."""
        try:
            record.read(out)
        except AnyMALEvalError as error:
            return Ended(error.exit_code, (f"error: {error}",), "")
        wrong = [(each, state_digests.wrong_with(each)) for each in sorted((out / "steps").iterdir())]
        return Ended(0, tuple(f"{each}: {why}" for each, why in wrong if why is not None), "")

    def resume() -> Ended:
        ended = call(*command, "--steps", 4)
        lines = tuple(line for line in ended.lines if not line.startswith("step "))
        return Ended(ended.code, lines, content_of(out / "checkpoint"))

    kind = Kind(name="training state", folder=out, readers=[verify], rare=[resume], unread=("log.jsonl",))
    copy = Copy(out)
    assert resume().gave == finished, "a resumed training ends with the same weights"
    copy.restore()
    return kind


def training_data(root: Path) -> Path:
    """Eight pictures with captions."""
    import numpy as np
    from PIL import Image

    root.mkdir()
    rows = []
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
        rows.append({"id": str(number), "image": f"{number}.png", "caption": f"picture {number}"})
    file = root / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def require(ended: Ended) -> None:
    if ended.code:
        raise SystemExit(f"exit code {ended.code}: {ended.lines[-3:]}")


def outcome(ended: Ended, expected: Ended) -> str:
    """One reader's outcome."""
    errors = [line for line in ended.lines if line.startswith("error:")]
    if ended.code not in (0, 1, 2) or len(errors) > 1:
        return "fault"
    if ended.code != expected.code:
        return "refused" if len(errors) == 1 else "fault"
    if ended.gave != expected.gave:
        return "UNSEEN"
    return "repaired" if set(_plain(ended)) - set(_plain(expected)) else "without effect"


def _plain(ended: Ended) -> Iterator[str]:
    """The lines without progress and times."""
    return (line for line in ended.lines if " answers in " not in line and "%|" not in line and line.strip())


def worst(outcomes: Sequence[str]) -> str:
    for each in ("fault", "UNSEEN", "refused", "repaired"):
        if each in outcomes:
            return each
    return "without effect"


def flip_all(kind: Kind, flips: int, seed: int, every: int) -> Iterator[tuple[Path, int, str]]:
    """Flip bits in every file in turn, and yield the file, the bit and the outcome.

    Args:
        kind: what.
        flips: how many in all; each file gets at least one.
        seed: of the draw.
        every: the rare readers read one flip of so many too.
    """
    copy, files = Copy(kind.folder), kind.files()
    for reader in (*kind.readers, *kind.rare):
        kind.expected[reader] = reader()
        copy.restore()
    draw = random.Random(f"{seed} {kind.name}")
    for number in range(max(flips, len(files))):
        file = files[number % len(files)]
        bit = draw.randrange(len(copy.content[file]) * 8)
        found: list[str] = []
        for reader in (*kind.readers, *kind.rare):
            if reader in kind.rare and number % every and set(found) != {"without effect"}:
                continue
            damaged = bytearray(copy.content[file])
            damaged[bit // 8] ^= 1 << bit % 8
            file.write_bytes(damaged)
            found.append(outcome(reader(), kind.expected[reader]))
            copy.restore()
        yield file.relative_to(kind.folder), bit, worst(found)


def _state_kind(root: Path) -> Kind:
    from anymal_eval.anymal import tiny

    tiny.write(root / "tiny")
    return state_kind(root, training_data(root / "data"))


KINDS: dict[str, Callable[[Path], Kind]] = {
    "run": run_kind,
    "baseline": baseline_kind,
    "feature cache": cache_kind,
    "training state": _state_kind,
}


def campaign(
    root: Path, flips: int, seed: int, every: int = 49, names: Collection[str] = tuple(KINDS)
) -> dict[str, Counter[str]]:
    """Outcomes by kind; also the key ``files`` with how many files a kind holds.

    Args:
        root: an empty folder.
        flips: how many, an equal share of them in each kind.
        seed: of the draw.
        every: the commands that take long read one flip of so many too.
        names: of the kinds.
    """
    os.environ["ANYMAL_EVAL_CACHE"] = str(root / "cache")
    found = {}
    for name in names:
        kind = KINDS[name](root)
        start, counted = time.monotonic(), Counter[str]()
        for file, bit, what in flip_all(kind, flips // len(names), seed, every):
            counted[what] += 1
            if what in ("UNSEEN", "fault", "without effect"):
                print(f"{kind.name}: {file}, bit {bit}: {what}", file=sys.stderr)
        counted["files"] = len(kind.files())
        print(f"{kind.name}: {dict(counted)}, {time.monotonic() - start:.0f} s", file=sys.stderr)
        found[kind.name] = counted
    return found


def table(found: dict[str, Counter[str]], flips: int, seed: int) -> str:
    lines = [f"`python -m benchmarks.bit_flips --flips {flips} --seed {seed} --write`", ""]
    lines += [f"| what | files | flips | {' | '.join(OUTCOMES)} |", f"|---|{'---|' * (2 + len(OUTCOMES))}"]
    total = Counter[str]()
    for name, counted in (*found.items(), ("all", total)):
        total.update(counted if name != "all" else {})
        cells = [counted["files"], sum(counted[each] for each in OUTCOMES), *(counted[each] for each in OUTCOMES)]
        lines.append(f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the table into docs/durability.md")
    given = parser.parse_args()
    gc.freeze()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as place:
        found = campaign(Path(place), given.flips, given.seed)
    text = table(found, given.flips, given.seed)
    print(text)
    if given.write:
        write_section("bit flips", text, PAGE)
    bad = sum(counted[each] for counted in found.values() for each in ("UNSEEN", "fault", "without effect"))
    sys.exit(int(bad > 0))


if __name__ == "__main__":
    main()
