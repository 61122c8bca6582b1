"""HELM's ``display_predictions.json``, with ``instances.json`` beside it.

Seen in stanford-crfm/helm ``src/helm/benchmark/presentation/run_display.py`` (Apache-2.0), ``write_run_display_json``:
a list of ``{"instance_id", "train_trial_index", "predicted_text", "stats"}``, and where they apply ``perturbation`` and
``mapped_output``, the text of the option whose letter was predicted. ``instances.json`` holds by ``id`` the ``input``:
its ``text``, or for pictures ``multimedia_content.media_objects``, of which those of ``text/plain`` hold ``text`` and
the others a ``location``; and ``references``, of which those without the tag ``correct`` are wrong options. HELM's ids
count its own sample and are no ids of the benchmark.
"""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData
from anymal_eval.models.replay.layouts import number_of, scalar, text_of
from anymal_eval.models.replay.records import Content, Layout, Options, RecordedAnswer

INSTANCES = "instances.json"


def recognises(content: Content) -> bool:
    """Whether the first row has HELM's keys."""
    return content.has("instance_id", "predicted_text")


def read(content: Content, options: Options) -> Layout:
    """The answers of one trial without perturbation, in the file's order.

    Raises:
        BadData: a row lacks a key, or ``instances.json`` is damaged.
    """
    file = content.file.with_name(INSTANCES)
    instances = read_json(file) if file.is_file() else []
    by_id = {str(each.get("id")): each for each in instances if isinstance(each, dict)} if instances else {}
    answers, left, mapped = [], 0, 0
    for where, row in content.rows or ():
        name = scalar(row.get("instance_id")) if isinstance(row, dict) else None
        if name is None or "predicted_text" not in row:
            raise BadData(f"{where}: a prediction of HELM's has instance_id and predicted_text")
        if (
            row.get("perturbation")
            or number_of(where, row.get("train_trial_index"), "'train_trial_index'") != options.epoch - 1
        ):
            left += 1
            continue
        mapped += isinstance(row.get("mapped_output"), str)
        answer = row["mapped_output"] if isinstance(row.get("mapped_output"), str) else row["predicted_text"]
        question, keys = _input(by_id.get(name, {}))
        answers.append(
            RecordedAnswer(
                id=name,
                answer=text_of(where, answer, "'predicted_text'"),
                keys={"instance_id": name, **keys},
                question=question,
                options=_options(by_id.get(name, {})),
                where=where,
            )
        )
    notes = (f"{left} predictions of other trials or of perturbed inputs are left out",) if left else ()
    return Layout(answers=tuple(answers), extract="text" if mapped else "", name="HELM", notes=notes)


def _options(instance: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts of the references, where several are given: the options of a choice."""
    given = instance.get("references")
    held = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    outputs = [each.get("output") for each in held]
    texts = [str(each["text"]) for each in outputs if isinstance(each, dict) and isinstance(each.get("text"), str)]
    return tuple(texts) if len(texts) > 1 and not all(each.get("tags") for each in held) else ()


def _input(instance: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The question of an instance, and the names of its media."""
    given = instance.get("input")
    if not isinstance(given, dict):
        return "", {}
    held = given.get("multimedia_content")
    objects = held.get("media_objects") if isinstance(held, dict) else None
    parts = [each for each in objects if isinstance(each, dict)] if isinstance(objects, list) else []
    texts = [str(part["text"]) for part in parts if isinstance(part.get("text"), str)]
    names = [PurePath(str(part["location"])).name for part in parts if isinstance(part.get("location"), str)]
    return "\n".join([str(given.get("text") or ""), *texts]).strip(), {"image": names[0]} if names else {}
