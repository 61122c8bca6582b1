"""Write one task's official layout into a folder: whole or not at all, once, safely from several processes."""

import contextlib
import json
from importlib import import_module
from pathlib import Path
from typing import cast

from anymal_eval import paths
from anymal_eval.demo.chance import WorldHalf
from anymal_eval.demo.files import write_json
from anymal_eval.demo.plan import Plan
from anymal_eval.errors import MissingData, WrongUse
from anymal_eval.locks import delete, is_working, working

WORLD = 1  # raised whenever the same arguments give other files
NOTE = "DEMO.txt"
GROUPS = "demo_groups.json"
_TEXT = """Generated demo data of anymal_eval, in the layout of the benchmark {task!r}. Not the benchmark's own data:
a number measured on it says nothing about the benchmark. Pictures are PNG whatever their names end in (without loss),
clips are lossless H.264 in RGB. {groups} is no part of the official layout: it tells the wordings that training
never saw. The next line is how a complete folder is known again.
"""


def tasks() -> tuple[str, ...]:
    """The tasks the demo world can write: one for each file in ``layouts``.

    >>> "vqav2" in tasks(), "writing" in tasks()
    (True, False)
    """
    folder = Path(__file__).parent / "layouts"
    return tuple(sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__"))


def default_root(*, examples: int = 200, seed: int = 0, split: WorldHalf = "eval") -> Path:
    """The folder in the user's cache that belongs to these arguments, so that no two kinds of demo data meet."""
    return paths.cache() / "demo" / f"world{WORLD}-{split}-{examples}-seed{seed}"


def write_task(task: str, root: Path, *, examples: int = 200, seed: int = 0, split: WorldHalf = "eval") -> Path:
    """Write ``root/<task>`` in the benchmark's official layout and return it; a complete one is left as it is.

    Raises:
        WrongUse: no such task, no example to write, or the folder holds something else (real data, another size).
    """
    if task not in tasks():
        raise WrongUse(f"the demo world has no task {task!r}: it has {', '.join(tasks())}")
    if examples < 1 or split not in ("eval", "train"):
        raise WrongUse(f"demo data needs at least one example of split eval or train, not {examples} of {split!r}")
    plan = Plan(task=task, examples=examples, seed=seed, split=split)
    target = root / task
    if target.exists():
        if is_working(target):
            with contextlib.suppress(OSError), working(target):  # deletes what a killed process left; may be read-only
                pass
        return _checked(target, plan)
    with working(target) as work:
        if not target.exists():  # else another process was first; its files are the same
            draft = work / "new"
            draft.mkdir()
            _fill(draft, plan)
            draft.rename(target)
        _delete_earlier_drafts(target)
    return _checked(target, plan)


def _delete_earlier_drafts(target: Path) -> None:
    """Delete what an earlier version left when it was killed: ``.TASK-XXXXXXXX``, a part of what ``target`` holds."""
    for each in target.parent.glob(f".{target.name}-????????"):
        is_folder = each.is_dir() and not each.is_symlink()
        if is_folder and all((target / path.relative_to(each)).exists() for path in each.rglob("*")):
            delete(each)


def _fill(folder: Path, plan: Plan) -> None:
    groups = import_module(f"anymal_eval.demo.layouts.{plan.task}").write(folder, plan)
    write_json(folder / GROUPS, groups)
    stamp = json.dumps({**_stamp(plan), "files": _count(folder) + 1})
    (folder / NOTE).write_text(_TEXT.format(task=plan.task, groups=GROUPS) + stamp + "\n", encoding="utf-8")


def _stamp(plan: Plan) -> dict[str, object]:
    return {"world": WORLD, **vars(plan)}


def _count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def _checked(folder: Path, plan: Plan) -> Path:
    """The folder, if it is this plan's and no file of it is gone."""
    note = folder / NOTE
    if not note.is_file():
        raise WrongUse(f"{folder} is there and is not demo data: name another folder")
    try:
        stamp = cast("dict[str, object]", json.loads(note.read_text(encoding="utf-8").splitlines()[-1]))
        files = stamp.pop("files")
    except (ValueError, KeyError, AttributeError, IndexError):
        raise WrongUse(f"{note} is damaged: remove {folder}, and the demo data is written again") from None
    if stamp != _stamp(plan):
        raise WrongUse(f"{folder} holds demo data of other arguments ({stamp}): name another folder or remove it")
    found = _count(folder)
    if found != files:
        raise MissingData(f"{folder} holds {found} files of {files}: remove it, and the demo data is written again")
    return folder
