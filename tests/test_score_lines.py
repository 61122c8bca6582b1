"""``scores.jsonl``: every line is the JSON of its row, whatever its texts hold, though equal parts are encoded once."""

import json
import random
from typing import Any

import numpy as np
import pytest

from anymal_eval.codec import write_json
from anymal_eval.records import Answer, Example, Response
from anymal_eval.scoring import score_lines
from anymal_eval.scoring.score import Scores

TEXTS = ("yes", 'a "b"\n', "é\u2028", "\ud800", "", "</script>", "0")


def _scores(answers: list[Answer], notes: list[frozenset[str]], display: dict[str, Any]) -> Scores:
    scored = np.array([answer.state != "error" for answer in answers])
    return Scores(answers=tuple(answers), notes=notes, statistics={}, display=display, scored=scored,
                  measurements=(), not_computed=())  # fmt: skip


@pytest.mark.parametrize("kept", [3, 100_000])
def test_lines_are_rows(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_lines, "_KEPT", kept)
    drawn = random.Random(5)
    examples, answers, responses, notes, rows = [], [], {}, [], []
    values = iter([0.0, -0.0, 1 / 3, 1e-17, 5.0] * 100)
    display: dict[str, list[float]] = {"a@1": [], "b@é": []}
    for number in range(200):
        name, text = f"{drawn.choice(TEXTS)}{number}", drawn.choice(TEXTS)
        groups = {"type": drawn.choice(TEXTS), "x": "1"} if number % 3 else {}
        example = Example(id=name, cluster=text, kind="choice", key=name if number % 4 == 0 else "", groups=groups)
        ranked = number % 5 == 0
        response = Response(id=name, option_scores=(-1.5, -0.0)) if ranked else Response(id=name, answer=text)
        answer = Answer(
            state="error" if number % 7 == 0 else "ok",
            text=text,
            choice=drawn.choice((None, 0, 1)),
            p_yes=drawn.choice((None, 0.25)) if ranked else None,
        )
        noted = frozenset({"cut", "thinking"}) if number % 6 == 0 else frozenset()
        row: dict[str, Any] = {"id": name, "cluster": text, "state": answer.state}
        row |= {"raw": [-1.5, -0.0] if ranked else text, "answer": text}
        row |= {key: value for key in ("choice", "p_yes") if (value := getattr(answer, key)) is not None}
        row |= {"key": example.key} if example.key else {}
        row |= {"groups": groups} if groups else {}
        row |= {"cut": True, "thinking": True} if noted else {}
        row["scores"] = {}
        if answer.state != "error":
            row["scores"] = {metric: next(values) for metric in display}
            for metric, value in row["scores"].items():
                display[metric].append(value)
        examples.append(example)
        answers.append(answer)
        responses[name] = response
        notes.append(noted)
        rows.append(row)
    scores = _scores(answers, notes, {name: np.array(column) for name, column in display.items()})
    lines = list(score_lines.ScoreLines(scores).of(examples, responses))
    assert lines == [write_json(row) for row in rows]
    assert [json.loads(line) for line in lines] == rows


def test_no_number_is_refused() -> None:
    example, answer = Example(id="1", cluster="1", kind="caption"), Answer(state="ok", text="x")
    responses = {"1": Response(id="1", answer="x")}
    for display in ({}, {"a": np.array([0.5])}):
        assert (
            len(list(score_lines.ScoreLines(_scores([answer], [frozenset()], display)).of([example], responses))) == 1
        )
    lines = score_lines.ScoreLines(_scores([answer], [frozenset()], {"a": np.array([np.nan])}))
    with pytest.raises(ValueError, match="JSON compliant"):
        list(lines.of([example], responses))
