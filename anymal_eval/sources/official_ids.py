"""The official items of splits of which copies lack some: one list a split, ``ids/TASK-SPLIT.txt``."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from anymal_eval.records import Example
from anymal_eval.task import Split

FOLDER = Path(__file__).parent / "ids"


@cache
def official_ids(task: str, split: str) -> tuple[str, ...]:
    """The clusters of a split, in the order of the list; empty where there is no list."""
    file = FOLDER / f"{task}-{split}.txt"
    if not file.is_file():
        return ()
    return tuple(line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#"))


def lacking_ids(task: str, split: Split, examples: Iterable[Example]) -> list[str]:
    """The official clusters that none of the examples belongs to; empty where no list of them is known."""
    known = official_ids(task, split.name)
    held = {example.cluster for example in examples} if known else set()
    return [name for name in known if name not in held]
