"""Large official files are read in a quick way: its rows and errors are those of the reader of every layout."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import BadData
from anymal_eval.sources import vqa
from anymal_eval.task import Split

FILES = vqa.VQAFiles(questions="q_{split}.json", annotations="a_{split}.json", origin="o")
SPLIT = Split("val", 6, file="val2014")
Change = Callable[[list[Any], list[Any]], object]


def answers(word: str) -> list[dict[str, Any]]:
    return [{"answer": f"{word}{n % 3}", "answer_confidence": "yes", "answer_id": n} for n in range(10)]


def official(folder: Path, change: Change | None = None) -> Path:
    questions = [{"image_id": n // 2, "question": f"what is {n}?", "question_id": 100 + n} for n in range(6)]
    labels = [
        {"question_type": "what is", "answers": answers("dög" if n == 3 else "cat"), "image_id": n // 2,
         "answer_type": "other", "question_id": 100 + n}
        for n in range(6)
    ]  # fmt: skip
    if change is not None:
        change(questions, labels)
    (folder / "q_val2014.json").write_text(json.dumps({"info": {"a": [1.5]}, "questions": questions}))
    (folder / "a_val2014.json").write_text(json.dumps({"annotations": labels, "license": {}}, ensure_ascii=False))
    return folder


def both(folder: Path, split: Split = SPLIT) -> list[tuple[list[Any], str]]:
    """The rows, and the error that ends them, of the quick way and of the strict reader alone."""
    found = []
    for table in (FILES.table(split), replace(FILES.table(split), regular=None)):
        rows: list[Any] = []
        why = ""
        try:
            for row in table.rows(folder, split):
                rows.append(row)  # those before an error count
        except BadData as error:
            why = str(error)
        found.append((rows, why))
    return found


def test_regular_files_need_no_other_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, strict = both(official(tmp_path))
    assert quick == strict
    assert [row.question_id for row in quick[0]] == [str(100 + n) for n in range(6)]
    assert quick[0][3].answers == tuple(f"dög{n % 3}" for n in range(10))
    monkeypatch.setattr(vqa, "vqa", None)
    monkeypatch.setattr(type(FILES.table(SPLIT)), "_rows", None)
    assert list(FILES.rows(tmp_path, SPLIT)) == strict[0]


def test_rows_of_one_picture_share_what_is_the_same(tmp_path: Path) -> None:
    first, second, *_ = FILES.rows(official(tmp_path), SPLIT)
    assert first.image is second.image
    assert first.answers is not None
    assert second.answers is not None
    assert first.answers[0] is second.answers[3]
    assert vqa.picture(first.image) is vqa.picture(second.image)
    assert vqa.types(first) == {"answer_type": "other", "question_type": "what is"}


def put(rows: int, key: str, value: object) -> Change:
    """A change of the fourth row of one of the files (0 or 1)."""
    return lambda *files: files[rows][3].__setitem__(key, value)


CHANGES: dict[str, Change] = {
    "an id that is a text": put(0, "question_id", "103"),
    "ids that are texts": lambda q, a: [row.update(question_id=str(row["question_id"])) for row in (*q, *a)],
    "an id that is a fraction": put(0, "question_id", 103.0),
    "an id of many digits": lambda q, a: [rows[3].update(question_id=10**30) for rows in (q, a)],
    "a truth value for a picture": put(0, "image_id", True),
    "a picture written as a text": put(0, "image_id", "1"),
    "another picture in the annotation": put(1, "image_id", 7),
    "no picture in the annotation": lambda _, a: a[3].pop("image_id"),
    "a negative picture": lambda q, a: [rows[3].update(image_id=-1) for rows in (q, a)],
    "no question": lambda q, _: q[3].pop("question"),
    "a question that is a number": put(0, "question", 3),
    "half of a surrogate pair in a question": put(0, "question", "\ud800"),
    "half of a surrogate pair in a key that is not read": put(0, "more", "\ud800"),
    "no number in a key that is not read": put(0, "more", float("nan")),
    "nine answers": lambda _, a: a[3]["answers"].pop(),
    "answers that are bare texts": put(1, "answers", ["cat"] * 10),
    "an answer without its text": lambda _, a: a[3]["answers"][2].pop("answer"),
    "an answer that is null": lambda _, a: a[3]["answers"][2].update(answer=None),
    "no type": lambda _, a: a[3].pop("answer_type"),
    "a type that is null": put(1, "question_type", None),
    "a type that is a number": put(1, "question_type", 1),
    "annotations in another order": lambda _, a: a.reverse(),
    "two annotations swapped": lambda _, a: a.__setitem__(slice(3, 5), [a[4], a[3]]),
    "an annotation too few": lambda _, a: a.pop(),
    "an annotation too many": lambda _, a: a.append({**copy.deepcopy(a[0]), "question_id": 999}),
    "a question too few": lambda q, _: q.pop(),
    "an id that stands twice in both": lambda *files: [rows.extend(copy.deepcopy(rows[2:3])) for rows in files],
    "an id that stands twice among the questions": lambda q, _: q.append(copy.deepcopy(q[2])),
    "an id that stands twice among the annotations": lambda _, a: a.append(copy.deepcopy(a[2])),
    "a row that is no object": lambda q, _: q.__setitem__(3, [1]),
    "no row at all": lambda *files: [rows.__delitem__(slice(None)) for rows in files],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_is_unusual_is_read_or_refused_as_ever(change: Change, tmp_path: Path) -> None:
    quick, strict = both(official(tmp_path, change))
    assert quick == strict
    assert len(quick[0]) == 6 or quick[1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"info"', b'\xef\xbb\xbf{"info"'),
        (b"[1.5]", b"[1.5, NaN]"),
        (b"[1.5]", b'["\xff"]'),
        (b"[1.5]", b'["\\x"]'),
        (b"what is 3?", b"what is \xff?"),
        (b"what is 3?", b"what is \xed\xa0\x80?"),
        (b"]}", b"]"),
        (b"]}", b"]} x"),
        (b'"questions"', b'"question"'),
        (b'"question_id": 103', b'"question_id": 5, "question_id": 103'),
        (b'"question_id": 103', b'"question_id": ' + b"1" * 5000),
        (b'"question_id": 103', b'"question_id": 103, "more": ' + b"[" * 200_000 + b"]" * 200_000),
    ],
)
def test_damaged_bytes_are_refused_as_ever(old: bytes, new: bytes, tmp_path: Path) -> None:
    file = official(tmp_path) / "q_val2014.json"
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new))
    quick, strict = both(tmp_path)
    assert quick == strict


def test_questions_without_public_answers(tmp_path: Path) -> None:
    (official(tmp_path) / "a_val2014.json").unlink()
    quick, strict = both(tmp_path, replace(SPLIT, labelled=False))
    assert quick == strict
    assert [row.answers for row in quick[0]] == [None] * 6
