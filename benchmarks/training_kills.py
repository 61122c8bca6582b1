"""Kills a training at random moments, starts it again by the same command each time, and compares its end.

    python -m benchmarks.training_kills [--kills 20] [--seed 0] [--only NAME] [--write]

A kill is a SIGKILL, a SIGTERM or a SIGUSR1, drawn like its moment; after a fourth of the latter two a SIGKILL follows
within 0.2 s, as where a cluster's time of grace is too short. A life ends at the latest with its share of the steps, so
that the training does not end before the last kill. Then every file is compared, byte by byte, with that of a training
undisturbed: the network, the last saved state, the best network, and the log without its times. Lives are processes
forked from one that has imported everything (see ``benchmarks.crashes``); fp32 on one thread of the CPU.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import shutil
import signal
import sys
import tarfile
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.crashes import Campaign, Ended, Running, Undisturbed
from benchmarks.crashes_cases import Case, Tree, timeless, tree
from benchmarks.measuring import write_section

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)
# What a signal may end with: before the handlers are there by the signal, then as an interruption, or done meanwhile.
CODES = {
    signal.SIGKILL: {-signal.SIGKILL},
    signal.SIGTERM: {-signal.SIGTERM, 130, 143},
    signal.SIGUSR1: {-signal.SIGUSR1, 130},
}
PAGE = Path(__file__).parents[1] / "docs" / "durability.md"
STATE = re.compile(r"^trained/steps/checkpoint-(\d+)(/|$)")
ALIGN = ("train", "align", "network/checkpoint")
EVERY = (
    "--learning-rate", "1e-3", "--device", "cpu", "--batch-size", "4", "--log-every", "3", "--save-every", "9",
    "--out", "trained",
)  # fmt: skip
PAIRS, SHARDS = ("--data", "pairs:network/pairs.jsonl"), ("--data", "webdataset:network/shard-{0..2}.tar")


@dataclass(frozen=True)
class Training:
    """A training, by a name for the table."""

    name: str
    steps: int
    command: tuple[str, ...]

    @property
    def case(self) -> Case:
        return Case(name=self.name, command=(*self.command, "--steps", str(self.steps), *EVERY))


TRAININGS = (
    Training("features on disk", 240, (*ALIGN, *PAIRS, "--features", "features")),
    Training("shards, read ahead by threads", 240, (*ALIGN, *SHARDS, "--threads", "2", "--prefetch", "6")),
    Training(
        "a mixture of a table and shards, two micro-batches", 160,
        (*ALIGN, *PAIRS, "--weight", "2", *SHARDS, "--weight", "1", "--accumulate", "2"),
    ),
    Training(
        "adapters with dropout, packed, grouped by length", 120,
        ("train", "instruct", "network/checkpoint", "--data", "instructions:network/instructions.jsonl", "--pack",
         "--group-by-length", "--lora-rank", "4", "--lora-alpha", "8", "--lora-dropout", "0.1"),
    ),
    Training(
        "evaluated, the best kept", 120,
        (*ALIGN, *PAIRS, "--eval-every", "7", "--eval-tasks", "vqav2", "--eval-limit", "4", "--keep-best", "vqav2"),
    ),
)  # fmt: skip


@dataclass
class Found:
    """What a killed training had, and how its end differs."""

    kills: Counter[str] = field(default_factory=Counter)
    lives: list[int] = field(default_factory=list)  # the last saved step of each
    faults: list[str] = field(default_factory=list)


def write_inputs(root: Path) -> None:
    """Shards and instructions over the pictures of ``benchmarks.crashes_cases``."""
    for number in range(3):
        with tarfile.open(root / f"shard-{number}.tar", "w") as shard:
            for place in range(number, 12, 3):
                for name, content in (
                    (f"{place}.png", (root / f"{place}.png").read_bytes()),
                    (f"{place}.txt", f"picture {place} of a shard".encode()),
                ):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))
    rows = [
        {"id": f"i{number}", "image": f"{number}.png", "instruction": "what is it " * (1 + number % 3),
         "response": f"a picture of kind {number % 3}"}
        for number in range(12)
    ]  # fmt: skip
    (root / "instructions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def compared(files: Tree) -> dict[str, bytes]:
    """The files that must be the same: of saved states only the last, since a signal saves one of its own."""
    steps = [int(match[1]) for name in files if (match := STATE.match(name))]
    return {
        name: content
        for name, content in timeless(files).items()
        if not (match := STATE.match(name)) or int(match[1]) == max(steps)
    }


def saved(root: Path) -> int:
    """The last step of which there is a state."""
    names = [each.name.rpartition("-")[2] for each in (root / "trained" / "steps").glob("checkpoint-*")]
    return max(map(int, names), default=0)


def logged(root: Path) -> int:
    """The last step in the log, also beyond the last state."""
    file = root / "trained" / "log.jsonl"
    steps = re.findall(rb'^{"step": (\d+)', file.read_bytes(), re.MULTILINE) if file.exists() else []
    return int(steps[-1]) if steps else 0


def life(case: Case, root: Path, drawn: random.Random, limit: float, most: float) -> tuple[str, Ended]:
    """Start the command and kill it: the signal's name, and how it ended.

    The moment is drawn from ``limit`` seconds; it comes sooner where step ``most`` is there, and then within 50 ms.
    """
    number = drawn.choice(SIGNALS)
    moment, last = drawn.uniform(0, limit), drawn.uniform(0, 0.05)
    grace = drawn.uniform(0, 0.2) if drawn.random() < 0.25 and number != signal.SIGKILL else None
    running = Running(case.command, root)
    until = time.monotonic() + moment
    while (now := time.monotonic()) < until and running.alive():
        if logged(root) >= most:
            until = min(until, now + last)
            most = float("inf")
        time.sleep(0.002)
    running.kill(number)
    name = number.name
    if grace is not None:
        time.sleep(grace)
        running.kill()
        name = f"{name}, then SIGKILL"
    return name, running.wait()


def killed(training: Training, known: Undisturbed, kills: int, drawn: random.Random, root: Path) -> Found:
    """Kill one training so many times, let it end, and compare."""
    shutil.copytree(known.root, root, symlinks=True)
    found, limit = Found(), known.ended.seconds / 2
    for number in range(1, kills + 1):
        name, ended = life(training.case, root, drawn, limit, training.steps * number / (kills + 1))
        found.kills[name] += 1
        found.lives.append(saved(root))
        allowed = CODES[signal.Signals[name.partition(",")[0]]] | ({-signal.SIGKILL} if "then" in name else set())
        if ended.code not in allowed or "Traceback" in ended.stderr:
            found.faults.append(f"{name}, kill {number}: exit {ended.code}: {ended.stderr[-2000:]}")
    found.faults += differences(training.case, known, root)
    shutil.rmtree(root)
    return found


def differences(case: Case, known: Undisturbed, root: Path) -> list[str]:
    """Let the training end, and compare its files with those of the undisturbed one."""
    ended = Running(case.command, root).wait()
    if ended.code:
        return [f"the last start ends with {ended.code}: {ended.stderr[-2000:]}"]
    wanted, here = compared(known.after), compared(tree(root))
    faults = [f"{name} is not there" for name in sorted(wanted.keys() - here.keys())]
    faults += [f"{name} is left over" for name in sorted(here.keys() - wanted.keys())]
    return faults + [f"{name} differs" for name in sorted(wanted.keys() & here.keys()) if wanted[name] != here[name]]


def table(results: dict[str, Found]) -> str:
    """The table as Markdown."""
    lines = ["| training | SIGKILL | SIGTERM | SIGUSR1 | then SIGKILL | files that differ |"]
    lines.append("|---|---|---|---|---|---|")
    for name, found in results.items():
        counts = [sum(count for key, count in found.kills.items() if key.startswith(each.name)) for each in SIGNALS]
        late = sum(count for key, count in found.kills.items() if "then" in key)
        lines.append(f"| {name} | {' | '.join(map(str, counts))} | {late} | {len(found.faults)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a training of the table; repeatable")
    parser.add_argument("--write", action="store_true", help="put the table into docs/durability.md")
    given = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="training-kills-"))
    results: dict[str, Found] = {}
    try:
        campaign = Campaign(scratch, given.seed)
        write_inputs(scratch / "inputs" / "network")
        for training in TRAININGS:
            if given.only and training.name not in given.only:
                continue
            known = campaign.undisturbed(training.case)
            drawn = random.Random(f"{given.seed} {training.name}")
            start = time.monotonic()
            results[training.name] = found = killed(training, known, given.kills, drawn, scratch / training.name[:8])
            print(
                f"{training.name}: undisturbed {known.ended.seconds:.1f} s, killed {time.monotonic() - start:.1f} s; "
                f"saved steps after each kill: {found.lives}", *found.faults, sep="\n  ", file=sys.stderr, flush=True,
            )  # fmt: skip
            shutil.rmtree(known.root)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(table(results))
    if given.write:
        how = f"`python -m benchmarks.training_kills --kills {given.kills} --seed {given.seed} --write`"
        write_section("training kills", f"{how}\n\n{table(results)}", PAGE)
    raise SystemExit(any(found.faults for found in results.values()))


if __name__ == "__main__":
    main()
