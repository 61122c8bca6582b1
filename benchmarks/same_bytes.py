"""Whether two versions of the package give the same bytes: a fixed set of commands, run by each as a user types them.

    python -m benchmarks.same_bytes record --checkout ../before --out bytes/before
    python -m benchmarks.same_bytes record --checkout . --out bytes/after
    python -m benchmarks.same_bytes compare bytes/before bytes/after

``record`` keeps what the commands wrote and printed under OUT/<case>/. Every run is scored again, which must change no
file. The inputs (tiny checkpoints, official layouts, training pairs) are made once, by the helpers of the first
checkout's tests, in ``checkpoints`` beside OUT; later records use the same files. The golden data are those of
``ANYMAL_EVAL_GOLDEN`` or ``shared/golden`` beside the checkout.

``compare`` lists every file as same or differs and exits with 1 where one differs. Messages on stderr are left out.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.same_bytes_cases import INPUTS, cases

SCORED = ("results.json", "table.md", "scores.jsonl", "statistics.npz")
# adapter_config.json is left out: peft writes its target modules in the order of a set.
KEPT = {*SCORED, "table.csv", "table.tex", "responses.jsonl", "manifest.json", "training.json", "config.json",
        "position_0.json", "check.json", "check.md"}  # fmt: skip
# What these files also hold are versions, the state of the checkout and paths: they may differ.
PARTS = {
    "manifest.json": ("identity", "tasks"),
    "training.json": ("identity", "data", "trained", "options", "finished", "unreadable"),
}


@dataclass(frozen=True)
class Place:
    """The checkout that runs, the folder that its commands run in, and the folder of what is kept."""

    checkout: Path
    work: Path
    out: Path

    def call(self, arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """The command line of the checkout, on one core, without a GPU and without a network."""
        environment = self.environment()
        if self.out.name != "golden":
            environment["PATH"] = ""  # no Java: METEOR takes ten seconds to start, and the golden cases have it
        command = [sys.executable, "-m", "anymal_eval", *arguments]
        return subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, check=False)

    def environment(self) -> dict[str, str]:
        return {
            **os.environ, "PYTHONPATH": str(self.checkout), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
            "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "ANYMAL_EVAL_CACHE": str(self.work.parent / "cache"),
        }  # fmt: skip


def record(checkout: Path, out: Path, inputs: Path, only: str) -> int:
    """Run every case; return 1 where scoring again changed a file."""
    if not (inputs / "cases.json").is_file():
        make_inputs(checkout, inputs)
    changed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, commands in ((name, found) for name, found in cases(inputs).items() if only in name):
            place = Place(checkout, Path(folder) / name, out / name)
            place.work.mkdir()
            place.out.mkdir(parents=True)  # an older record is not written over
            for number, command in enumerate(commands):
                changed |= perform(place, number, command)
            keep(place)
    return int(changed)


def make_inputs(checkout: Path, inputs: Path) -> None:
    golden = Path(os.environ.get("ANYMAL_EVAL_GOLDEN") or checkout.parent / "shared" / "golden")
    print(f"making {inputs}", flush=True)
    inputs.mkdir(parents=True)
    environment = Place(checkout, inputs / "none", inputs).environment()
    subprocess.run([sys.executable, "-c", INPUTS, inputs, golden], cwd=checkout, env=environment, check=True)


def perform(place: Place, number: int, command: Sequence[str]) -> bool:
    """Run one command and keep what it printed; a run is also scored again.

    Returns:
        Whether scoring again changed a file.
    """
    text = printed(place, command)
    name = "-".join(word for word in (command[0], option(command, "--out")) if word)
    root = place.work / (option(command, "--out") or "none")
    changed: list[str] = []
    if command[0] == "run" and (root / "results.json").is_file():
        before = scored(root)
        data = ["--data-root", option(command, "--data-root")] if "--data-root" in command else []
        text += printed(place, ["score", root.name, *data])
        changed = [file for file, digest in scored(root).items() if before.get(file) != digest]
        note = f"changed by scoring again: {', '.join(changed) or 'nothing'}\n"
        text += note
        print(f"  {note}", end="", flush=True)
    (place.out / f"{number:02}-{name}.txt").write_text(text, encoding="utf-8")
    return bool(changed)


def printed(place: Place, command: Sequence[str]) -> str:
    """The command, its exit code and its stdout."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = place.call(command)
    computed = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    what = f"{place.out.name}: {command[0]} {option(command, '--out') or command[1]}: exit {done.returncode}"
    print(f"{what}, {time.perf_counter() - start:.1f} s, {computed:.1f} s of CPU", flush=True)
    if done.returncode:
        print(f"  {done.stderr.strip()[-300:]}", flush=True)
    text = f"$ {' '.join(command)}\nexit {done.returncode}\n{done.stdout}\n"
    return text.replace(str(place.work.parent), "WORK").replace(str(place.checkout), "CHECKOUT")


def option(command: Sequence[str], name: str) -> str:
    """The value that a command gives to an option; empty where it does not give it."""
    return command[command.index(name) + 1] if name in command else ""


