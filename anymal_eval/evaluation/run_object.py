"""A run, and a comparison of two runs, as Python objects over pandas frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval.codec import encode
from anymal_eval.errors import NotInCatalog
from anymal_eval.evaluation.dataset import reload_dataset
from anymal_eval.evaluation.prompts import prompt_lines
from anymal_eval.evaluation.report_content import rebuild_requests
from anymal_eval.protocols.reading import Reading
from anymal_eval.records import Request
from anymal_eval.report.check_texts import check_table, summary
from anymal_eval.report.regression import Check
from anymal_eval.report.rendering import render
from anymal_eval.report.run_table import screen_table
from anymal_eval.scoring.verification import open_verified
from anymal_eval.sources.dataset import TaskDataset
from anymal_eval.store.folder import RunFolder
from anymal_eval.store.manifest import Manifest
from anymal_eval.store.results import Measurement, Results

if TYPE_CHECKING:
    import pandas as pd

    from anymal_eval.evaluation.requests import TaskRequests

COLUMNS = ("run", "task", "split", "metric", "version", "output", "value", "ci_low", "ci_high", "n", "n_expected",
           "unit", "better", "headline")  # fmt: skip


class Run:
    """A scored run: its numbers, its examples, its prompts.

    Attributes:
        root: the run folder, or an accepted run's.
        name: the run's.
        manifest: what it is: options, data, hashes, versions.
        results: every measurement, as ``results.json`` holds it.
    """

    def __init__(
        self,
        root: Path,
        *,
        data_root: Path = Path("data"),
        tasks_dir: Sequence[Path] = (),
        requests: Mapping[str, TaskRequests] | None = None,
    ) -> None:
        """Open a run folder.

        Args:
            root: the folder.
            data_root: where official files lie; read only when questions or prompts are wanted.
            tasks_dir: folders of the user's own task files.
            requests: by task, where the run was just made.

        Raises:
            OtherRun, MissingData, BadData: it holds no run, or one that is not scored, was edited or is newer.
        """
        self._stored = open_verified(root)
        self._data_root, self._tasks_dir, self._made = data_root, tasks_dir, dict(requests or {})
        self._datasets: dict[str, TaskDataset] = {}
        self._requests: dict[str, Mapping[str, Request]] = {}
        self.root = root
        self.manifest: Manifest = self._stored.manifest
        self.name = self.manifest.run
        self.results: Results = self._stored.results

    @property
    def headlines(self) -> dict[str, Measurement]:
        """By task, the number that papers report, with its interval; values in the metric's own unit."""
        return {item.task: item for item in self.results.measurements if item.headline}

    @property
    def errors(self) -> int:
        """How many answers are errors."""
        return int((self.scores["state"] == "error").sum())

    @cached_property
    def measurements(self) -> pd.DataFrame:
        """A row a measurement with all its fields; ``group.NAME`` and ``states.NAME`` are columns."""
        import pandas as pd

        return pd.DataFrame(list(self._measured()))

    @cached_property
    def scores(self) -> pd.DataFrame:
        """A row an example of every task.

        ``task``, ``id``, ``cluster``, ``state``, ``raw`` (the model's text or option scores), ``answer`` (as it was
        read), ``choice`` and ``p_yes`` where the task has them, ``group.NAME`` and ``METRIC@VERSION``.
        """
        import pandas as pd

        return pd.DataFrame([_flat(task, row) for task in self.manifest.tasks for row in self._stored.scores(task)])

    def table(self) -> pd.DataFrame:
        """A tidy table: a row a measurement over all examples of a task, and each task's headline.

        Values and bounds are in the metric's own unit: fractions in [0, 1], CIDEr as the official code gives it.
        """
        frame = self.measurements
        groups = [name for name in frame.columns if name.startswith("group.")]
        whole = frame[groups].isna().all(axis=1) | frame["headline"]
        return frame.loc[whole, list(COLUMNS)].reset_index(drop=True)

    def examples(self, task: str) -> pd.DataFrame:
        """The rows of one task in ``scores``, with each example's question, options and references.

        Raises:
            NotInCatalog: the run does not hold the task.
            MissingData, OtherRun: the data are not there, or have changed since.
        """
        import pandas as pd

        dataset = self._dataset(task)
        fields = ("question", "options", "references")
        about = pd.DataFrame([{"id": item.id, **{key: getattr(item, key) for key in fields}}
                              for item in dataset.examples])  # fmt: skip
        rows = self.scores[self.scores["task"] == task].dropna(axis=1, how="all")
        return rows.merge(about, on="id", how="left").drop(columns="task")

    def prompt(self, task: str, id: str) -> str:
        """The exact prompt of one example, the media it shows, and how the answer is read.

        Raises:
            NotInCatalog: the run does not hold the task or the example, or the prompts cannot be built again
                without the model.
        """
        example = next((item for item in self._dataset(task).examples if item.id == id), None)
        if task not in self._requests:
            made = self._made.get(task)
            self._requests[task] = (
                {request.id: request for request in made.requests}
                if made is not None
                else rebuild_requests(self._dataset(task), self._stored)
            )
        request = self._requests[task].get(id)
        if example is None or request is None:
            why = "has no such example" if example is None else "was prompted in words that only its model knows"
            raise NotInCatalog(f"{self.name}: {task} {id}: the run {why}")
        return "\n".join(prompt_lines(task, example, request, Reading(**self.manifest.tasks[task].reading)))

    def __repr__(self) -> str:
        found = ", ".join(f"{task} {100 * item.value:.2f}" for task, item in self.headlines.items())
        return f"Run({self.name}: {found})"

    def _repr_html_(self) -> str:
        headlines = tuple(item for item in self.results.measurements if item.headline)
        short = Results(schema=self.results.schema, run=self.results.run, measurements=headlines,
                        not_computed=self.results.not_computed, chance=self.results.chance,
                        problems=self.results.problems)  # fmt: skip
        return render(screen_table(short), "html")

    def _dataset(self, task: str) -> TaskDataset:
        if task not in self.manifest.tasks:
            raise NotInCatalog(f"{self.name} holds {', '.join(self.manifest.tasks)}, and not {task}")
        if task in self._made:
            return self._made[task].dataset
        if task not in self._datasets:
            entry = self.manifest.tasks[task]
            self._datasets[task] = reload_dataset(task, entry, self._data_root, self._tasks_dir, RunFolder(self.root))
        return self._datasets[task]

    def _measured(self) -> Iterator[dict[str, Any]]:
        for item in self.results.measurements:
            row = {**encode(item), "ci_low": item.ci_low, "ci_high": item.ci_high}
            states, group = row.pop("states"), row.pop("group", None) or {}
            row |= {f"states.{name}": count for name, count in states.items()}
            yield {"run": self.name, **row, **{f"group.{name}": value for name, value in group.items()}}


