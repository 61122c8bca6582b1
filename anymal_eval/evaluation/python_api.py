"""The public functions of ``anymal_eval``: the package itself hands them on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.evaluation.plan import make_plan
from anymal_eval.evaluation.run import run
from anymal_eval.evaluation.run_object import Run as Run
from anymal_eval.evaluation.run_object import RunComparison as RunComparison
from anymal_eval.report.policy import Policy, read_policy
from anymal_eval.report.regression import check
from anymal_eval.store.accepted import ACCEPTED, base_runs
from anymal_eval.store.stored import open_run

if TYPE_CHECKING:
    from anymal_eval.evaluation.console import Console
    from anymal_eval.models import Model
    from anymal_eval.task import Task


def evaluate(
    model: str | Model | None = None,
    tasks: str | Task | Sequence[str | Task] = "all",
    *,
    console: Console | None = None,
    **options: Any,
) -> Run:
    """Evaluate a model, as ``anymal-eval run`` does; the same call on the same ``out`` resumes it.

    Args:
        model: ``NAME[:CHECKPOINT]``, ``package.module:Class``, or any object with the ``Model`` protocol. None is the
            demo model on demo data.
        tasks: names, or ``Task`` objects; ``all`` is every task that the model takes.
        console: takes messages and progress; nothing is shown without one.
        options: the options of ``anymal-eval run`` with underscores: ``data``, ``data_root``, ``hub_id``, ``split``,
            ``limit``, ``demo_examples``, ``skip_missing_media``, ``protocol``, ``extract``, ``ablate``, ``with_blind``,
            ``ptb``, ``options`` (a mapping, ``-o`` on the command line), ``device``, ``precision``, ``quantize``,
            ``media_timeout``, ``media_budget``, ``features``, ``batch_size``, ``threads``, ``max_errors``, ``engine``,
            ``workers``, ``gpus_per_worker``, ``address``, ``max_new_tokens``, ``temperature``, ``top_p``, ``seed``,
            ``samples``, ``system``, ``thinking``, ``thinking_tokens``, ``tasks_dir``, ``allow_environment_change``,
            ``out``, ``name``.

    Returns:
        The run. Answers that are errors are counted in ``Run.errors`` and left out of the values.

    Raises:
        AnyMALEvalError: as the tree in :mod:`anymal_eval.errors` says; what was answered is on disk.
    """
    plan = make_plan(tasks, model=model, **options)
    finished = run(plan, console or SilentConsole())
    return Run(finished.root, data_root=plan.data.data_root, tasks_dir=plan.tasks_dir, requests=finished.requests)


def load_run(path: str | Path, *, data_root: str | Path = "data", tasks_dir: Sequence[str | Path] = ()) -> Run:
    """Open a run folder or an accepted run.

    Args:
        path: its folder.
        data_root: where the official files lie; read only for questions and prompts.
        tasks_dir: folders of your own task files.

    Raises:
        OtherRun, MissingData, BadData: it holds no run, or one that is not scored, was edited or is newer.
    """
    return Run(Path(path), data_root=Path(data_root), tasks_dir=tuple(map(Path, tasks_dir)))


def compare(
    run: Run | str | Path, against: Run | str | Path, *, policy: str | Path | None = None, accepted: Path = ACCEPTED
) -> RunComparison:
    """Compare a run with another one of the same tasks, example by example, as ``anymal-eval check`` does.

    Args:
        run: the new run, or its folder.
        against: the run to compare with, its folder, or the model of an accepted run.
        policy: a TOML file with tiers and limits.
        accepted: where accepted runs lie.

    Raises:
        OtherRun: the two have no task in common. NotInCatalog: no accepted run of that name.
    """
    stored = open_run(run.root if isinstance(run, Run) else Path(run))
    name = str(against.root if isinstance(against, Run) else against)
    bases = base_runs(name, stored.manifest, accepted)
    return RunComparison(check(stored, bases, name, read_policy(Path(policy)) if policy else Policy(), {}))
