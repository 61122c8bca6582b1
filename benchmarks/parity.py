"""Scores published systems' real answers with the command line and prints the official code's values next to ours.

    python -m benchmarks.parity

The answers are the licensed slices of tests/golden/slices: 200 examples per benchmark, with values from the official
code or an independent transcription of it, never from ours.
"""

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tabulate import tabulate

from anymal_eval.cli.main import cli

SLICES = Path(__file__).parents[1] / "tests" / "golden" / "slices"
SYSTEMS = {
    "vqav2": "a re-implementation of AnyMAL",
    "textvqa": "LLaVA-1.5-13B",
    "vizwiz": "always 'unanswerable'",
    "nextqa": "HGA",
    "coco": "a fifth human caption",
    "audiocaps": "a caption model of aac-metrics",
}


def main() -> int:
    """Print the table; return 1 where a value is not the official one."""
    rows = []
    checked = differing = 0
    with tempfile.TemporaryDirectory() as folder:
        for task, system in SYSTEMS.items():
            official = json.loads((SLICES / task / "expected.json").read_text(encoding="utf-8"))["values"]
            ours = run(task, Path(folder) / task)
            headline = next(row for row in ours if row["headline"])
            for row in ours:
                metric = f"{row['metric']}@{row['version']}"
                expected = official.get(metric, official.get(row["metric"], {})).get(row["output"])
                if row["group"] is not None or expected is None:
                    continue
                checked += 1
                differing += abs(row["value"] - expected) > 1e-9
                if metric == f"{headline['metric']}@{headline['version']}":
                    interval = f"[{100 * row['ci_low']:.2f}, {100 * row['ci_high']:.2f}]"
                    values = [f"{100 * number:.4f}" for number in (row["value"], expected)]
                    rows.append([task, system, metric, *values, interval, row["n"]])
    columns = ["benchmark", "answers of", "metric", "ours x100", "official x100", "95 % interval", "n"]
    print(tabulate(rows, headers=columns, tablefmt="github", disable_numparse=True))
    print(f"\n{checked - differing} of {checked} values equal the official code's to 1e-9")
    return 0 if checked and not differing else 1


def run(task: str, out: Path) -> list[dict[str, Any]]:
    """One run through the command line; its measurements."""
    answers = next(file for file in (SLICES / task).glob("predictions.*"))
    arguments = ["run", "--tasks", task, "--model", f"replay:{answers}", "--data-root", str(SLICES), "--out", str(out)]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = cli.main(arguments, standalone_mode=False)
    if code:
        raise SystemExit(f"{task}: the run ended with {code}")
    found: list[dict[str, Any]] = json.loads((out / "results.json").read_text(encoding="utf-8"))["measurements"]
    return found


if __name__ == "__main__":
    sys.exit(main())