class RunComparison:
    """What changed between two runs, example by example, with a verdict a task.

    Attributes:
        check: the whole comparison, as the command ``check`` makes it.
    """

    def __init__(self, check: Check) -> None:
        self.check = check

    @property
    def verdicts(self) -> dict[str, str]:
        """By task: better, same, worse, cannot tell, refused or not compared."""
        return {item.task: item.word for item in self.check.tasks}

    @property
    def worse(self) -> list[str]:
        """The tasks that got worse by more than chance."""
        return self.check.named("worse")

    def table(self) -> pd.DataFrame:
        """A row a task: verdict, values before and after, difference with its interval, p after Holm, and why.

        Values are in the metric's own unit; they are missing where the runs could not be compared.
        """
        import pandas as pd

        numbers = ("before", "after", "difference", "low", "high", "n", "changed")
        rows = []
        for item in self.check.tasks:
            row: dict[str, Any] = {"task": item.task, "verdict": item.word, "metric": item.metric}
            if item.comparison is not None:
                row |= {name: getattr(item.comparison, name) for name in numbers}
            rows.append({**row, "p": item.p, "why": item.why})
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return f"RunComparison({summary(self.check)})"

    def _repr_html_(self) -> str:
        return render(check_table(self.check), "html")


def _flat(task: str, row: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in row.items() if key not in ("groups", "scores")}
    groups = {f"group.{name}": value for name, value in row.get("groups", {}).items()}
    return {"task": task, **plain, **groups, **row["scores"]}
