"""The commands that ``benchmarks.crashes`` kills, what stands before each, and what must hold after a kill."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from anymal_eval.anymal import tiny
from anymal_eval.errors import AnyMALEvalError
from anymal_eval.store.accepted import accepted_runs
from anymal_eval.store.stored import open_run

DEMO = ("--data", "demo", "--demo-examples", "8")
CONSTANT = ("--model", "constant", "-o", "says=a red circle", *DEMO)
TASKS = ("--tasks", "vqav2,scienceqa")  # no captions: Java's METEOR takes ten seconds
GALLERY = ("report", "run", "--out", "gallery", "--examples", "8")
TRAIN = (
    "train", "align", "network/checkpoint", "--data", "pairs:network/pairs.jsonl", "--steps", "8", "--batch-size", "4",
    "--learning-rate", "1e-3", "--device", "cpu", "--log-every", "1", "--save-every", "2", "--features", "features",
    "--out", "trained",
)  # fmt: skip
# The times at which something took place differ from one run to the next.
TIMES = (
    (re.compile(r"(^|/)(timings\.json|run\.log)$"), re.compile(rb".*", re.DOTALL)),
    (re.compile(r"\.jsonl$"), re.compile(rb'"seconds": [0-9.]+')),
    (re.compile(r"^trained/log\.jsonl$"), re.compile(rb'"(\w+_per_s|memory_gib|input_wait)": [0-9.e+-]+')),
    # Over the path of OUT, too.
    (re.compile(r"^trained/training\.json$"), re.compile(rb'"sha256": "[0-9a-f]{64}"(?=\s*}\s*$)')),
    (re.compile(r"junit\.xml$"), re.compile(rb'timestamp="[^"]*"')),
    (re.compile(r"^export/"), re.compile(rb'"?(retrieved_timestamp|evaluation_timestamp)"?: "?[0-9.TZ:+-]+"?')),
)
REMEMBERED = re.compile(r"^cache/digests(/.*)?|^features/digests\.jsonl$")  # of files that are old enough, to save time
Tree = Mapping[str, bytes]
Kept = Callable[[Path, Tree, Tree, Tree], "str | None"]


def tree(root: Path) -> dict[str, bytes]:
    """Every path below a folder, a file with its content; the folder's own name is left out."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if REMEMBERED.fullmatch(name):
            continue
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b"folder"
        content = content.replace(str(root).encode(), b"ROOT")
        found[name] = content
    return found


def timeless(files: Tree) -> dict[str, bytes]:
    """The files without the times that they hold."""
    found = dict(files)
    for name in found:
        for names, times in TIMES:
            found[name] = times.sub(b"", found[name]) if names.search(name) else found[name]
    return found


def part(files: Tree, folder: str) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.startswith(f"{folder}/")}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command, or two of it at once.

    Attributes:
        before: commands whose results stand there when it starts.
        kept: what a kill must not take away: (the folder, before, after the kill, after the same command) -> a fault.
        at_once: how many processes run the command.
    """

    name: str
    command: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    kept: Kept = lambda root, before, killed, after: None
    at_once: int = 1


def answers(root: Path, before: Tree, killed: Tree, after: Tree) -> str | None:
    """Every complete line of answers stays, in its place."""
    del root, before
    for name, content in killed.items():
        if name.endswith("/responses.jsonl") and not after[name].startswith(content[: content.rfind(b"\n") + 1]):
            return f"answers of {name}"
    return None


def baseline(root: Path, before: Tree, killed: Tree, after: Tree) -> str | None:
    """The accepted run of before, or the new one: whole."""
    del before, killed, after
    try:
        runs = [open_run(run.root) for run in accepted_runs(root / "results" / "accepted")]
    except AnyMALEvalError as error:
        return f"the baseline: {error}"
    return None if len(runs) == 1 else f"the baseline: {len(runs)} are there"


def gallery(root: Path, before: Tree, killed: Tree, after: Tree) -> str | None:
    """The report of before, or the new one: whole."""
    del root
    return None if part(killed, "gallery") in (part(before, "gallery"), part(after, "gallery")) else "the report"


def scores(root: Path, before: Tree, killed: Tree, after: Tree) -> str | None:
    """Each file of the run is the old one or the new one; to the log lines are added."""
    del root
    log, files = "run/run.log", part(before, "run")
    wrong = [name for name in files if name != log and killed.get(name) not in (before[name], after.get(name))]
    wrong += [log] if not killed.get(log, b"").startswith(before.get(log, b"")) else []
    return f"of the run: {', '.join(wrong)}" if wrong else None


def steps(root: Path, before: Tree, killed: Tree, after: Tree) -> str | None:
    """What was computed up to the last saved state is not computed again."""
    del root, before
    saved = [int(name.rpartition("-")[2]) for name in killed if re.fullmatch(r"trained/steps/checkpoint-\d+", name)]
    lines = killed.get("trained/log.jsonl", b"").split(b"\n")[:-1]
    kept = [line for line in lines if json.loads(line)["step"] <= max(saved, default=0)]
    return None if after["trained/log.jsonl"].split(b"\n")[: len(kept)] == kept else "steps of the training"


def entries(root: Path, before: Tree, killed: Tree, after: Tree) -> str | None:
    """An entry of the cache that was written stays as it is."""
    del root, before
    wrong = [name for name in part(killed, "features") if name.endswith(".safetensors") and after[name] != killed[name]]
    return f"features: {', '.join(wrong)}" if wrong else None


RUN = ("run", *TASKS, *CONSTANT, "--out", "run")
WORSE = ("run", *TASKS, "--model", "constant", "-o", "says=a blue square", *DEMO, "--out", "worse")
CASES = (
    Case(name="run", command=RUN, kept=answers),
    Case(name="score", command=("score", "run"), before=(RUN,), kept=scores),
    Case(
        name="check",
        command=("check", "run", "--against", "run", "--markdown", "check.md", "--junit", "junit.xml",
                 "--json", "check.json"),
        before=(RUN,),
    ),
    Case(
        name="accept",
        command=("accept", "run", "--replace"),
        before=(WORSE, ("accept", "worse"), RUN),
        kept=baseline,
    ),
    Case(name="report", command=GALLERY, before=(RUN, (*GALLERY, "--media", "none")), kept=gallery),
    Case(name="export", command=("export", "run", "--format", "every-eval-ever", "--out", "export"), before=(RUN,)),
    Case(
        name="features fill",
        command=("features", "fill", "--tasks", "vqav2", "--model", "anymal:network/checkpoint", *DEMO,
                 "--features", "features"),
        kept=entries,
    ),
    Case(name="train", command=TRAIN, kept=steps),
    Case(name="two trainings at once", command=TRAIN, kept=steps, at_once=2),
)  # fmt: skip


def write_inputs(root: Path) -> None:
    """An untrained network of a few thousand weights, and pictures with captions to train it on."""
    tiny.write(root / "network")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        pixels = rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "network" / f"{number}.png")
        rows.append({"id": f"p{number}", "image": f"{number}.png", "caption": f"a picture of kind {number % 3}"})
    (root / "network" / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
