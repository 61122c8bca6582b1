"""``digests.json``: the SHA-256 of a run's files when it was scored, which shows a later edit."""

import gzip
import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path

from anymal_eval.codec import read_json, write_json_pretty
from anymal_eval.errors import BadData, MissingData
from anymal_eval.paths import inside
from anymal_eval.store.atomic import write_atomic

FILE = "digests.json"
SCHEMA = 1


def write(root: Path, tasks: Iterable[str]) -> None:
    """Write the SHA-256 of the manifest, the results, and each task's scores and statistics.

    A task without scores is left out; the same files give the same bytes.
    """
    names = ["manifest.json", "results.json"]
    names += [f"{task}/{file}" for task in sorted(tasks) for file in ("scores.jsonl", "statistics.npz")]
    digests = {name: _digest(content(root, name)) for name in names if _exists(root, name)}
    write_atomic(root / FILE, write_json_pretty({"schema": SCHEMA, "sha256": digests}))


def verify(root: Path, only: Iterable[str] | None = None) -> None:
    """Compare a run's files with their digests.

    Args:
        root: a run folder, or an accepted run, whose scores are compressed.
        only: the files to compare; by default all that have a digest.

    Raises:
        MissingData: there are no digests, or a file is missing.
        BadData: a file has changed since the run was scored.
    """
    known = read(root)
    for name in known if only is None else only:
        if not _exists(root, name):
            raise MissingData(f"{root / name} is missing; anymal-eval score {root} makes it again")
        if _digest(content(root, name)) != known.get(name):
            raise BadData(
                f"{root / name} has changed since it was scored (its digest differs): it was edited, or a later run "
                f"did not finish; anymal-eval score {root} makes it again from the responses"
            )


def read(root: Path) -> dict[str, str]:
    """The digests of a run's files by name.

    Raises:
        MissingData: there are none.
        BadData: the file is damaged.
    """
    file = root / FILE
    if not file.is_file():
        raise MissingData(f"{root} holds no {FILE}: scoring has not finished; anymal-eval score {root}")
    data = read_json(file)
    known = data.get("sha256") if isinstance(data, dict) else None
    if not isinstance(known, dict) or data.get("schema") != SCHEMA:
        raise BadData(f"{file}: it must hold schema {SCHEMA} and the digests under sha256; anymal-eval score {root}")
    return known


def content(root: Path, name: str) -> bytes:
    """A file's bytes, read from its compressed copy where only that exists.

    Raises:
        BadData: the compressed copy is damaged, or the name leads out of the run.
        MissingData: neither exists.
    """
    file, packed = _places(root, name)
    if file.is_file():
        return file.read_bytes()
    if not packed.is_file():
        raise MissingData(f"{file} is missing")
    try:
        return gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"{packed}: {error}; is the file whole?") from None


def _places(root: Path, name: str) -> tuple[Path, Path]:
    file = inside(root, *name.split("/"))
    return file, inside(file.parent, f"{file.name}.gz")


def _exists(root: Path, name: str) -> bool:
    return any(file.is_file() for file in _places(root, name))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
