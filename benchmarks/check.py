"""Times the statistics of a check: resampled CIDEr, and a whole check of thirteen tasks at their official sizes.

    python benchmarks/check.py [--golden DIR] [--keep DIR]

CIDEr: 10,000 bootstrap draws over the 5,000 images of the COCO Karpathy test split, for PureT's captions where the
golden data are available, else for synthetic scores of the same shape: the value's interval and the paired difference
of two runs. The check: two synthetic runs of thirteen tasks, written as run folders (scores, statistics, results,
digests), then ``anymal-eval check`` in a process of its own, from start to end. One example in ten changes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from anymal_eval import catalog, metrics  # noqa: E402
from anymal_eval.codec import write_json_pretty  # noqa: E402
from anymal_eval.statistics import resample  # noqa: E402
from anymal_eval.statistics.paired import compare  # noqa: E402
from anymal_eval.store import digests, manifest  # noqa: E402
from anymal_eval.store.atomic import write_atomic  # noqa: E402
from anymal_eval.store.folder import RunFolder  # noqa: E402
from anymal_eval.task import Task  # noqa: E402

DRAWS = 10_000
# Examples, and how many of them share an image or clip on average.
SIZES = {
    "audiocaps": (975, 1), "coco": (5_000, 1), "hateful_memes": (1_000, 1), "how2qa": (3_115, 3),
    "imu_caption": (1_000, 1), "mmit_cap": (1_000, 1), "nextqa": (8_564, 9), "okvqa": (5_046, 1),
    "scienceqa": (4_241, 1), "star": (7_098, 8), "textvqa": (5_000, 2), "vizwiz": (4_319, 1), "vqav2": (214_354, 5),
}  # fmt: skip
CHANGED = 0.1


def cider(golden: Path) -> None:
    """Print the seconds of 10,000 draws over COCO's 5,000 images."""
    metric = metrics.get("cider")
    file = golden / "coco" / "expected_puret.json"
    if file.is_file():
        items = json.loads(file.read_text(encoding="utf-8"))["per_item"].values()
        before = np.array([[item["cider"]] for item in items])
        origin = "PureT's captions"
    else:
        before, origin = np.random.default_rng(0).gamma(2.0, 0.7, (5_000, 1)), "made-up scores"
    after = before.copy()
    after[:500] = before[:500][::-1]
    clusters = [str(number) for number in range(len(before))]
    codes, count = resample.cluster_codes(clusters)
    start = time.perf_counter()
    drawn = [resample.reduced(metric, before, weights, {}) for weights in resample.weightings(codes, count, DRAWS)]
    took = time.perf_counter() - start
    low, high = np.quantile(np.concatenate(drawn), (0.025, 0.975))
    print(f"{DRAWS:,} bootstrap draws of CIDEr over {len(before):,} images ({origin}): {took:.2f} s")
    print(f"  CIDEr {before.mean():.4f} [{low:.4f}, {high:.4f}]")
    start = time.perf_counter()
    (one,) = compare(metric, (before, after), clusters, {}, draws=DRAWS)
    print(f"the paired test of two such runs ({one.method}): {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    stats = np.abs(np.random.default_rng(1).normal(10, 3, (2, len(before), 10)))
    (*_, bleu) = compare(metrics.get("bleu"), (stats[0], stats[1]), clusters, {}, draws=DRAWS)
    print(f"the paired test of BLEU ({bleu.method}): {time.perf_counter() - start:.2f} s")


def statistics_of(rule: str, n: int, seed: int) -> NDArray[np.float64]:
    """Made-up statistics of a metric, a tenth of them drawn by ``seed``."""
    base, mine = np.random.default_rng(7), np.random.default_rng(seed)
    if rule.startswith("cider"):
        first, second = base.gamma(2.0, 0.5, n), mine.gamma(2.0, 0.5, n)
    elif rule.startswith("roc_auc"):
        first, second = base.random(n), mine.random(n)
    elif rule.startswith("vqa"):
        first, second = base.integers(0, 11, n) / 10, mine.integers(0, 11, n) / 10
    else:
        first, second = base.integers(0, 2, n).astype(float), mine.integers(0, 2, n).astype(float)
    found: NDArray[np.float64] = np.where(mine.random(n) < CHANGED, second, first)[:, None]
    if rule.startswith("roc_auc"):
        found = np.column_stack([found[:, 0], np.random.default_rng(8).integers(0, 2, n)])
    return found


def write_run(root: Path, seed: int) -> None:
    """A run folder of thirteen tasks as ``run`` leaves it, without media and without responses."""
    known = catalog.tasks()
    whole = manifest.new({"model": f"made-up-{seed}", "limit": None, "ablate": "none", "ptb": "python"}, "made-up", {})
    rows: list[dict[str, Any]] = []
    with RunFolder(root) as folder:
        for name, (n, share) in SIZES.items():
            task = known.get(name, "TASK", Task)
            metric = metrics.get(task.headline)
            entry = manifest.TaskEntry(
                version=1, split="test", data="official", examples="same", n=n, n_split=n, n_expected=n, labelled=True,
                protocol="plain", prompts="same", reading={"clean": "none"},
            )  # fmt: skip
            whole = replace(whole, tasks={**whole.tasks, name: entry})
            (root / name).mkdir()
            stats = statistics_of(metric.id, n, seed)
            shown = metric.display(stats).tolist() if metric.display else [None] * n
            group, said = dict(task.headline_group), f"answer {seed}"
            folder.write_scores(name, [
                {"id": str(at), "cluster": str(at // share), "state": "ok", "raw": said, "answer": said,
                 "groups": {"type": "abcd"[at % 4], **group},
                 "scores": {} if shown[at] is None else {metric.id: shown[at]}}
                for at in range(n)
            ])  # fmt: skip
            folder.write_statistics(name, {metric.id: stats})
            output = metric.outputs[0]
            rows.append({
                "task": name, "split": "test", "data": "official", "protocol": "plain", "metric": metric.name,
                "version": metric.version, "output": task.headline_output or output.name, "signature": metric.id,
                "value": 0.5, "ci_low": None, "ci_high": None, "ci_method": "", "unit": output.unit,
                "better": output.better,
                "n": n, "n_expected": n, "states": {"ok": n, "empty": 0, "unparsable": 0, "error": 0},
                "group": group or None, "headline": True,
            })  # fmt: skip
        folder.start(whole)
        run = {"name": whole.run, "model": f"made-up-{seed}", "limit": None, "ablate": "none", "fingerprint": ""}
        results = {"schema": 1, "run": run, "measurements": rows, "not_computed": []}
        write_atomic(root / "results.json", write_json_pretty(results))
        digests.write(root, whole.tasks)


def whole_check(folder: Path) -> None:
    """Print the seconds of a whole check, and its output."""
    for name, seed in (("before", 1), ("after", 2)):
        write_run(folder / name, seed)
    command = [sys.executable, "-m", "anymal_eval", "check", str(folder / "after"), "--against", str(folder / "before")]
    command += ["--json", str(folder / "check.json"), "--markdown", str(folder / "check.md")]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    total = sum(n for n, _ in SIZES.values())
    print(f"a check of {len(SIZES)} tasks, {total:,} examples, from start to end: {took:.1f} s, exit {done.returncode}")
    print("\n".join(f"  {line}" for line in done.stdout.splitlines()[:17]))
    assert done.returncode in (0, 3, 4), done.stderr


def main() -> None:
    """Time both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, default=ROOT.parent / "shared" / "golden")
    parser.add_argument("--keep", type=Path, help="Leave the made-up runs in this new folder.")
    given = parser.parse_args()
    cider(given.golden)
    if given.keep is not None:
        whole_check(given.keep)
        return
    with tempfile.TemporaryDirectory() as folder:
        whole_check(Path(folder))


if __name__ == "__main__":
    main()
