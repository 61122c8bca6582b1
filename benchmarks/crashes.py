"""Kills commands and fills disks, gives the same commands again, and compares with what they give undisturbed.

    python -m benchmarks.crashes [--kills 200] [--full-disks 100] [--seed 0] [--only NAME] [--jobs N] [--write FILE]

A kill is a SIGKILL: one half at a change of the file system that is drawn from all that the command makes (before a
file is opened for writing, renamed, deleted or synced, or half-way through a write), one half at a moment drawn from
the time that it takes. A full disk is a tmpfs of a size drawn between what the command finds and what it needs, which
is made larger afterwards; this needs root. After either, the same command runs to its end. Then is

lost        what stood there before, or was written before, and is not there or is computed again; a command that cannot
            end; an error that is no line and exit code of ours;
different   a file that is not, byte by byte, that of the undisturbed command (times are left out);
left over   a path that the undisturbed command does not leave, also in the folder for temporary files.

Commands run in processes that are forked from one that has imported everything, which makes 300 trials a matter of
minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anymal_eval.cli.main import main as anymal
from benchmarks.crashes_cases import CASES, Case, Tree, timeless, tree, write_inputs
from benchmarks.measuring import write_section

EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
ALL_MODULES = -1  # in place of the number of a change: the command prints what it imported
LIMIT_S = 300.0  # a command that takes longer cannot end
BLOCK = 4096
HUGE = 1 << 30
FAULTS = ("lost", "different", "left over")


@dataclass
class Ended:
    """How a command ended: its exit code, or minus the number of the signal; the changes it made; its seconds."""

    code: int
    changes: int
    seconds: float
    stderr: str


@dataclass
class Undisturbed:
    """A case without any kill: the folder before, the paths after, and what it takes."""

    root: Path
    before: Tree
    after: Tree
    ended: Ended
    blocks: int


@dataclass
class Tally:
    """What was found of one case."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Running:
    """A command in a process of its own, in a folder."""

    def __init__(self, arguments: Sequence[str], root: Path, kill_at: int = 0) -> None:
        self.counted = root.parent / f"{root.name}.count{id(self)}"
        self.errors = root.parent / f"{root.name}.stderr{id(self)}"
        self.start = time.monotonic()
        self.process = os.fork()
        if self.process == 0:
            _child(arguments, root, (self.counted, self.errors), kill_at)

    def alive(self) -> bool:
        return os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.process, number)

    def wait(self) -> Ended:
        while self.alive() and time.monotonic() - self.start < LIMIT_S:
            time.sleep(0.002)
        if self.alive():
            self.kill()
        code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        changes = self.counted.stat().st_size if self.counted.exists() else 0
        text = self.errors.read_text(errors="replace") if self.errors.exists() else ""  # a kill may come before it
        for file in (self.counted, self.errors):
            file.unlink(missing_ok=True)
        return Ended(code, changes, time.monotonic() - self.start, text)


