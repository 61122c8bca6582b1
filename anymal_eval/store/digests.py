"""``digests.json``: what a run's files were when they were scored, so that a later edit is noticed."""

import gzip
import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData, MissingData
from anymal_eval.store.atomic import write_atomic

FILE = "digests.json"
SCHEMA = 1


def write(root: Path, tasks: Iterable[str]) -> None:
    """Write the SHA-256 of the manifest, the results, and each task's scores and statistics.

    A task that has no scores is passed over; the same files give the same bytes.
    """
    from anymal_eval.store.folder import write_json_pretty

    names = ["manifest.json", "results.json"]
    names += [f"{task}/{file}" for task in sorted(tasks) for file in ("scores.jsonl", "statistics.npz")]
    digests = {name: _digest(content(root, name)) for name in names if _exists(root, name)}
    write_atomic(root / FILE, write_json_pretty({"schema": SCHEMA, "sha256": digests}))


def verify(root: Path, only: Iterable[str] | None = None) -> None:
    """Compare a run's files with their digests.

    Args:
        root: the run folder, or an accepted run, whose scores are compressed.
        only: these files and no others; by default all that have a digest.

    Raises:
        MissingData: there are no digests, or a file is gone.
        BadData: a file was changed after it was scored.
    """
    file = root / FILE
    if not file.is_file():
        raise MissingData(f"{root} holds no {FILE}, so it is not scored to its end; anymal-eval score {root}")
    data = read_json(file)
    known = data.get("sha256") if isinstance(data, dict) else None
    if not isinstance(known, dict) or data.get("schema") != SCHEMA:
        raise BadData(f"{file}: it must hold schema {SCHEMA} and the digests under sha256; anymal-eval score {root}")
    for name in known if only is None else only:
        if not _exists(root, name):
            raise MissingData(f"{root / name} is gone; anymal-eval score {root} makes it again")
        if _digest(content(root, name)) != known.get(name):
            raise BadData(
                f"{root / name} is not what was scored (its digest differs): it was edited, or a later run was not "
                f"finished; anymal-eval score {root} makes it again from the responses"
            )


def content(root: Path, name: str) -> bytes:
    """A file's bytes, from its compressed copy where there is only that.

    Raises:
        BadData: the compressed copy is damaged.
        MissingData: there is neither.
    """
    file, packed = root / name, root / f"{name}.gz"
    if file.is_file():
        return file.read_bytes()
    if not packed.is_file():
        raise MissingData(f"{file} is not there")
    try:
        return gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"{packed}: {error}; is the file whole?") from None


def _exists(root: Path, name: str) -> bool:
    return (root / name).is_file() or (root / f"{name}.gz").is_file()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
