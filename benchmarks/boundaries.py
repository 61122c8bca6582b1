"""Every path that a command opens fails in turn: ``python -m benchmarks.boundaries``.

A command runs once while an audit hook notes each path that it opens, lists, makes, renames or removes. Then it runs
again for each of these paths and each error, in a process of its own over a fresh copy of the same files. It must end
with 0, 1 or 2 and at most one line ``error: ...``, never with a traceback.
"""

import argparse
import contextlib
import errno
import importlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ERRORS = (errno.EACCES, errno.EIO, errno.ELOOP, errno.ENAMETOOLONG)
# Audit events and how many of their first arguments are paths.
EVENTS = {
    "open": 1, "os.listdir": 1, "os.scandir": 1, "os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1,
    "os.link": 2, "os.symlink": 2, "os.truncate": 1,
}  # fmt: skip
# Data that ships with the package; its code is Python's to import.
SHIPPED = (ROOT / "tasks", ROOT / "anymal_eval" / "demo" / "model")


@dataclass(kw_only=True)
class Fault:
    """What fails: every use of one path, or nothing while ``path`` is empty."""

    path: str = ""
    number: int = 0
    seen: dict[str, None] = field(default_factory=dict)
    world: str = ""

    def check(self, value: object) -> None:
        """Note a path, and fail where it is the chosen one."""
        if not self.world or not isinstance(value, str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(value))
        if not path.startswith((self.world, *(f"{folder}/" for folder in map(str, SHIPPED)))) or path.endswith(".pyc"):
            return
        self.seen.setdefault(path)
        if path == self.path:
            raise OSError(self.number, os.strerror(self.number), value)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str
    seen: list[str]
    modules: list[str]

    @property
    def wrong(self) -> str:
        """What a user should not see; empty where all is well."""
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}"
        errors = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        if "Traceback" in self.stderr or len(errors) > 1:
            return "a traceback, or more than one error"
        # A command may print what it found wrong.
        if self.code and not errors and not f"{self.stdout}{self.stderr}".strip():
            return "no line"
        return ""


FAULT = Fault()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for value in arguments[: EVENTS.get(event, 0)]:
        FAULT.check(value)


def _watched(plain: Callable[..., Any]) -> Callable[..., Any]:
    # Looking at a path raises no audit event.
    def look(path: Any, *arguments: Any, **options: Any) -> Any:
        FAULT.check(path)
        return plain(path, *arguments, **options)

    return look


def call(world: Path, arguments: Sequence[str], path: str = "", number: int = 0) -> Ended:
    """Run a command in a process of its own, inside the world; each use of ``path`` fails with that error.

    Args:
        world: the folder of all files that it uses.
        arguments: of ``anymal-eval``.
        path: absolute; empty: nothing fails.
        number: of the error.
    """
    report = world.with_name(f"{world.name}.report")
    child = os.fork()
    if not child:
        code = 99
        try:
            code = _call(world, arguments, path, number, report)
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    report.unlink()
    return Ended(code=status, **found)


def _call(world: Path, arguments: Sequence[str], path: str, number: int, report: Path) -> int:
    from anymal_eval.cli.main import main

    os.chdir(world)
    os.environ |= {"HOME": str(world / "home"), "TMPDIR": str(world / "tmp"), "HF_HUB_OFFLINE": "1"}
    os.environ.pop("XDG_CACHE_HOME", None)
    os.environ.pop("ANYMAL_EVAL_CACHE", None)
    tempfile.tempdir = str(world / "tmp")
    names = map("drawn{}".format, range(1_000_000))
    tempfile._get_candidate_names = lambda: names  # type: ignore[attr-defined]  # the same names in each run
    os.stat, os.lstat = _watched(os.stat), _watched(os.lstat)
    sys.argv = ["anymal-eval", *arguments]
    sys.addaudithook(_hook)
    printed, errors = io.StringIO(), io.StringIO()
    code = 0
    FAULT.path, FAULT.number, FAULT.world = path, number, f"{world}/"
    try:
        with redirect_stdout(printed), redirect_stderr(errors):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        FAULT.world = ""
        found = {
            "stdout": printed.getvalue(),
            "stderr": errors.getvalue(),
            "seen": list(FAULT.seen),
            "modules": list(sys.modules),
        }
        report.write_text(json.dumps(found), encoding="utf-8")
    return code


