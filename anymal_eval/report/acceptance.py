"""What a run must be before it may become a baseline."""

from __future__ import annotations

from anymal_eval.errors import IncompleteRun
from anymal_eval.report.pairing import task_run
from anymal_eval.store.results import Results
from anymal_eval.store.stored import StoredRun


def require_whole(run: StoredRun) -> Results:
    """Make sure that every task of a run is answered, scored and free of errors.

    Raises:
        IncompleteRun: naming the tasks, and what each lacks.
    """
    results = run.results
    wrong = []
    for task, entry in run.manifest.tasks.items():
        if not (run.root / task / "scores.jsonl").is_file() and not (run.root / task / "scores.jsonl.gz").is_file():
            wrong.append(f"{task} is not scored")
            continue
        one = task_run(run, task)
        if len(one.rows) != entry.n:
            wrong.append(f"{task} has {len(one.rows):,} of {entry.n:,} answers")
        elif one.errors:
            wrong.append(f"{task} has {one.errors:,} errors among {len(one.rows):,} answers")
        elif one.headline is None:
            wrong.append(f"{task} has no headline number: {one.why_not}")
    if wrong:
        raise IncompleteRun(
            f"{run.root}: {'; '.join(wrong)}; the same run command asks only what is missing, then accept"
        )
    return results
