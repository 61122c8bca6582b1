"""Memory, time and state of more than 200 hostile media, by kind: ``python -m benchmarks.hostile_media``.

Each kind is read in a process of its own, as models read it: sounds at 48 kHz, 8 frames of clips. Shown are the growth
of this process over what it held before, and the peak of its decoder processes, which start with 50 MB. Then one run
over all of them must answer every request with an error row and exit with 2.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from anymal_eval.errors import MediaError
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Media
from tests.attacks.hostile_media import attacks, lay
from tests.attacks.reading_model import read

ROOT = Path(__file__).parents[1]
MB = 1 << 20


class Peaks:
    """The peaks of this process and of all decoders, looked at every few milliseconds."""

    def __init__(self, reader: MediaReader) -> None:
        self._reader, self._ended = reader, threading.Event()
        self.own, self.decoder = 0, 0
        self._before = peak("self")
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.003):
            self.own = peak("self") - self._before
            for worker in list(self._reader._pool._all):  # the processes themselves are nobody else's matter
                self.decoder = max(self.decoder, peak(worker.process.pid))

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def peak(process: object) -> int:
    """The peak resident memory of a process in bytes; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def measure(folder: Path) -> dict[str, Any]:
    """Read all media of a task's folder in this process."""
    import anymal_eval.media.imu
    import anymal_eval.media.video  # noqa: F401  # imports do not count

    states: Counter[str] = Counter()
    slowest, started = (0.0, ""), time.perf_counter()
    kind = folder.name.removeprefix("hostile_")
    with MediaReader(timeout_s=30, processes=1) as reader:
        peaks = Peaks(reader)
        for line in (folder / "test.jsonl").read_text().splitlines():
            row = json.loads(line)
            media = Media(kind=kind, uri=str(folder / row[kind]), start_s=row.get("start_s"), end_s=row.get("end_s"))  # type: ignore[arg-type]
            start = time.perf_counter()
            try:
                read(reader, media)
                states["read"] += 1
                print("read:", row["id"], file=sys.stderr)
            except MediaError as error:
                states[error.kind] += 1
            slowest = max(slowest, (time.perf_counter() - start, row["id"]))
        peaks.end()
    return {
        "own": peaks.own // MB,
        "decoder": peaks.decoder // MB,
        "seconds": time.perf_counter() - started,
        "slowest": slowest,
        "states": dict(states),
    }


def main() -> int:
    """Print the table; 0 if every medium was an error row and no process took a gigabyte."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="measure the media of one folder, in this process")
    given = parser.parse_args()
    if given.folder:
        print(json.dumps(measure(given.folder)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tasks = lay(folder, attacks(folder))
        print(
            "| kind | media | truncated | other errors | read | growth here | peak of a decoder | seconds | slowest |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        good = True
        for task in tasks:
            good &= show(task, measured(folder / "data" / task))
        return 0 if run(folder, tasks) and good else 1


def measured(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.hostile_media", "--folder", str(folder)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def show(task: str, found: dict[str, Any]) -> bool:
    states, (longest, name) = found["states"], found["slowest"]
    count, truncated, passed = sum(states.values()), states.get("truncated", 0), states.get("read", 0)
    others = count - truncated - passed
    print(
        f"| {task.removeprefix('hostile_')} | {count} | {truncated} | {others} | {passed} | {found['own']} MB | "
        f"{found['decoder']} MB | {found['seconds']:.1f} | {name}, {longest:.1f} s |"
    )
    return bool(passed == 0 and found["own"] < 1024 and found["decoder"] < 1024)


def run(folder: Path, tasks: list[str]) -> bool:
    """Whether a run over all of them is complete, with an error for each."""
    command = [
        sys.executable, "-m", "anymal_eval", "run", "--tasks", ",".join(tasks), "--tasks-dir", str(folder / "tasks"),
        "--model", "tests.attacks.reading_model:Reads", "--data-root", str(folder / "data"),
        "--out", str(folder / "run"),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    rows = [
        json.loads(line)
        for task in tasks
        for line in (folder / "run" / task / "responses.jsonl").read_text().splitlines()
    ]
    failed = sum(row["failure"] is not None for row in rows)
    print(f"\nOne run over all of them: {len(rows)} rows, {failed} of them errors; exit code {done.returncode}.")
    return done.returncode == 2 and failed == len(rows)


if __name__ == "__main__":
    raise SystemExit(main())
