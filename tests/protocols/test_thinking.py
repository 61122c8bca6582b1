"""An answer after thinking is read as the same answer without it, on every task; thinking without end is an error."""

from pathlib import Path

import pytest

from anymal_eval import catalog, demo, protocols
from anymal_eval.generation.thinking import FAMILIES, Tags
from anymal_eval.models import openai
from anymal_eval.protocols.reading import TRUNCATED, Reading, read_response, reading_for
from anymal_eval.records import Answer, Example, Response
from anymal_eval.task import Task
from tests.conftest import DEMO_TASKS


def right_answer(example: Example) -> str:
    if example.label is not None and example.kind == "choice":
        return f"{'ABCDEFGH'[example.label]}"
    if example.label is not None:
        return example.options[example.label]
    return (example.references or ("a red bus",))[0]


@pytest.mark.parametrize("name", DEMO_TASKS)
def test_the_answer_is_the_same(name: str, tmp_path: Path) -> None:
    task = catalog.tasks().get(name, "TASK", Task)
    reading = reading_for(task, openai.WORDING, protocols.get("plain"))
    rows = task.official.rows(demo.write_task(name, tmp_path, examples=6), task.split(None))
    for example, tags in zip(map(task.to_example, rows), FAMILIES, strict=False):
        right = right_answer(example)

        def read(text: str, example: Example = example) -> Answer:
            return read_response(Response(id=example.id, answer=text, finish="stop"), example, reading)

        alone = read(right)
        assert alone.state == "ok"
        wrong = "C. A wrong one? No.\nyes, no, (D)"
        assert read(f"{tags.opening}\n{wrong}\n{tags.closing}\n\n{right}") == alone
        assert read(f"{wrong}{tags.closing}{right}") == alone
        assert read(f"{tags.opening}{tags.closing}{right}") == alone
        endless = read(f"{tags.opening}\n{right}")
        assert (endless.state, endless.text) == ("error", TRUNCATED)


CAPTION = Example(id="1", cluster="1", kind="caption")


def test_thinking_that_a_server_gives_apart() -> None:
    def state(**response: str) -> str:
        return read_response(Response(id="1", **response), CAPTION, Reading()).state  # type: ignore[arg-type]

    assert state(answer="a bus", thinking="hm", finish="stop") == "ok"
    assert state(answer="", thinking="hm", finish="length") == "error"
    assert state(answer="", thinking="hm", finish="stop") == "empty"
    assert state(answer="", finish="length") == "empty"


def test_all_of_it_is_kept() -> None:
    tags: Tags = FAMILIES[0]
    raw = f"{tags.opening}hm{tags.closing}a bus"
    response = Response(id="1", answer=raw, finish="stop")
    assert read_response(response, CAPTION, Reading()).text == "a bus"
    assert response.answer == raw