def scored(root: Path) -> dict[str, str]:
    return {str(file.relative_to(root)): sha256(file) for file in sorted(root.rglob("*")) if file.name in SCORED}


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def keep(place: Place) -> None:
    """Copy what is compared; of weights and galleries the digests alone, of training logs all but the times."""
    digests = []
    for file in sorted(file for file in place.work.rglob("*") if file.is_file()):
        name = file.relative_to(place.work)
        if file.suffix == ".safetensors" or "report" in name.parts:
            digests.append(f"{sha256(file)}  {name}\n")
        elif file.name in KEPT or file.name == "log.jsonl" or "export" in name.parts:
            target = place.out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(without_times(file) if file.name == "log.jsonl" else file.read_bytes())
    (place.out / "sha256.txt").write_text("".join(digests), encoding="utf-8")


def without_times(log: Path) -> bytes:
    found = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    kept = [{key: value for key, value in row.items() if key != "seconds"} for row in found]
    return "".join(json.dumps(row) + "\n" for row in kept).encode()


def compare(one: Path, other: Path) -> int:
    """Print same or differs for every file; return 1 where one differs."""
    names = sorted({str(file.relative_to(root)) for root in (one, other) for file in root.rglob("*") if file.is_file()})
    differing = 0
    for name in names:
        found = difference(one / name, other / name)
        differing += bool(found)
        print(f"{'differs' if found else 'same   '}  {name}{f': {found}' if found else ''}")
    print(f"\n{len(names) - differing} of {len(names)} files are the same")
    return int(differing > 0 or not names)


def difference(one: Path, other: Path) -> str:
    """What differs between two versions of a file, in words; empty where nothing does."""
    for here, there in ((one, other), (other, one)):
        if not here.is_file():
            return f"only in {there.parent}"
    if one.read_bytes() == other.read_bytes():
        return ""
    if one.name in PARTS:
        before, after = (json.loads(file.read_text(encoding="utf-8")) for file in (one, other))
        return ", ".join(key for part in PARTS[one.name] for key in keys(before.get(part), after.get(part), part))
    if one.name == "responses.jsonl":
        return responses(*(rows(file) for file in (one, other)))
    if one.suffix == ".npz":
        with np.load(one) as before, np.load(other) as after:
            return arrays(dict(before), dict(after)) or "the same arrays, other bytes"
    before, after = (file.read_text(encoding="utf-8", errors="replace").splitlines() for file in (one, other))
    for number, (left, right) in enumerate(zip(before, after, strict=False), 1):
        if left != right:
            return f"line {number}: {left[:100]!r} -> {right[:100]!r}"
    return f"{len(before)} -> {len(after)} lines"


def keys(before: Any, after: Any, path: str) -> Iterator[str]:
    """The paths of the values that differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from keys(before.get(key, "absent"), after.get(key, "absent"), f"{path}.{key}")
    elif before != after:
        yield f"{path}: {str(before)[:60]} -> {str(after)[:60]}"


def rows(file: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}


def responses(before: dict[str, Any], after: dict[str, Any]) -> str:
    if before.keys() != after.keys():
        return f"{len(before.keys() ^ after.keys())} rows are only in one"
    pairs = [(before[name], after[name]) for name in before if before[name] != after[name]]
    if not pairs:
        return "only the order of rows or keys"
    fields = sorted({key for old, new in pairs for key in old.keys() | new.keys() if old.get(key) != new.get(key)})
    text = f"{len(pairs)} of {len(before)} rows in {', '.join(fields)}"
    scores = [(old.get("option_scores") or [], new.get("option_scores") or []) for old, new in pairs]
    if fields == ["option_scores"] and all(len(old) == len(new) for old, new in scores):
        text += f", by at most {max(float(np.abs(np.subtract(old, new)).max()) for old, new in scores):.3g}"
    return text


def arrays(before: dict[str, Any], after: dict[str, Any]) -> str:
    changed = [f"{name} is only in one" for name in sorted(before.keys() ^ after.keys())]
    for name in sorted(before.keys() & after.keys()):
        old, new = before[name], after[name]
        if old.shape != new.shape:
            changed.append(f"{name} {old.shape} -> {new.shape}")
        elif not np.array_equal(old, new, equal_nan=True):
            changed.append(f"{name} by at most {np.abs(old - new).max():.3g}")
    return ", ".join(changed)


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = reader.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("--checkout", type=Path, required=True, help="The version that runs.")
    recording.add_argument("--out", type=Path, required=True)
    recording.add_argument("--checkpoints", type=Path, help="The inputs; by default OUT/../checkpoints.")
    recording.add_argument("--only", default="", help="Cases with this in their name.")
    comparing = commands.add_parser("compare")
    comparing.add_argument("folders", type=Path, nargs=2)
    given = reader.parse_args()
    if given.command == "compare":
        return compare(*given.folders)
    inputs = given.checkpoints or given.out.parent / "checkpoints"
    return record(given.checkout.resolve(), given.out.resolve(), inputs.resolve(), given.only)


if __name__ == "__main__":
    sys.exit(main())
