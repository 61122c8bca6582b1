"""The feature cache at size: seconds and memory to open it, and one read against a plain memory-mapped load.

    python -m benchmarks.feature_cache --entries 200000 --out FOLDER

Three parts, each in one run. Reads: entries of 576 x 1024 in bf16, read in a random order from shards, first (each
compared with its checksum), and again; beside them the same tensors by safetensors, memory-mapped and copied out of the
map, which every use of them does sooner or later. The files are in the page cache. Index: so many small entries, stored
and packed as a run does, then opened by another process that reads one. Files: how many the folder then holds.
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

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from anymal_eval.anymal.features import FeatureCache

SHAPE = (576, 1024)
LARGE = 300  # entries of that shape
OPENS = """
import json, resource, sys, time
from pathlib import Path
import torch
from anymal_eval.anymal.features import FeatureCache
before = resource.getrusage(resource.RUSAGE_SELF)
start = time.perf_counter()
cache = FeatureCache(Path(sys.argv[1]))
assert cache.get(sys.argv[2]) is not None
after = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "first read, seconds": time.perf_counter() - start, "CPU seconds": after.ru_utime - before.ru_utime,
    "MB": (after.ru_maxrss - before.ru_maxrss) / 1024,
}))
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


def reads(folder: Path) -> dict[str, float]:
    """One read of a large entry, in milliseconds of CPU."""
    cache, keys = FeatureCache(folder), [key(number) for number in range(LARGE)]
    for each in keys:
        cache.put(each, torch.randn(SHAPE).bfloat16())
    single = folder / keys[0][:2] / f"{keys[0]}.safetensors"
    found = {"file of one entry, first": milliseconds(FeatureCache(folder).get, keys)}
    assert single.exists()
    found["file of one entry, by safetensors"] = milliseconds(
        lambda each: load_file(folder / each[:2] / f"{each}.safetensors")["features"].clone(), keys
    )
    cache.pack()
    random.Random(0).shuffle(keys)
    maps: dict[str, Any] = {}
    for shard in (folder / "shards").iterdir():
        opened: Any = safe_open(shard, framework="pt")
        maps |= dict.fromkeys(opened.keys(), opened)
    cache = FeatureCache(folder)
    cache.get(keys[0])
    found["shard, first"] = milliseconds(cache.get, keys)
    again, plain = [], []
    for _ in range(5):  # interleaved
        plain.append(milliseconds(lambda each: maps[each].get_tensor(each).clone(), keys))
        again.append(milliseconds(cache.get, keys))
    found["shard, again"], found["memory-mapped"] = min(again), min(plain)
    found["ratio, first"] = found["shard, first"] / found["memory-mapped"]
    found["ratio, again"] = found["shard, again"] / found["memory-mapped"]
    return found


def index(folder: Path, entries: int) -> dict[str, float]:
    """Storing, packing and opening many small entries."""
    cache, start = FeatureCache(folder), time.process_time()
    for number in range(entries):
        cache.put(key(number), torch.full((4, 8), float(number)))
    stored = time.process_time() - start
    cache.pack()
    done = subprocess.run([sys.executable, "-c", OPENS, folder, key(7)], capture_output=True, text=True, check=True)
    found = {"entries": entries, "stored and packed, CPU ms each": stored / entries * 1e3, **json.loads(done.stdout)}
    found["files"] = sum(1 for path in folder.rglob("*") if path.is_file())
    assert len(cache) == entries
    return found


def main() -> int:
    """Measure, and print a line of JSON for each part."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--out", type=Path, help="where the caches are written; a temporary folder by default")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=given.out) as root:
        print(json.dumps(reads(Path(root) / "large")), flush=True)
        print(json.dumps(index(Path(root) / "small", given.entries)), flush=True)
        print(json.dumps({"peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
