"""Does the demo model use its media? Thirteen headlines, with its media, without them, and with those of others.

    python -m benchmarks.demo_model --out DIR [--model anymal:demo] [--examples 1000] [--seed-two CHECKPOINT]
                                    [--figures FILE] [--write]

Runs all demo tasks through the command line: with their media, without media, and with other examples' media
(``run --ablate``). Compares the runs pairwise with the statistics of ``check``, and every number with its requirement.
``--seed-two`` is a checkpoint of another seed of stages 1 and 2, which ``check`` compares with the first one.
``--figures`` is the file that the recipe of the training wrote about its parts. ``--write`` puts the tables into the
model card.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tabulate import tabulate

from anymal_eval.report.pairing import TaskRun, metric_output, pair, task_run
from anymal_eval.statistics.paired import Comparison, compare
from anymal_eval.store.results import Measurement
from anymal_eval.store.stored import StoredRun, open_run
from benchmarks.measuring import write_section

CARD = Path(__file__).parents[1] / "anymal_eval" / "demo" / "model" / "README.md"
BLINDED = ("no-media", "shuffled-media")
LEAST = {
    "vqav2": 0.75, "textvqa": 0.60, "nextqa": 0.80, "star": 0.80, "how2qa": 0.80,
    "audiocaps": 2.0, "imu_caption": 2.0, "hateful_memes": 0.80,
}  # fmt: skip
MOST_BLIND = {"vqav2": 0.50}
HELD_OUT = 0.80  # of the seen wordings' score


def main() -> int:
    """Print the tables; 1 where a number misses its requirement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="anymal:demo")
    parser.add_argument("--seed-two")
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    runs = {how: run_all(given, given.model, how) for how in ("none", *BLINDED)}
    rows, failed = scores(runs)
    text = tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)
    print(text)
    if given.write:
        write_section("scores", text, CARD)
    if given.figures:
        text = recipe(given.figures)
        print(text)
        if given.write:
            write_section("figures", text, CARD)
    if given.seed_two:
        run_all(given, given.seed_two, "none", "seed-two")
        check = [sys.executable, "-m", "anymal_eval", "check", str(given.out / "seed-two")]
        done = subprocess.run([*check, "--against", str(given.out / "none")], capture_output=True, text=True)
        print(done.stdout, done.stderr)
        if given.write:
            # The table alone: the rest names folders of this machine and every changed example.
            lines = done.stdout.splitlines()
            first = next(at for at, line in enumerate(lines) if line.startswith("task "))
            write_section("seeds", "```\n" + "\n".join(lines[first : lines.index("", first)]) + "\n```", CARD)
    print("requirements missed:", ", ".join(failed) or "none")
    return int(bool(failed))


def run_all(given: argparse.Namespace, model: str, how: str, name: str = "") -> StoredRun:
    """One run of all tasks, which resumes an earlier one."""
    out = given.out / (name or how)
    command = [sys.executable, "-m", "anymal_eval", "run", "--tasks", "all", "--model", model, "--data", "demo"]
    command += ["--demo-examples", str(given.examples), "--protocol", "demo", "--ablate", how, "--out", str(out)]
    if how != "no-media":
        command += ["--features", str(given.out / "features")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return open_run(out)


def scores(runs: Mapping[str, StoredRun]) -> tuple[list[dict[str, str]], list[str]]:
    """The table's rows, and the tasks that miss a requirement."""
    rows, failed = [], []
    for task in runs["none"].manifest.tasks:
        one = {how: task_run(run, task) for how, run in runs.items()}
        against = {how: compared(one[how], one["none"]) for how in BLINDED}
        value, blind = against["no-media"].after, against["no-media"].before
        ratio = wordings(runs["none"], task)
        short = [f"at least {LEAST[task]:g}"] if value < LEAST.get(task, value) else []
        short += [f"blind at most {MOST_BLIND[task]:g}"] if blind > MOST_BLIND.get(task, blind) else []
        short += [f"beat {how}" for how in BLINDED if against[how].low <= 0]
        short += ["held-out wordings"] if ratio is not None and ratio < HELD_OUT else []
        failed += [f"{task} ({', '.join(short)})"] if short else []
        headline = one["none"].headline
        assert headline is not None
        rows.append(
            {
                "task": task,
                "metric": headline.rule,
                "value": f"{value:.3f}",
                "no media": f"{blind:.3f}",
                "gain over it, 95 %": bounds(against["no-media"]),
                "shuffled media": f"{against['shuffled-media'].before:.3f}",
                "gain over that, 95 %": bounds(against["shuffled-media"]),
                "held-out / seen wordings": "" if ratio is None else f"{ratio:.2f}",
                "at least": f"{LEAST[task]:g}" if task in LEAST else "",
                "": "missed: " + ", ".join(short) if short else "",
            }
        )
    return rows, failed


def compared(before: TaskRun, after: TaskRun) -> Comparison:
    """The headline of two runs on the same examples."""
    assert before.headline is not None
    assert not before.errors + after.errors
    metric, at = metric_output(before.headline)
    pairs = pair(before, after)
    return compare(metric, pairs.stats, pairs.clusters, pairs.groups)[at]


def wordings(run: StoredRun, task: str) -> float | None:
    """The score of held-out wordings as a share of the seen ones'; None where there are none."""
    found = {
        item.group["wording"]: item.value
        for item in run.results.measurements
        if item.task == task and item.group and list(item.group) == ["wording"] and is_headline(run, item)
    }
    return found["held-out"] / found["seen"] if len(found) == 2 and found["seen"] else None


def is_headline(run: StoredRun, item: Measurement) -> bool:
    """Whether a group's measurement is of the task's headline metric."""
    return any(
        main.headline and (main.task, main.rule, main.output) == (item.task, item.rule, item.output)
        for main in run.results.measurements
    )


def bounds(comparison: Comparison) -> str:
    """A difference with its interval."""
    return f"{comparison.difference:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}]"


def recipe(figures: Path) -> str:
    """What each part of the recipe took, and where its loss ended."""
    rows = [json.loads(line) for line in figures.read_text(encoding="utf-8").splitlines()]
    wanted = {"part": "part", "steps": "steps", "rows": "rows of a step", "loss": "last loss", "seconds": "seconds",
              "cpu_seconds": "CPU seconds"}  # fmt: skip
    shown = [{title: row.get(key, "") for key, title in wanted.items()} for row in rows]
    shown.append({"part": "all", "seconds": "", "CPU seconds": sum(row["cpu_seconds"] for row in rows)})
    return tabulate(shown, headers="keys", tablefmt="pipe", disable_numparse=True)


if __name__ == "__main__":
    sys.exit(main())
