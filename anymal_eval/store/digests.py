"""``digests.json``: the SHA-256 of a run's files when it was scored, which shows damage and later edits."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from anymal_eval.codec import read_json, write_json_pretty
from anymal_eval.errors import BadData, MissingData
from anymal_eval.paths import inside
from anymal_eval.store.atomic import write_atomic
from anymal_eval.store.packed import inflated

FILE = "digests.json"
SCHEMA = 1
WHOLE = ("manifest.json", "results.json")
PER_TASK = ("scores.jsonl", "statistics.npz")
TABLES = ("table.md", "table.csv", "table.tex")
# An accepted run holds neither responses nor tables, and a run may lack them: they are verified where they are.
_RUN, _TASK_RUN = TABLES, ("responses.jsonl",)
_KINDS = ("sha256", "run")

# The largest content that is inflated, and what a row of scores may take of it: a baseline from somewhere else may
# declare more than memory holds. Rows of real runs take about 300 bytes.
LARGEST = 1 << 29
ROW_BYTES = 1 << 16
_BLOCK = 1 << 20


def write(root: Path, tasks: Collection[str], scored: Collection[str] | None = None) -> None:
    """Write the SHA-256 of the manifest, the results, the tables, and each task's responses, scores and statistics.

    A file that is not there is left out; the same files give the same bytes.

    Args:
        root: the run folder.
        tasks: all of its tasks.
        scored: those that were just scored; the others keep their digests, so that damage since then still shows.
    """
    known = _read(root) if scored is not None and (root / FILE).is_file() else {}
    kept = frozenset(tasks) - frozenset(tasks if scored is None else scored)

    def digests(kind: str, names: Iterable[str]) -> dict[str, str]:
        earlier = known.get(kind, {})
        return {
            name: earlier[name] if name.partition("/")[0] in kept else _sha256(root, name)
            for name in names
            if (name in earlier if name.partition("/")[0] in kept else _exists(root, name))
        }

    needed = digests("sha256", [*WHOLE, *(f"{task}/{file}" for task in sorted(tasks) for file in PER_TASK)])
    run = digests("run", sorted([*_RUN, *(f"{task}/{file}" for task in tasks for file in _TASK_RUN)]))
    write_atomic(root / FILE, write_json_pretty({"schema": SCHEMA, "sha256": needed, **({"run": run} if run else {})}))


def renew(root: Path, names: Iterable[str]) -> None:
    """Replace the digests of tables that were written again."""
    known = _read(root)
    run = {**known.get("run", {}), **{name: _sha256(root, name) for name in names}}
    write_atomic(root / FILE, write_json_pretty({"schema": SCHEMA, **known, "run": dict(sorted(run.items()))}))


def accepted(root: Path) -> bytes:
    """The content of an accepted run's digests: those of the files that it holds."""
    known = _read(root)
    if "run" not in known:
        return (root / FILE).read_bytes()
    return write_json_pretty({"schema": SCHEMA, "sha256": known["sha256"]}).encode()


def verify(root: Path, only: Iterable[str] | None = None, rows: Mapping[str, int] | None = None) -> None:
    """Compare a run's files with their digests.

    Args:
        root: a run folder, or an accepted run, whose scores are compressed.
        only: the files to compare; by default all that have a digest.
        rows: the number of examples by task, which limits what a compressed copy may hold.

    Raises:
        MissingData: there are no digests, or a file is missing.
        BadData: a file has changed since the run was scored, or has no digest.
    """
    known = _read(root)
    needed, run = known["sha256"], {} if only is not None else known.get("run", {})
    for name in needed if only is None else only:
        if not _exists(root, name):
            raise MissingData(f"{root / name} is missing; anymal-eval score {root} makes it again")
        if _sha256(root, name, limit(rows, name)) != needed.get(name):
            raise _changed(root, name)
    tasks = rows or {}
    known_names = {*_RUN, *(f"{task}/{file}" for task in tasks for file in _TASK_RUN)}
    for name, digest in run.items():
        if rows is not None and name not in known_names:
            raise BadData(f"{root / FILE}: {name!r} is no file of this run; anymal-eval score {root} makes it again")
        if _file(root, name).is_file() and _sha256(root, name) != digest:
            raise _changed(root, name)
    for task in tasks:
        for name in (f"{task}/{file}" for file in PER_TASK):
            if name not in needed and _exists(root, name):
                raise BadData(f"{root / FILE}: it holds no digest of {name}; anymal-eval score {root} makes it again")