def preload(names: Sequence[str]) -> None:
    """Import here what a command imported, so that the next processes need not."""
    for name in names:
        if not name.partition(".")[0].startswith(("_", "anymal_eval_")) and name not in sys.modules:
            with contextlib.suppress(ImportError):  # a name that a package makes up
                importlib.import_module(name)


def restore(world: Path, saved: Path) -> None:
    """Make the world as it was when saved."""
    shutil.rmtree(world, ignore_errors=True)
    shutil.copytree(saved, world, symlinks=True)


def build(world: Path, *, network: bool = True) -> None:
    """Data, answers, runs, a baseline and, with a network, a cache of its features, as users have them."""
    world.mkdir()
    for name in ("home", "tmp"):
        (world / name).mkdir()
    setup = [
        "data draw scienceqa --data-root data --examples 12 --split eval",
        "data draw audiocaps --data-root data --examples 6 --split eval",
        "data draw audiocaps --data-root train --examples 6 --split train",
        "run --tasks scienceqa --model constant --data official --data-root data --out run",
        "run --tasks scienceqa --model constant -o says=B --data official --data-root data --out other",
        "accept run --results results",
    ]
    if network:
        write_network(world)
        setup.append(f"{FILL} --features filled")
    for line in setup:
        ended = call(world, line.split())
        if ended.code:
            raise SystemExit(f"{line}: {ended.code}\n{ended.stderr}")


def write_network(world: Path) -> None:
    """A tiny network, and two pictures with captions to train it on."""
    from PIL import Image

    from anymal_eval.anymal import tiny

    tiny.write(world / "network")
    rows = []
    for number, colour in enumerate(["red", "blue"]):
        Image.new("RGB", (32, 32), colour).save(world / f"{colour}.png")
        rows.append({"id": f"p{number}", "image": f"{colour}.png", "caption": f"a {colour} picture"})
    (world / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


FILL = "features fill --tasks scienceqa --model anymal:network/checkpoint --data-root data --device cpu --threads 1"
COMMANDS = {
    "tasks": "tasks",
    "table": "table run other",
    "data check": "data check scienceqa --data-root data",
    "score": "score run --data-root data",
    "check": "check other --against run --json check.json --markdown check.md --junit check.xml",
    "accept": "accept other --replace --results results",
    "report": "report run --data-root data --out gallery",
    "export": "export run --format evalai --out exported",
    "export inspect": "export run --format inspect --data-root data --out exported",
    "show": "show scienceqa --data official --data-root data -n 2 --model constant",
    "run": "run --tasks scienceqa,audiocaps --model constant --data official --data-root data --out new",
    "features fill": f"{FILL} --features cache",
    "features verify": "features verify --features filled",
    "train": "train align network/checkpoint --data pairs:pairs.jsonl --steps 2 --batch-size 2 --learning-rate 0.001 "
    "--device cpu --save-every 1 --out trained",
    "checkpoints check": "checkpoints check network/checkpoint --offline",
    "resume": "run --tasks scienceqa --model constant --data official --data-root data --out run",
}


def cases(paths: Sequence[str], errors: Sequence[int], *, every: bool) -> Iterator[tuple[str, int]]:
    """Each path with each error; without ``every`` with one of them, by turns."""
    for at, path in enumerate(paths):
        for number in errors if every else [errors[at % len(errors)]]:
            yield path, number


def main() -> int:
    """Try all commands, print what failed, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", choices=COMMANDS, action="append")
    parser.add_argument("--turns", action="store_true", help="one error a path instead of all")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="boundaries-") as folder:
        world, saved = Path(folder) / "world", Path(folder) / "saved"
        build(world)
        shutil.copytree(world, saved, symlinks=True)
        for name in options.command or COMMANDS:
            began = time.monotonic()
            arguments = COMMANDS[name].split()
            plain = call(world, arguments)
            preload(plain.modules)
            tried = 0
            for path, number in cases(plain.seen, ERRORS, every=not options.turns):
                restore(world, saved)
                ended = call(world, arguments, path, number)
                tried += 1
                wrong = ended.wrong
                if wrong:
                    failed += 1
                    print(f"{name}: {path}: {errno.errorcode[number]}: {wrong}\n{ended.stderr[-700:]}", flush=True)
            restore(world, saved)
            print(
                f"{name}: {plain.code}, {len(plain.seen)} paths, {tried} faults, {time.monotonic() - began:.0f} s",
                flush=True,
            )
    print(f"{failed} failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
