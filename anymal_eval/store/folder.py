"""The run folder: the places of its files, and writing them, one process at a time."""

import contextlib
import io
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from anymal_eval.checksums import write_checked_json
from anymal_eval.codec import encode, read_json, write_json_pretty
from anymal_eval.errors import OtherRun
from anymal_eval.locks import hold
from anymal_eval.paths import inside
from anymal_eval.store import digests
from anymal_eval.store import manifest as manifests
from anymal_eval.store.atomic import delete_drafts, storage_errors, write_atomic
from anymal_eval.store.manifest import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAMPLES = "samples"  # inside a run folder, further samples of the same run: samples/2, samples/3 ...
BLIND = "no-media"  # inside a run folder, the same run without media
CONFIG = "config.toml"  # the resolved options, where there was a configuration file
WRITTEN = (
    CONFIG,
    "manifest.json", "results.json", "digests.json", "timings.json", "table.md", "table.csv", "table.tex",
    "responses.jsonl", "scores.jsonl", "statistics.npz",
)  # fmt: skip
_AT_ONCE = 1024  # lines that are joined and encoded in one go
RESULTS_IDENTITY = ("model", "limit", "ablate", "fingerprint")  # of the manifest, in results.json too


class RunFolder:
    """A run on disk. Write to it inside a ``with`` statement, which keeps other processes out."""

    def __init__(self, root: Path) -> None:
        """Set the path; nothing is opened or made."""
        self.root = root

    def __enter__(self) -> Self:
        """Make the folder and lock it.

        Raises:
            OtherRun: another process is writing to the run, or the folder holds other files.
            StorageFull, WrongUse: the folder cannot be made.
        """
        foreign = self.root.is_file() or (
            self.root.is_dir() and any(self.root.iterdir()) and not (self.root / "manifest.json").is_file()
            and not (self.root / ".lock").is_file()
        )  # fmt: skip
        if foreign:
            raise OtherRun(f"{self.root} holds other files and no run; choose another --out")
        busy = f"{self.root}: another process is writing to this run; wait for it or stop it"
        with contextlib.ExitStack() as stack, storage_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(self.root / ".lock", busy))
            for folder in (self.root, *(each for each in self.root.iterdir() if each.is_dir())):
                delete_drafts(folder, WRITTEN)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock; the operating system does so too when the process dies."""
        self._stack.close()

    @property
    def manifest_file(self) -> Path:
        """The file of the manifest."""
        return self.root / "manifest.json"

    def manifest(self) -> Manifest:
        """Read the manifest.

        Raises:
            OtherRun: the folder holds no run.
            BadData: it is damaged or was edited.
        """
        if not self.manifest_file.is_file():
            raise OtherRun(f"{self.root} holds no run: it has no manifest.json")
        return manifests.read(self.manifest_file)

    def start(self, manifest: Manifest, *, allow_environment_change: bool = False, renamed: bool = False) -> Manifest:
        """Write the manifest of a run that starts here, or that resumes here.

        Args:
            manifest: of the run.
            allow_environment_change: whether packages and the device may be others than before.
            renamed: whether a run that resumes gets the name in ``manifest``; else it keeps its own.

        Returns:
            It, with the tasks that the folder holds from before.

        Raises:
            OtherRun: the folder holds another run.
            BadData: the manifest is damaged, and holds tasks that ``manifest`` does not, so that nothing confirms them.
        """
        if self.manifest_file.is_file():
            before = manifests.read(self.manifest_file, verify=False)
            if before.tasks.keys() - manifest.tasks.keys():
                before = manifests.read(self.manifest_file)
            manifests.check_same(self.manifest_file, before, manifest, allow_environment_change)
            manifest = manifests.resumed(before, manifest if renamed else replace(manifest, run=before.run))
        write_atomic(self.manifest_file, write_checked_json(encode(manifest)))
        return manifest

    def responses(self, task: str) -> Path:
        """The file of one task's responses."""
        return inside(self.root, task, "responses.jsonl")

    def scores(self, task: str) -> Path:
        """The file of one task's scores, one row per example."""
        return inside(self.root, task, "scores.jsonl")

    def statistics(self, task: str) -> Path:
        """The file of the metrics' statistics over one task."""
        return inside(self.root, task, "statistics.npz")

    def write_scores(self, task: str, lines: Iterable[str]) -> None:
        """Write one task's scores, a line an example."""
        content, rest = io.BytesIO(), iter(lines)
        while some := list(itertools.islice(rest, _AT_ONCE)):  # never all of them as text
            content.write("\n".join([*some, ""]).encode())
        write_atomic(self.scores(task), content.getvalue())

    def write_statistics(self, task: str, arrays: Mapping[str, "NDArray[np.float64]"]) -> None:
        """Write statistics by metric id; the same arrays give the same bytes."""
        import numpy as np

        buffer = io.BytesIO()
        np.savez_compressed(buffer, **dict(arrays))  # type: ignore[arg-type]
        write_atomic(self.statistics(task), buffer.getvalue())

    def write_results(self, manifest: Manifest, scored: Mapping[str, Mapping[str, Iterable[Any]]]) -> None:
        """Write ``results.json``.

        Args:
            manifest: of the run.
            scored: by task, its rows by their key in the file; other tasks of the run keep those that they have.

        Raises:
            BadData: those were changed since.
        """
        file = self.root / "results.json"
        # Where every task was just scored, the file is replaced as a whole, and may be damaged.
        before = {}
        if file.is_file() and not manifest.tasks.keys() <= scored.keys():
            digests.verify_where_written(self.root, file.name)
            before = read_json(file)
        rows: dict[str, list[Any]] = {"measurements": [], "not_computed": [], "chance": [], "problems": []}
        for task in manifest.tasks:
            for key, collected in rows.items():
                earlier = (row for row in before.get(key, []) if row["task"] == task)
                collected.extend(scored[task][key] if task in scored else earlier)
        rows["data_notes"] = [
            {"task": task, "sentence": note} for task, entry in manifest.tasks.items() for note in entry.data_notes
        ]
        for key in ("problems", "data_notes"):
            if not rows[key]:
                del rows[key]  # a run without any has the bytes that earlier versions wrote
        run = {"name": manifest.run, **{key: manifest.identity[key] for key in RESULTS_IDENTITY}}
        write_atomic(file, write_json_pretty({"schema": 1, "run": run, **rows}))