def verify_where_written(root: Path, name: str) -> None:
    """Compare one file with its digest, where the run has digests: one that is not finished has none.

    Raises:
        MissingData, BadData: as for :func:`verify`.
    """
    if (root / FILE).is_file():
        verify(root, only=[name])


def limit(rows: Mapping[str, int] | None, name: str) -> int:
    """How many bytes the content of a task's file may have."""
    n = (rows or {}).get(name.partition("/")[0])
    return LARGEST if n is None else min(LARGEST, ROW_BYTES * (16 + max(n, 0)))


def _changed(root: Path, name: str) -> BadData:
    if name == "manifest.json":
        remedy = "the command of the run, given again, compares every entry and writes it anew"
    elif name.endswith("/responses.jsonl"):
        remedy = f"anymal-eval score {root} names damaged lines, or scores what is there now"
    else:
        remedy = f"anymal-eval score {root} makes it again from the responses"
    return BadData(
        f"{root / name} has changed since it was scored (its digest differs): it is damaged, it was edited, or a later "
        f"run did not finish; {remedy}"
    )


def read(root: Path) -> dict[str, str]:
    """The digests of a run's files by name.

    Raises:
        MissingData: there are none.
        BadData: the file is damaged.
    """
    return _read(root)["sha256"]


def _read(root: Path) -> dict[str, dict[str, str]]:
    file = root / FILE
    if not file.is_file():
        raise MissingData(f"{root} holds no {FILE}: scoring has not finished; anymal-eval score {root}")
    data = read_json(file)
    if not _is_valid(data):
        raise BadData(f"{file}: it must hold schema {SCHEMA} and the digests under sha256; anymal-eval score {root}")
    return {kind: data[kind] for kind in _KINDS if kind in data}


def _is_valid(data: Any) -> bool:
    return (
        isinstance(data, dict)
        and data.get("schema") == SCHEMA
        and data.keys() <= {"schema", *_KINDS}
        and "sha256" in data
        and all(isinstance(data[kind], dict) for kind in _KINDS if kind in data)
    )


def content(root: Path, name: str, most: int = LARGEST) -> bytes:
    """A file's bytes, read from its compressed copy where only that exists.

    Args:
        root: the run.
        name: of the file.
        most: the largest content of a compressed copy, in bytes.

    Raises:
        BadData: the compressed copy is damaged or holds more, or the name leads out of the run.
        MissingData: neither exists.
    """
    file = _file(root, name)
    return file.read_bytes() if file.is_file() else b"".join(_content(root, name, most))


def _content(root: Path, name: str, most: int) -> Iterator[bytes]:
    file, copy = _places(root, name)
    if file.is_file():
        return _blocks(file)
    if not copy.is_file():
        raise MissingData(f"{file} is missing")
    return inflated(copy, most)


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            yield block


def _file(root: Path, name: str) -> Path:
    return inside(root, *name.split("/"))


def _places(root: Path, name: str) -> tuple[Path, Path]:
    file = _file(root, name)
    return file, inside(file.parent, f"{file.name}.gz")


def _exists(root: Path, name: str) -> bool:
    return any(file.is_file() for file in _places(root, name))


def _sha256(root: Path, name: str, most: int = LARGEST) -> str:
    return _hash(_content(root, name, most))


def _hash(blocks: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for block in blocks:
        found.update(block)
    return found.hexdigest()
