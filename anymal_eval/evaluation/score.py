"""Step 4, score: answers, statistics and measurements from the responses on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anymal_eval.errors import listed
from anymal_eval.evaluation.generate import GeneratedRun
from anymal_eval.metrics import java_programs, use_ptb
from anymal_eval.records import Failure
from anymal_eval.scoring.score import Scores
from anymal_eval.scoring.score import score as score_task
from anymal_eval.scoring.score_lines import ScoreLines
from anymal_eval.sources.dataset import TaskDataset
from anymal_eval.sources.load import collector_resting
from anymal_eval.store.responses import read_responses
from anymal_eval.store.results import AnswerProblem

if TYPE_CHECKING:
    from anymal_eval.evaluation.console import Console


@dataclass(frozen=True, kw_only=True)
class ScoredRun:
    """A run whose scores and statistics are on disk.

    Attributes:
        scores: by task, of those that were scored now.
        errors: how many answers are errors, over these tasks.
    """

    generated: GeneratedRun
    scores: Mapping[str, Scores]
    errors: int


def score(generated: GeneratedRun, console: Console) -> ScoredRun:
    """Score every dataset of the run.

    Args:
        generated: the run.
        console: where answers that are errors, empty, unparsable or cut are counted.

    Raises:
        IncompleteRun: responses are missing.
    """
    folder, scores, failures, errors = generated.folder, {}, {}, 0
    with use_ptb(generated.ptb), java_programs():
        for dataset in generated.datasets:
            name = dataset.task.name
            with console.phase(f"scoring {name}"), collector_resting():
                responses = read_responses(folder.responses(name))
                scores[name] = score_task(
                    dataset.task,
                    generated.manifest.tasks[name],
                    dataset.examples,
                    responses,
                    chosen=generated.metrics,
                    phase=console.phase,
                )
                failures[name] = [item.failure for item in responses.values() if item.failure is not None]
                folder.write_scores(name, ScoreLines(scores[name]).of(dataset.examples, responses))
                folder.write_statistics(name, scores[name].statistics)
    for dataset in generated.datasets:
        errors += _count_errors(dataset, scores[dataset.task.name], failures[dataset.task.name], console)
        for problem in scores[dataset.task.name].problems:
            console.message(f"{dataset.task.name}: {AnswerProblem(**problem).sentence}")
    return ScoredRun(generated=generated, scores=scores, errors=errors)


def _count_errors(dataset: TaskDataset, scores: Scores, failures: Sequence[Failure], console: Console) -> int:
    errors = [
        (example.id, answer.text)
        for example, answer in zip(dataset.examples, scores.answers, strict=True)
        if answer.state == "error"
    ]
    if errors:
        console.message(
            f"{dataset.task.name}: {len(errors)} of {len(scores.answers)} answers are errors and are left out "
            f"of the value: {listed([name for name, _ in errors])}; the first: {errors[0][1]}; {_outlook(failures)}"
        )
    return len(errors)


def _outlook(failures: Sequence[Failure]) -> str:
    """What the same command can do about errors, by the kinds of their failures."""
    passing = Counter(failure.kind for failure in failures if failure.may_pass)
    lasting = Counter(failure.kind for failure in failures if not failure.may_pass)
    if not lasting:
        return "the same command tries them again" if passing else "they stay errors with these answers"
    stay = f"{_counted(lasting)} will fail again unless the data, the prompt or the model change"
    return f"the same command tries again {_counted(passing)}; {stay}" if passing else stay


def _counted(kinds: Counter[str]) -> str:
    return f"{sum(kinds.values())} ({', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))})"
