"""Eleven checks of what only a GPU can show, each in a process of its own, with random weights and fixed seeds.

    python -m benchmarks.gpu [--only NAME ...] [--budget 570] [--write]
    python -m benchmarks.gpu --device cpu --tiny      the same code in small; its figures mean nothing
    python -m benchmarks.gpu_wheels FOLDER            what a machine without a package index needs beside torch

A check prints one line of JSON as soon as it ends, whatever becomes of the others: its figures with their bounds, or
why it ended without them: an error, memory that ran out, its time. At the end comes the table, which ``--write`` puts
into ``docs/speed.md``; figures of a processor are never written. ``--budget`` is the time of all checks: those that do
not fit into the rest are left out. TF32 is off. Exit code 1 where there is no GPU, a check did not end, or a bound is
not met; bounds do not count with ``--tiny``.
"""

import argparse
import importlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measuring import write_section

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
START_S = 30  # of a process: imports, and the device
MARK = "check: "


@dataclass(frozen=True)
class Check:
    """A check: its function, and the seconds that it should take on a GPU."""

    name: str
    function: str
    seconds: int


CHECKS = (
    Check("parity", "gpu_numbers.parity", 45),
    Check("masked attention", "gpu_numbers.masked_attention", 20),
    Check("quantised gradients", "gpu_numbers.quantised_gradients", 40),
    Check("loading", "gpu_memory.loading", 90),
    Check("70B-shaped training", "gpu_memory.seventy_billion", 120),
    Check("checkpointing", "gpu_numbers.recomputation", 15),
    Check("sharing and batching", "gpu_numbers.sharing", 45),
    Check("speed", "gpu_speed.speed", 100),
    Check("training loop", "gpu_speed.training_loop", 50),
    Check("out of memory", "gpu_memory.out_of_memory", 30),
    Check("compiled decoding", "gpu_compiled.compiled_decoding", 60),
)


@dataclass
class Outcome:
    """How a check ended.

    Attributes:
        state: ``met``, ``not met``, ``failed``, ``out of memory``, ``too long`` or ``left out``.
        figures: as :class:`benchmarks.gpu_place.Figure`, each with ``met``.
        machine: the device.
    """

    check: str
    state: str
    seconds: float = 0.0
    figures: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    machine: str = ""


def here(check: Check, device: str, small: bool, rounds: int) -> Outcome:
    """Run a check in this process."""
    import torch

    from benchmarks.gpu_place import Place

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    machine = torch.cuda.get_device_name() if device == "cuda" else "a processor"
    module, _, function = check.function.partition(".")
    start = time.monotonic()
    found: list[dict[str, Any]] = []
    state, error = "met", ""
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        try:
            measure = getattr(importlib.import_module(f"benchmarks.{module}"), function)
            figures = measure(Place(device, small, Path(folder), rounds))
            found = [asdict(figure) | {"met": figure.met} for figure in figures]
            state = "met" if all(each["met"] for each in found) else "not met"
        except Exception as raised:  # noqa: BLE001  # the next checks run all the same
            is_memory = isinstance(raised, torch.OutOfMemoryError) or type(raised).__name__ == "OutOfMemory"
            state, error = "out of memory" if is_memory else "failed", f"{type(raised).__name__}: {raised}"
    return Outcome(check.name, state, round(time.monotonic() - start, 1), found, error[:2000], machine)


def apart(check: Check, given: argparse.Namespace, left: float) -> Outcome:
    """Run a check in a process of its own, for at most twice its time."""
    limit = min(2 * check.seconds + START_S, left)
    if left < check.seconds + START_S:
        return Outcome(check.name, "left out", error=f"{left:.0f} s are left of --budget {given.budget:g}")
    command = [sys.executable, "-m", "benchmarks.gpu", "--here", "--only", check.name, "--device", given.device,
               "--rounds", str(given.rounds), *(["--tiny"] if given.tiny else [])]  # fmt: skip
    start = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return Outcome(check.name, "too long", limit, error=f"it did not end within {limit:.0f} s")
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not lines:
        tail = done.stderr.strip().splitlines()[-3:]
        spent = round(time.monotonic() - start, 1)
        return Outcome(check.name, "failed", spent, error=f"exit {done.returncode}: {' '.join(tail)}"[:2000])
    return Outcome(**json.loads(lines[-1].removeprefix(MARK)))


def bound(figure: dict[str, Any]) -> str:
    """A figure's requirement, as text."""
    if figure["least"] is not None:
        return f"at least {figure['least']:g}"
    return f"at most {figure['most']:g}" if figure["most"] is not None else ""


def table(outcomes: Sequence[Outcome]) -> str:
    """The table as Markdown."""
    lines = ["| check | what | measured | required | met |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        if outcome.error:
            text = " ".join(outcome.error.split()).replace("|", "/")[:200]
            lines.append(f"| {outcome.check} | {outcome.state}: {text} | | | no |")
        for number, figure in enumerate(outcome.figures):
            first = f"{outcome.check}, {outcome.seconds:.0f} s" if number == 0 else ""
            value = "-" if math.isnan(figure["value"]) else f"{figure['value']:,.4g} {figure['unit']}".strip()
            met = ("yes" if figure["met"] else "NO") if bound(figure) else ""
            lines.append(f"| {first} | {figure['what']} | {value} | {bound(figure)} | {met} |")
    return "\n".join(lines)


def report(outcomes: Sequence[Outcome], given: argparse.Namespace) -> str:
    """The table below the machine."""
    machine = next((outcome.machine for outcome in outcomes if outcome.machine), "an unknown device")
    chosen = "".join(f" --only '{name}'" for name in given.only or ())
    meaning = ", whose figures mean nothing here" if given.device == "cpu" else ""
    return (
        f"`python -m benchmarks.gpu{chosen} --write`; {machine}{meaning}; random weights, TF32 off; speeds are medians "
        f"of {given.rounds} rounds.\n\n{table(outcomes)}"
    )


def parse() -> argparse.Namespace:
    """The options; exit code 2 where they contradict each other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes")
    parser.add_argument("--only", action="append", choices=[check.name for check in CHECKS], help="repeatable")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=math.inf, help="seconds of all checks")
    parser.add_argument("--write", action="store_true", help="put the table into docs/speed.md")
    parser.add_argument("--here", action="store_true", help="one check, in this process")
    given = parser.parse_args()
    if given.write and (given.device == "cpu" or given.tiny):
        parser.error("--write: figures of a processor, or of small shapes, are not written")
    return given


def main() -> int:
    given = parse()
    chosen = [check for check in CHECKS if given.only is None or check.name in given.only]
    if given.here:
        print(MARK + json.dumps(asdict(here(chosen[0], given.device, given.tiny, given.rounds))))
        return 0
    if given.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            said = "torch finds no GPU; --device cpu --tiny runs the same code in small"
            print(f"benchmarks.gpu: {said}", file=sys.stderr)
            return 1
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    end, outcomes = time.monotonic() + given.budget, []
    for check in chosen:
        outcomes.append(apart(check, given, end - time.monotonic()))
        print(json.dumps(asdict(outcomes[-1])), flush=True)
    text = report(outcomes, given)
    print(text)
    if given.write:
        write_section("gpu", text, PAGE)
    good = ("met", "not met") if given.tiny else ("met",)
    return int(any(outcome.state not in good for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
