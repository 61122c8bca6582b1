"""Rows of JSON and CSV files for tasks without a reader: every layout, joined files, media, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import BadData, MissingData
from anymal_eval.sources import CsvFiles, JsonFiles, Row, each
from anymal_eval.task import Split

SPLIT = Split("val", 2, file="val2014")


def write(folder: Path, name: str, content: object) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def rows(source: Any, root: Path, split: Split = SPLIT) -> list[Row]:
    return list(source.rows(root, split))


@pytest.mark.parametrize(
    ("name", "key", "content", "places"),
    [
        ("{split}.jsonl", "", '{"id": "a", "n": 1}\n\n{"id": "b", "n": 2}\n', ["line 1", "line 3"]),
        ("{split}.json", "", [{"id": "a", "n": 1}, {"id": "b", "n": 2}], ["row 1", "row 2"]),
        ("x/{split}.json", "data", {"data": [{"id": "a", "n": 1}, {"id": "b", "n": 2}]}, ["data row 1", "data row 2"]),
        ("{split}.json", "", {"a": {"n": 1}, "b": {"n": 2}}, ["row a", "row b"]),
        ("{split}.json", "", '\ufeff {"a": {"n": 1}, "b": {"n": 2}}', ["row a", "row b"]),
        ("{split}.json", "data", {"data": {"a": {"n": 1}, "b": {"n": 2}}}, ["data a", "data b"]),
    ],
)  # fmt: skip
def test_every_layout_of_json(name: str, key: str, content: object, places: list[str], tmp_path: Path) -> None:
    write(tmp_path, name.format(split="val2014"), content)
    found = rows(JsonFiles(file=name, key=key, origin="o"), tmp_path)
    assert [(row.name("id"), row.whole("n"), row.number) for row in found] == [("a", 1, 0), ("b", 2, 1)]
    assert [row.place for row in found] == places
    assert all(row.split is SPLIT and row.root == tmp_path for row in found)


@pytest.mark.parametrize(
    ("name", "header", "content", "first"),
    [
        ("t.csv", True, 'id,text\na,"x, y"\nb,z\n', "line 2"),
        ("t.tsv", True, "id\ttext\na\tx, y\nb\tz\n", "line 2"),
        ("t.csv", False, 'a,"x, y"\nb,z\n\n', "line 1"),
    ],
)
def test_every_layout_of_csv(name: str, header: bool, content: str, first: str, tmp_path: Path) -> None:
    found = rows(CsvFiles(file=name, header=header, columns=("id", "text"), origin="o"), write(tmp_path, name, content))
    assert [(row.name("id"), row.text("text")) for row in found] == [("a", "x, y"), ("b", "z")]
    assert found[0].place == first


@pytest.mark.parametrize(
    ("source", "content", "message"),
    [
        (JsonFiles(file="t.json", origin="o"), [], "the whole must be a list of rows, not list or empty"),
        (JsonFiles(file="t.json", origin="o"), "3", "the whole must be a list of rows, not int or empty"),
        (JsonFiles(file="t.json", key="data", origin="o"), {"rows": []}, "the whole: no key 'data'; it has rows"),
        (JsonFiles(file="t.json", origin="o"), [{"id": "a"}, 4], "row 2: expected an object, got int"),
        (JsonFiles(file="t.json", origin="o"), '{"a": {}, "a": {}}', "more than once: a"),
        (JsonFiles(file="t.json", origin="o"), '[{"id": ', "is the file whole?"),
        (CsvFiles(file="t.json", columns=("id", "x"), origin="o"), "id\na\n", "line 1: no column x; it has ['id']"),
        (
            CsvFiles(file="t.json", origin="o"),
            "id,x\na\n",
            "line 2: expected 2 columns, as in line 1, ",
        ),
        (CsvFiles(file="t.json", columns=("i", "x"), header=False, origin="o"), "a,b\na\n", "line 2: expected 2 "),
    ],
)
def test_what_is_no_table_is_refused(source: Any, content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadData) as caught:
        rows(source, write(tmp_path, "t.json", content))
    assert str(tmp_path / "t.json") in str(caught.value)
    assert message in str(caught.value)


def test_files_say_what_lies_where(tmp_path: Path) -> None:
    source = JsonFiles(
        file="{split}_questions.json", origin="a.org",
        annotations=JsonFiles(file="{split}_answers.json", origin="b.org"),
        optional={"names.json": "c.org"}, folders={"{split}": "d.org"},
    )  # fmt: skip
    found = {file.name: (file.origin, file.needed, file.is_folder) for file in source.files(SPLIT)}
    assert found == {
        "val2014_questions.json": ("a.org", True, False), "val2014_answers.json": ("b.org", True, False),
        "names.json": ("c.org", False, False), "val2014/": ("d.org", False, True),
    }  # fmt: skip
    assert "b.org" not in {file.origin for file in source.files(Split("test", 2, labelled=False))}
    with pytest.raises(MissingData, match=r"val2014_questions.json \(from a.org\), val2014_answers.json"):
        source.rows(tmp_path, SPLIT)


QUESTIONS = [{"qid": 1, "q": "x?"}, {"qid": "2", "q": "y?"}]
JOINED = JsonFiles(
    file="q.json", id="qid", origin="o",
    annotations=CsvFiles(file="a.csv", id="question", columns=("question",), origin="o"),
)  # fmt: skip


def test_annotations_are_joined_by_id(tmp_path: Path) -> None:
    write(write(tmp_path, "q.json", QUESTIONS), "a.csv", "question,answer\n2,no\n1,yes\n")
    notes = [row.annotation for row in rows(JOINED, tmp_path)]
    assert [note and (note.text("answer"), note.place) for note in notes] == [("yes", "line 3"), ("no", "line 2")]
    unlabelled = rows(JOINED, tmp_path, Split("test", 2, labelled=False))
    assert [row.annotation for row in unlabelled] == [None, None]


@pytest.mark.parametrize(
    ("questions", "answers", "message"),
    [
        (QUESTIONS, "question\n1\n", "q.json: row 2: qid 2 has no annotation in "),
        (QUESTIONS, "question\n1\n2\n3\n", "a.csv: 1 unknown question, not in q.json: 3"),
        (QUESTIONS, "question\n1\n2\n2\n", "a.csv: 1 double question: 2"),
        ([*QUESTIONS, QUESTIONS[0]], "question\n1\n2\n", "q.json: 1 double qid: 1"),
        (QUESTIONS, 'question\n1\n""\n', "a.csv: line 3: 'question' must be an id"),
    ],
)
def test_files_that_do_not_fit_are_refused(questions: object, answers: str, message: str, tmp_path: Path) -> None:
    write(write(tmp_path, "q.json", questions), "a.csv", answers)
    with pytest.raises(BadData, match=message.replace("(", r"\(")):
        rows(JOINED, tmp_path)


def row(root: Path, **data: object) -> Row:
    (found,) = rows(JsonFiles(file="row.json", origin="o"), write(root, "row.json", [data]))
    return found


def test_media_are_paths_in_their_folder(tmp_path: Path) -> None:
    one = row(tmp_path, id="a", n=7, file="img/08.png", path="x/y.jpg")
    for patterns, name in (
        (("images/{id}.jpg",), "images/a.jpg"),
        (("{split}/COCO_{n:06d}.jpg",), "val2014/COCO_000007.jpg"),
        (("{n:03d}.jpg",), "007.jpg"),
        (("{path}",), "x/y.jpg"),
        (("img/{file}",), "img/08.png"),  # the folder is named twice
        (("a/{id}.wav", "b/{id}_{n}.wav"), "a/a.wav"),
    ):
        assert one.medium(*patterns) == str(tmp_path / name)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a_7.wav").touch()
    assert one.medium("a/{id}.wav", "b/{id}_{n}.wav") == str(tmp_path / "b" / "a_7.wav")
    assert one.medium_in("b", "none.wav", "a_7.wav") == str(tmp_path / "b" / "a_7.wav")


@pytest.mark.parametrize("bad", ["../secret", "/etc/passwd", "a/../../../x", ""])
@pytest.mark.parametrize("pattern", ["images/{name}", "{name}", "{name}.jpg"])
def test_media_that_leave_the_folder_are_refused(bad: str, pattern: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"row\.json: row 1: .*(data folder|must be an id)"):
        row(tmp_path / "task", name=bad).medium(pattern)


def test_media_of_a_key_that_is_no_id_or_not_there(tmp_path: Path) -> None:
    one = row(tmp_path, id=["a"], text="x")
    with pytest.raises(BadData, match="'id' must be an id"):
        one.medium("{id}.jpg")
    with pytest.raises(BadData, match="no key 'image'; it has id, text"):
        one.medium("{image}.jpg")
    with pytest.raises(BadData, match="'text' must be a whole number"):
        one.medium("{text:06d}.jpg")


def test_an_object_in_a_row_has_its_place(tmp_path: Path) -> None:
    one = row(tmp_path, id="a", types={"structural": "query"}, flat="x")
    assert one.nested("types").text("structural") == "query"
    with pytest.raises(BadData, match="row 1: 'types': no key 'semantic'; it has structural"):
        one.nested("types").text("semantic")
    with pytest.raises(BadData, match="row 1: 'flat': expected an object, got str"):
        one.nested("flat")


def test_a_reader_makes_rows_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "t.jsonl", '{"id": "a"}\n{"id": "b"}\n')
    source = JsonFiles(file="t.jsonl", origin="o", read=each(lambda row: row.name("id") * 2))
    assert list(source.rows(tmp_path, SPLIT)) == ["aa", "bb"]
