"""The engine at size: a million requests to ``constant``, and the memory that it takes beyond the requests.

    python -m benchmarks.engine_size [--requests 1000000] [--write]

The caller holds the requests, which are made before: texts alone, and five questions about each picture. Measured are
resident memory after the first batch, at the end, and at most (before the first batch, while the order is made), and
CPU seconds; the same for a tenth as many requests, which shows what depends on their number.
"""

import argparse
import gc
import itertools
import json
import multiprocessing
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anymal_eval.engine import EngineSettings
from anymal_eval.engine.local import run_requests
from anymal_eval.models import constant
from anymal_eval.records import Decoding, Media, Message, Request, Response
from benchmarks.measuring import write_section

MB = 1.024e-3  # a KiB, in which the system counts
EVERY = 2048  # answers between two looks at the memory
TEXT = "What is in the picture?"


def resident() -> float:
    """Resident memory of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * MB for line in lines if line.startswith("VmRSS"))


def requests(count: int, *, media: bool) -> list[Request]:
    """Questions; with ``media`` five about each picture."""
    decoding = Decoding()
    made = []
    for number in range(count):
        if number % 5 == 0:
            parts = (Media(kind="image", uri=f"/pictures/{number // 5}.jpg"), TEXT) if media else (TEXT,)
        made.append(Request(id=str(number), messages=(Message(role="user", parts=parts),), decoding=decoding))
    return made


def measure(count: int, media: bool) -> dict[str, float]:
    """Answer that many requests in this process."""
    made = requests(count, media=media)
    gc.collect()
    before, sizes, done = resident(), [], 0

    def sink(batch: Sequence[Response]) -> None:
        nonlocal done
        if not done or done // EVERY != (done + len(batch)) // EVERY:
            sizes.append(resident() - before)
        done += len(batch)

    start = resource.getrusage(resource.RUSAGE_SELF)
    run_requests(made, constant.load(constant.Options()), sink, EngineSettings())
    end = resource.getrusage(resource.RUSAGE_SELF)
    if done != count:
        raise SystemExit(f"{done} of {count} requests were answered")
    return {
        "requests": count,
        "first": sizes[0],
        "highest": end.ru_maxrss * MB - before,
        "last": sizes[-1],
        "cpu": end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime,
    }


def _child(count: int, media: bool, out: Any) -> None:
    out.send(json.dumps(measure(count, media)))


def main() -> None:
    """Measure, print the table, and write it into the README."""
    parser = argparse.ArgumentParser(description="The engine at size.")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    lines = [
        "`python -m benchmarks.engine_size --write`; MB beyond the requests themselves.",
        "",
        "| requests | after the first batch | at the end | at most | CPU seconds |",
        "|---|---|---|---|---|",
    ]
    context = multiprocessing.get_context("spawn")  # memory that another size took must not count
    for count, media in itertools.product((given.requests // 10, given.requests), (False, True)):
        ours, theirs = context.Pipe()
        child = context.Process(target=_child, args=(count, media, theirs))
        child.start()
        found = json.loads(ours.recv())
        child.join()
        memory = " | ".join(f"{found[key]:.0f}" for key in ("first", "last", "highest"))
        what = "with media" if media else "texts"
        lines.append(f"| {found['requests']:,}, {what} | {memory} | {found['cpu']:.1f} |")
    text = "\n".join(lines)
    print(text)
    if given.write:
        write_section("engine at size", text)


if __name__ == "__main__":
    main()
