"""The harness on a network that is being trained: some tasks' headlines, asked of it as it is in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anymal_eval.cli import _evaluate as flow
from anymal_eval.errors import WrongUse

if TYPE_CHECKING:
    from anymal_eval.anymal.model import AnyMAL
    from anymal_eval.models import Model
    from anymal_eval.protocols import Protocol
    from anymal_eval.records import Response


def evaluation(
    given: Mapping[str, Any], accepts: Collection[str]
) -> Callable[[AnyMAL, int], Mapping[str, float]] | None:
    """What ``train`` asks every ``--eval-every`` steps; the examples are read now, so that what is missing is said now.

    Args:
        given: the command's options.
        accepts: the media that the network has encoders for.

    Raises:
        NotInCatalog, MissingData, BadData: a task or its data are not there.
        WrongUse: one of ``--eval-every`` and ``--eval-tasks`` without the other, or a task of another medium.
    """
    if bool(given["eval_every"]) != bool(given["eval_tasks"]):
        raise WrongUse("--eval-every and --eval-tasks go together")
    if not given["eval_tasks"]:
        return None
    protocol = flow.protocol_of(given["eval_protocol"])
    data = flow.DataChoice(kind=given["eval_data"], root=given["data_root"], limit=given["eval_limit"])
    loaded = [flow.require_media(one, data) for one in _loaded(given["eval_tasks"], data, protocol, accepts)]
    features = given["features"]

    def evaluate(network: AnyMAL, step: int) -> Mapping[str, float]:
        del step
        from anymal_eval.models import anymal

        options = anymal.Options(
            checkpoint="", features="" if features is None else str(features), media_timeout=given["media_timeout"]
        )
        model = anymal.over(network, options)
        try:
            return {name: value for one in loaded for name, value in _scores(one, model, data, protocol).items()}
        finally:
            model.close()

    return evaluate


def _loaded(
    names: str, data: flow.DataChoice, protocol: tuple[str, Protocol], accepts: Collection[str]
) -> list[flow.Loaded]:
    from anymal_eval import catalog
    from anymal_eval.cli._asked import with_split
    from anymal_eval.task import Task

    found = [
        catalog.tasks().get(name.strip(), "TASK", Task) for name in dict.fromkeys(names.split(",")) if name.strip()
    ]
    for task in found:
        if task.media not in accepts:
            raise WrongUse(f"--eval-tasks {task.name} needs {task.media}; this network takes {', '.join(accepts)}")
    return [flow.load_task(task, with_split(task, data, protocol)) for task in found]


def _scores(one: flow.Loaded, model: Model, data: flow.DataChoice, protocol: tuple[str, Protocol]) -> dict[str, float]:
    """The headlines by ``task/output``, and how many answers were errors where there were any."""
    from anymal_eval.engine import EngineSettings, local
    from anymal_eval.engine.clock import Clock
    from anymal_eval.scoring.score import score

    answers: dict[str, Response] = {}

    def sink(batch: Sequence[Response]) -> None:
        answers.update((response.id, response) for response in batch)

    local.run_requests(flow.requests(one, protocol[1], model, "none"), model, sink, EngineSettings(), Clock())
    scored = score(one.task, flow.task_entry(one, data, protocol, model, "none"), one.examples, answers)
    name = one.task.name
    errors = sum(answer.state == "error" for answer in scored.answers)
    return {
        **{
            f"{name}/{row['output']}": float(row["value"])
            for row in scored.measurements
            if row["headline"]  # of ScienceQA it is that of the questions with a picture
        },
        **({f"{name}/errors": float(errors)} if errors else {}),
    }