def _child(arguments: Sequence[str], root: Path, files: tuple[Path, Path], kill_at: int) -> None:
    os.chdir(root)
    (root / "tmp").mkdir(exist_ok=True)
    os.environ.update(TMPDIR=str(root / "tmp"), ANYMAL_EVAL_CACHE=str(root / "cache"), HF_HUB_OFFLINE="1")
    tempfile.tempdir = None
    errors = os.open(files[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    output = root.parent / "modules" if kill_at == ALL_MODULES else Path(os.devnull)
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(errors, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _count_changes(os.open(files[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), kill_at)
    sys.argv = ["anymal-eval", *arguments]
    code = 70
    try:
        anymal()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        if kill_at == ALL_MODULES:
            os.write(1, "\n".join(sys.modules).encode())
        os._exit(code)


def _count_changes(handle: int, kill_at: int) -> None:
    """Add a byte to a file for every change of the file system; before number ``kill_at`` the process dies."""
    write, fsync, done, own = os.write, os.fsync, 0, os.getpid()

    def change() -> bool:
        nonlocal done
        done += 1
        write(handle, b".")
        return done == kill_at

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if (
            (opened or event in EVENTS)
            and os.getpid() == own
            and not str(arguments[0]).startswith("/dev/")
            and change()
        ):
            os.kill(own, signal.SIGKILL)

    def half(target: int, content: Any) -> int:
        if change():
            write(target, bytes(content)[: len(content) // 2])
            os.kill(own, signal.SIGKILL)
        return write(target, content)

    def synced(target: int) -> None:
        if change():
            os.kill(own, signal.SIGKILL)
        fsync(target)

    os.write, os.fsync = half, synced
    sys.addaudithook(audit)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of ``size`` bytes. ``mount`` again with another size changes it."""
    folder.mkdir()
    _mount(folder, size)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


def _mount(folder: Path, size: int, *more: str) -> None:
    options = ",".join((*more, f"size={size}"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)


def can_mount(scratch: Path) -> bool:
    """Whether this process may mount a file system."""
    try:
        with small_disk(scratch / "probe", 1 << 20):
            return True
    except (subprocess.CalledProcessError, OSError):
        return False


class Campaign:
    """Trials of the cases in a scratch folder."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.scratch, self.seed, self.random = scratch, seed, random.Random(seed)
        self.number = 0
        self.tallies: dict[str, Tally] = {}
        write_inputs(scratch / "inputs")

    def undisturbed(self, case: Case) -> Undisturbed:
        """Run what stands before a case, and the case itself, twice: what differs then would count as a fault."""
        self.random = random.Random(f"{self.seed} {case.name}")  # the same trials whichever cases are chosen
        base = self._fresh(self.scratch / "inputs")
        for arguments in case.before:
            self._import(arguments, base)
        root = self._fresh(base)
        self._import(case.command, root)
        shutil.rmtree(root)
        gc.collect()
        gc.freeze()  # a collection in a forked process would copy every page
        found = []
        for _ in range(2):
            root = self._fresh(base)
            ended = Running(case.command, root).wait()
            if ended.code:
                raise SystemExit(f"{case.name} ends with {ended.code}: {ended.stderr}")
            found.append((timeless(tree(root)), ended, _blocks(root) - _blocks(base)))
            shutil.rmtree(root)
        if found[0][0] != found[1][0]:
            names = [name for name, content in found[0][0].items() if found[1][0].get(name) != content]
            raise SystemExit(f"{case.name} is not the same twice: {', '.join(names)}")
        return Undisturbed(base, tree(base), found[0][0], found[1][1], found[1][2])

    def _import(self, arguments: Sequence[str], root: Path) -> None:
        """Run a command, and import here what it imported."""
        ended = Running(arguments, root, ALL_MODULES).wait()
        if ended.code:
            raise SystemExit(f"{' '.join(arguments)} ends with {ended.code}: {ended.stderr}")
        for name in (self.scratch / "modules").read_text(errors="replace").split("\n"):
            if re.fullmatch(r"[A-Za-z]\w*(\.\w+)*", name) and name not in sys.modules:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)

    def kill(self, case: Case, known: Undisturbed, at_change: bool) -> None:
        """Kill the command, once its process has started, and give it again."""
        root = self._fresh(known.root)
        for attempt in range(1, 9):
            number = self.random.randint(1, known.ended.changes) if at_change else 0
            running = [Running(case.command, root, number if at == 0 else 0) for at in range(case.at_once)]
            if not at_change:
                time.sleep(self.random.uniform(0, known.ended.seconds / attempt))
                for each in running:
                    each.kill()
            ended = [each.wait() for each in running]
            if any(each.code == -signal.SIGKILL for each in ended):
                break
            shutil.rmtree(root)
            root = self._fresh(known.root)
        else:
            raise SystemExit(f"{case.name}: no kill came in time")
        self._judge(case, known, root, "kills", f"killed at change {number}" if at_change else "killed at a moment")
        shutil.rmtree(root)

    def fill_disk(self, case: Case, known: Undisturbed) -> None:
        """Run the command on a disk that is too small, make it larger, and give the command again."""
        pages = max(1, self.random.randint(1, max(1, known.blocks)))
        while True:
            self.number += 1
            root = self.scratch / str(self.number)
            with small_disk(root, HUGE):
                shutil.copytree(known.root, root, dirs_exist_ok=True, symlinks=True)
                (root / "tmp").mkdir(exist_ok=True)
                _mount(root, (_blocks(root) + pages) * BLOCK, "remount")
                ended = [each.wait() for each in [Running(case.command, root) for _ in range(case.at_once)]]
                _mount(root, HUGE, "remount")
                if any(each.code == 2 for each in ended) or pages == 1:
                    wrong = [each for each in ended if each.code not in (0, 1, 2) or "Traceback" in each.stderr]
                    what = f"{pages} pages left"
                    if wrong:
                        self._fault(case, "lost", f"{what}: exit {wrong[0].code}: {wrong[0].stderr[-2000:]}")
                    self._judge(case, known, root, "full disks", what)
                    return
            pages = max(1, pages // 2)

    def _judge(self, case: Case, known: Undisturbed, root: Path, kind: str, what: str) -> None:
        self._tally(case).counts[kind] += 1
        killed = tree(root)
        running = [Running(case.command, root) for _ in range(case.at_once)]
        ended = [each.wait() for each in running]
        after = tree(root)
        # Of several at once, those that find the folder taken end with 1 and one line.
        refused = [each for each in ended if each.code == 1 and each.stderr.count("error: ") == 1]
        if all(each.code != 0 for each in ended) or len(refused) + sum(not each.code for each in ended) < len(ended):
            self._fault(case, "lost", f"{what}; then exit {[each.code for each in ended]}: {ended[0].stderr[-2000:]}")
            return
        found = timeless(after)
        different = [name for name, content in known.after.items() if found.get(name) != content]
        over = sorted(after.keys() - known.after.keys())
        lost = case.kept(root, known.before, killed, after)
        for fault, names in (("lost", [lost] if lost else []), ("different", different), ("left over", over)):
            if names:
                self._fault(case, fault, f"{what}: {', '.join(names[:6])}")

    def _fault(self, case: Case, kind: str, what: str) -> None:
        tally = self._tally(case)
        tally.counts[kind] += 1
        tally.faults.append(f"{case.name}: {kind}: {what}")
        print(tally.faults[-1], file=sys.stderr, flush=True)

    def _tally(self, case: Case) -> Tally:
        return self.tallies.setdefault(case.name, Tally())

    def _fresh(self, source: Path) -> Path:
        self.number += 1
        root = self.scratch / str(self.number)
        shutil.copytree(source, root, symlinks=True)
        (root / "tmp").mkdir(exist_ok=True)
        return root


def _blocks(root: Path) -> int:
    """The blocks that a tmpfs needs for a folder."""
    return sum(-(-path.stat().st_size // BLOCK) if path.is_file() else 0 for path in root.rglob("*"))


def shares(count: int, parts: int) -> list[int]:
    """A number in nearly equal parts.

    >>> shares(7, 3)
    [3, 2, 2]
    """
    return [count // parts + (at < count % parts) for at in range(parts)]


def table(tallies: dict[str, Tally]) -> str:
    """The table as Markdown."""
    columns = ("kills", "full disks", *FAULTS)
    lines = [f"| command | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    total: Counter[str] = Counter()
    for name, tally in tallies.items():
        total += tally.counts
        lines.append(f"| {name} | {' | '.join(str(tally.counts[column]) for column in columns)} |")
    return "\n".join([*lines, f"| together | {' | '.join(str(total[column]) for column in columns)} |"])


def campaign(
    kills: int, full_disks: int, seed: int, only: Collection[str] = (), done: Callable[[str], None] = print
) -> dict[str, Tally]:
    """Run the trials, and count their faults by case; ``only`` names cases, whose trials are those of the whole."""
    scratch = Path(tempfile.mkdtemp(prefix="crashes-"))
    try:
        if full_disks and not can_mount(scratch):
            raise SystemExit("full disks need root, which may mount a small file system; give --full-disks 0")
        made = Campaign(scratch, seed)
        plan = zip(CASES, shares(kills, len(CASES)), shares(full_disks, len(CASES)), strict=True)
        for case, own_kills, own_disks in plan:
            if only and case.name not in only:
                continue
            start = time.monotonic()
            known = made.undisturbed(case)
            for at in range(own_kills):
                made.kill(case, known, at_change=at % 2 == 0)
            for _ in range(own_disks):
                made.fill_disk(case, known)
            shutil.rmtree(known.root)
            changes, seconds = known.ended.changes, time.monotonic() - start
            done(f"{case.name}: {own_kills} kills and {own_disks} full disks of {changes} changes, {seconds:.0f} s")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return made.tallies


def in_processes(jobs: int, kills: int, full_disks: int, seed: int) -> dict[str, Tally]:
    """The same, each case in a process of its own, several at once."""

    def one(case: Case) -> Tally:
        options = ["--kills", str(kills), "--full-disks", str(full_disks), "--seed", str(seed), "--only", case.name]
        command = [sys.executable, "-m", "benchmarks.crashes", *options, "--json"]
        found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
        data = json.loads(found.splitlines()[-1])[case.name]
        return Tally(Counter(data["counts"]), data["faults"])

    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip([case.name for case in CASES], pool.map(one, CASES), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--full-disks", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a command of the table; repeatable")
    parser.add_argument("--jobs", type=int, default=1, help="how many commands are tried at once")
    parser.add_argument("--json", action="store_true", help="print counts and faults in place of the table")
    parser.add_argument("--write", type=Path, help="a page whose table is replaced")
    given = parser.parse_args()
    size = (given.kills, given.full_disks, given.seed)
    if given.jobs > 1:
        tallies = in_processes(given.jobs, *size)
    else:
        tallies = campaign(*size, given.only or (), lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps({name: vars(tally) for name, tally in tallies.items()}) if given.json else table(tallies))
    if given.write:
        how = (
            f"`python -m benchmarks.crashes --kills {given.kills} --full-disks {given.full_disks} --seed {given.seed}`"
        )
        write_section("crashes", f"{how}\n\n{table(tallies)}", given.write)
    raise SystemExit(any(tally.faults for tally in tallies.values()))


if __name__ == "__main__":
    main()
