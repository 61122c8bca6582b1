"""Every field that a task reads from a row changes the request, the reading or the score, under every protocol."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anymal_eval import catalog, demo, metrics, protocols
from anymal_eval.metrics import Metric
from anymal_eval.models import PLAIN_WORDING, blip2, instructblip, openai
from anymal_eval.protocols import Wording
from anymal_eval.protocols.prompting import build_request
from anymal_eval.protocols.reading import read_response, reading_for
from anymal_eval.records import Example, Response
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.tables import Row
from anymal_eval.task import Task
from tests.conftest import DEMO_TASKS

WORDINGS: dict[str, Wording] = {
    "": PLAIN_WORDING,
    "blip2 OPT": blip2.OPT_WORDING,
    "blip2 T5": blip2.T5_WORDING,
    "instructblip": instructblip.WORDING,
    "openai": openai.WORDING,
}

# Fields that a source may fill and the demo files leave out.
OPTIONAL = {
    "textvqa": {"ocr_tokens"},
    "mmit_cap": {"question"},
    "imu_caption": {"question", "start_s", "end_s"},
    "scienceqa": {"image", "hint"},
}

NAMES = catalog.protocols().names()

# (task, field, protocol) -> why the field changes nothing there; "" stands for every protocol.
UNUSED = {
    ("textvqa", "ocr_tokens", "plain"): "OCR tokens move the score by ten points: only a paper that gives them does",
    ("textvqa", "ocr_tokens", "demo"): "the demo model reads the picture",
    ("textvqa", "ocr_tokens", "anymal-2023"): "the paper's prompt has none",
    ("textvqa", "ocr_tokens", "openflamingo-2023"): "its code gives none",
    **{
        ("textvqa", "ocr_tokens", name): "its code gives none to models that read pictures"
        for name in ("internvl-2024", "llava-onevision-2024", "qwen2-vl-2024", "qwen3-vl-2025")
    },
    **{("scienceqa", "key", name): "it pairs examples of runs on different copies" for name in NAMES},
    **{("okvqa", "answer_type", name): "it is 'other' in all of the official file" for name in NAMES},
    ("imu_caption", "question", "anymal-2023"): "the paper's prompt is fixed: Describe this motion.",
    ("imu_caption", "question", "demo"): "the demo model was trained on one request",
}


def changed_rows(row: Any, optional: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Each field's name, with the row in which it alone differs; fields that the source leaves empty are left out."""
    if is_dataclass(row) and not isinstance(row, type):
        for field in fields(row):
            value = getattr(row, field.name)
            if value != field.default or field.name in optional:
                yield field.name, replace(row, **{field.name: other(value, row)})
        return
    assert isinstance(row, Row)
    for key, value in row.data.items():
        altered = Fields({**row.data, key: other(value, row)}, row.file, row.place)
        yield key, Row(altered, row.root, row.split, row.number)


def other(value: Any, row: Any) -> Any:
    """Another value that the field can have."""
    match value:
        case None:
            return 1.5
        case int():
            # An answer is an index into the options, a grade of school ranges over two groups.
            options = getattr(row, "options", getattr(row, "choices", ("no", "yes")))
            return (value + 1) % len(options) if value < len(options) else 13 - value
        case float():
            return value + 0.5
        case tuple():
            return ("something else", *value[1:]) if value else ("something else",)
        case str() if value.isdecimal():
            return f"{value}9"
        case str():
            # A type is one of a closed list.
            return {"TN": "CW", "CW": "TN"}.get(value, f"{value} and more")
    raise AssertionError(f"{value!r} in {row}")


def observed(
    task: Task, example: Example, wording: Wording, protocol: protocols.Protocol, scorers: Sequence[Metric]
) -> tuple[Any, ...]:
    """What a run makes of an example: its request, and per answer its reading, its scores and its groups."""
    request = build_request(example, task, wording, protocol)
    reading = reading_for(task, wording, protocol)
    scored: list[Any] = []
    for text in ("A", *(example.references or ())[:1]):
        candidates = len(request.candidates)
        response = Response(id=example.id, option_scores=tuple(range(-candidates, 0))) if candidates else Response(
            id=example.id, answer=text)  # fmt: skip
        answer = read_response(response, example, reading)
        scored.append(answer)
        for metric in scorers:
            if not metric.needs and metric.name not in ("meteor", "spice", "spider"):
                scored.append(np.asarray(metric.statistics([example], [answer])).tolist())
    return request, scored, example.cluster, dict(example.groups), example.label


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Any]]:
    root = tmp_path_factory.mktemp("demo")

    def of(name: str) -> list[Any]:
        task = catalog.tasks().get(name, "TASK", Task)
        folder: Path = demo.write_task(name, root, examples=4)
        return list(task.official.rows(folder, task.split(None)))

    return of


@pytest.mark.parametrize("name", DEMO_TASKS)
def test_every_field_that_is_read_is_used(name: str, rows: Callable[[str], list[Any]]) -> None:
    task = catalog.tasks().get(name, "TASK", Task)
    read, scorers = rows(name), [metrics.get(metric) for metric in task.metrics]
    unused = set()
    for protocol_name in NAMES:
        protocol = protocols.get(protocol_name)
        for wording_name, wording in WORDINGS.items():
            if wording_name and name in protocol.tasks:
                continue
            used: dict[str, bool] = {}
            for row in read[:1]:
                before = task.to_example(row)
                seen = observed(task, before, wording, protocol, scorers)
                for field, altered in changed_rows(row, OPTIONAL.get(name, set())):
                    after = task.to_example(altered)
                    if isinstance(row, Row) and after == before:
                        continue  # a key of the file that the task does not read
                    changes = observed(task, after, wording, protocol, scorers) != seen
                    used[field] = used.get(field, False) or changes
            unused |= {(name, field, protocol_name) for field, changes in used.items() if not changes}
    assert unused == {key for key in UNUSED if key[0] == name}


@pytest.mark.parametrize("wording", WORDINGS.values(), ids=list(WORDINGS))
def test_the_question_of_a_row_is_the_prompt(wording: Wording, rows: Callable[[str], list[Any]]) -> None:
    # A caption without a question keeps the prompt that it has always had.
    task = catalog.tasks().get("mmit_cap", "TASK", Task)
    row, usual = rows("mmit_cap")[0], ["Describe it in one sentence.", "a photo of", "A short image caption."]
    for question, expected in (("How many boats?", ["How many boats?"]), ("", usual), ("  ", usual)):
        request = build_request(task.to_example(replace(row, question=question)), task, wording, protocols.get("plain"))
        assert request.messages[-1].parts[-1] in expected
