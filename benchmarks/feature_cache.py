"""The feature cache at size: reads against a plain memory-mapped load, and what 200,000 entries cost.

    python -m benchmarks.feature_cache --entries 200000 --out FOLDER --write

One folder: so many small entries (16 x 64 in bf16), stored and packed as a run does it, and 300 of 576 x 1024 in bf16.
It is then opened by other processes. Reads: the large entries in a random order, first (each compared with its
checksum) and again; beside them the same tensors by safetensors, memory-mapped and copied out of the map, which every
use of them does sooner or later. The files are in the page cache. Rounds are interleaved, and each opens all files
anew.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from anymal_eval.anymal.features import FeatureCache
from benchmarks.measuring import ratio, write_section

SPEED = Path(__file__).parents[1] / "docs" / "speed.md"
SHAPE, LARGE = (576, 1024), 300
SMALL = (16, 64)
ROUNDS = 7
OPENS = """
import json, resource, sys, time
from pathlib import Path
from anymal_eval.anymal.features import FeatureCache
def used(): return resource.getrusage(resource.RUSAGE_SELF)
def resident(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
before, memory = used(), resident()
cache = FeatureCache(Path(sys.argv[1]))
assert cache.get(sys.argv[2]) is not None
after = used()
print(json.dumps([after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, resident() - memory]))
"""


def key(number: int) -> str:
    """A key that looks like a digest: spread over the folders."""
    return f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95 % 2**256:064x}"


def milliseconds(read: Callable[[str], object], keys: list[str]) -> float:
    """CPU milliseconds of a read."""
    start = time.process_time()
    for each in keys:
        read(each)
    return (time.process_time() - start) / len(keys) * 1e3


def opened_maps(folder: Path) -> dict[str, Any]:
    """Every key with its memory-mapped file."""
    maps: dict[str, Any] = {}
    for shard in (folder / "shards").iterdir():
        opened: Any = safe_open(shard, framework="pt")
        maps |= dict.fromkeys(opened.keys(), opened)
    return maps


def reads(folder: Path, keys: list[str]) -> list[str]:
    """Rows for a read of a large entry from shards, in milliseconds of CPU."""
    random.Random(0).shuffle(keys)
    ours: dict[str, list[float]] = {"first": [], "again": []}
    plain: dict[str, list[float]] = {"first": [], "again": []}
    for number in range(ROUNDS):
        maps, cache = opened_maps(folder), FeatureCache(folder)
        assert key(1) in cache  # the index is loaded
        for when in ("first", "again"):
            ways = [
                (plain, lambda each, maps=maps: maps[each].get_tensor(each).clone()),
                (ours, cache.get),
            ]
            for times, read in ways[:: 1 if number % 2 else -1]:
                times[when].append(milliseconds(read, keys))
        assert cache.counts.hits == 2 * len(keys)
    named = {"first": "first in a process, compared with its checksum", "again": "again"}
    return [
        f"| one read, {named[when]}; beside it the plain load | {np.median(ours[when]):.3f} ms, "
        f"{np.median(plain[when]):.3f} ms, **{ratio(ours[when], plain[when]):.2f}x** | 1.3x |"
        for when in ours
    ]


def singles(folder: Path) -> list[str]:
    """Rows for entries that are not packed yet."""
    cache, keys = FeatureCache(folder), [key(number) for number in range(100)]
    for each in keys:
        cache.put(each, torch.randn(SHAPE).bfloat16())
    files = {each: folder / each[:2] / f"{each}.safetensors" for each in keys}
    ours: dict[str, list[float]] = {"first, SHA-256": [], "again": []}
    plain = []
    for _ in range(ROUNDS):
        cache = FeatureCache(folder)
        plain.append(milliseconds(lambda each: load_file(files[each])["features"].clone(), keys))
        for times in ours.values():
            times.append(milliseconds(cache.get, keys))
    return [
        f"| one read from a file of its own (at most 512), {when}; by safetensors | {np.median(times):.3f} ms, "
        f"{np.median(plain):.3f} ms, {ratio(times, plain):.2f}x | |"
        for when, times in ours.items()
    ]


def process(*command: object) -> tuple[str, float, float]:
    """What a process prints, its CPU seconds, and its seconds."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, cpu, time.perf_counter() - start


def fill(folder: Path, entries: int) -> list[str]:
    """Store and pack small entries as a run does: the time of each."""
    cache, start = FeatureCache(folder), time.process_time()
    for number in range(entries):
        cache.put(key(number), torch.full(SMALL, float(number % 251)).bfloat16())
        if number % 10_000 == 0:
            print(f"  {number:,} stored, {time.process_time() - start:.0f} s of CPU", file=sys.stderr, flush=True)
    cache.pack()
    return [f"| to store and pack an entry, CPU | {(time.process_time() - start) / entries * 1e3:.2f} ms | |"]


def at_size(folder: Path, entries: int) -> list[str]:
    """The rows for a folder of that many entries."""
    rows = fill(folder, entries)
    cache, keys = FeatureCache(folder), [key(entries + number) for number in range(LARGE)]
    for each in keys:
        cache.put(each, torch.randn(SHAPE).bfloat16())
    cache.pack()
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_blocks * 512 for path in files)
    rows.append(f"| files; bytes on disk | {len(files):,}; {size / 1e6:,.0f} MB | |")
    rows += reads(folder, keys)
    opened = [json.loads(process("-c", OPENS, folder, key(number))[0]) for number in range(3)]
    cpu, memory = np.median(opened, axis=0)
    rows.append(
        f"| to open it and read one entry, in a process of its own, CPU; memory | {cpu:.2f} s; {memory:,.0f} MB | |"
    )
    told, cpu, seconds = process("-m", "anymal_eval", "features", "verify", "--features", folder)
    assert told.startswith(f"{entries + LARGE} entries"), told
    rows.append(f"| `features verify` of all, whole process, CPU (wall) | {cpu:.1f} s ({seconds:.1f} s) | |")
    return rows


def main() -> int:
    """Measure, print the table, and write it into docs/speed.md."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--out", type=Path, help="where the caches are written; a temporary folder by default")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=given.out) as root:
        rows = [*at_size(Path(root) / "packed", given.entries), *singles(Path(root) / "single")]
    head = (
        f"`python -m benchmarks.feature_cache --entries {given.entries} --write`: {given.entries:,} entries of "
        f"16 x 64 in bf16 and {LARGE} of 576 x 1024, one core, the files in the page cache; reads are CPU milliseconds "
        f"of the large ones, medians of {ROUNDS} interleaved rounds."
    )
    text = "\n".join([head, "", "| what | measured | at most |", "|---|---|---|", *rows])
    print(text)
    if given.write:
        write_section("feature cache", text, SPEED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
