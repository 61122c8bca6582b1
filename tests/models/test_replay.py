"""Answers from a file: every layout is read, and what does not belong is refused by file, row and id."""

import json
from pathlib import Path

import pytest

from anymal_eval.errors import BadData, MissingData, WrongUse
from anymal_eval.models import Expecting, PlainText, choose_model
from anymal_eval.models.replay import Options, load, read
from anymal_eval.records import Message, Request


def answers(file: Path, **options: str) -> dict[str, str | None]:
    return {item.id: item.answer for item in read(file, Options(checkpoint=str(file), **options)).answers}  # type: ignore[arg-type]


def ask(model: object, name: str, candidates: tuple[str, ...] = ()) -> object:
    request = Request(id=name, messages=(Message(role="user", parts=("?",)),), candidates=candidates)
    return model.answer([PlainText(request)])[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "content", "read_as", "rule"),
    [
        ("vqa.json", [{"question_id": 42000, "answer": "yes"}], {"42000": "yes"}, ""),
        ("vizwiz.json", [{"image": "VizWiz_val_00000000.jpg", "answer": ""}], {"VizWiz_val_00000000.jpg": ""}, ""),
        ("coco.json", [{"image_id": 391895, "caption": "a man"}], {"391895": "a man"}, ""),
        ("how2qa.json", {"30351": 2, "31766": 3}, {"30351": "2", "31766": "3"}, "index"),
        ("nextqa.json", {"401_6": {"prediction": 4, "answer": 0}}, {"401_6": "4"}, "index"),
        ("sqa.json", {"acc": 1.0, "results": {"4": 1}, "outputs": {"4": "B."}}, {"4": "1"}, "index"),
        ("lines.jsonl", '{"id": "a", "answer": "x"}\n\n{"id": 7, "answer": "y"}\n', {"a": "x", "7": "y"}, ""),
        ("lines.json", '{"id": "a", "answer": 2}\n{"id": "b", "answer": 0}\n', {"a": "2", "b": "0"}, "index"),
        ("marked.json", '\ufeff{"id": "a", "answer": "x"}\r\n{"id": "b", "answer": "y"}', {"a": "x", "b": "y"}, ""),
        ("one.json", '{"id": "a", "answer": "x"}\n', {"a": "x"}, ""),
        ("quoted.json", {"401_6": {"prediction": "4"}, "7": {"prediction": "0"}}, {"401_6": "4", "7": "0"}, "index"),
        ("mixed.json", {"1": 2, "2": "none", "3": 0, "4": ""}, {"1": "2", "2": "none", "3": "0", "4": ""}, "index"),
        ("letters.json", {"1": "B", "2": "2", "3": "A"}, {"1": "B", "2": "2", "3": "A"}, ""),
    ],
)
def test_every_layout(tmp_path: Path, name: str, content: object, read_as: dict[str, str], rule: str) -> None:
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    assert answers(file) == read_as
    assert read(file, Options(checkpoint=str(file))).extract == rule


def test_scienceqa_outputs_are_read_by_the_rule_that_knows_bare_letters_too(tmp_path: Path) -> None:
    file = tmp_path / "sqa.json"
    file.write_text(json.dumps({"results": {"4": 1}, "outputs": {"4": "The answer is B."}}))
    assert answers(file, field="outputs") == {"4": "The answer is B."}
    model = load(Options(checkpoint=str(file), field="outputs"))
    assert model.wording["choice"].extract == "llava-2023"
    assert load(Options(checkpoint=str(file), field="outputs", extract="sqa-2022")).wording["choice"].extract == (
        "sqa-2022"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '[{"question_id": 1, "answer": "a"}, {"question_id": 1, "answer": "b"}]',
            "1 ids stand in it more than once: 1",
        ),
        ('[{"question": 1, "answer": "a"}]', "row 1: keys answer, question are no known layout"),
        ('[{"question_id": 1, "answer": null}]', "row 1: the answer of 1 must be text or an index"),
        ('[{"question_id": 1.5, "answer": "a"}]', "row 1: the id must be"),
        ('[{"question_id": 1, "answer": "a"}, 3]', "row 2: expected an object"),
        ('[{"question_id": 1, "ans', "line 1: .*is the file whole"),
        ('"yes"', "expected a list or an object"),
        ('{"results": [1]}', "results must be an object"),
        ('{"outputs": {"4": "A"}}', "has no 'results'"),
        ('{"401_6": {"answer": 0}}', "401_6: expected a key 'prediction'"),
        ('[{"id": "1", "option_scores": [-1, "x"]}]', "is not a finite number"),
        ('[{"id": "1", "option_scores": []}]', "must be a list of numbers"),
        ('[{"id": "1", "option_scores": [NaN, 1]}]', "is not a finite number"),
        (f'[{{"id": "1", "option_scores": [1{"0" * 400}, 1]}}]', "is not a finite number"),
        ('{"30351": 2, "7": 1, "30351": 3}', "1 keys are in one object more than once: 30351"),
        (f'[{{"question_id": {"9" * 5000}, "answer": "a"}}]', "limit .* for integer string conversion"),
        ("[" * 100_000, "maximum recursion depth"),
        (json.dumps({"annotations": [{"question_id": n} for n in range(999)]}), "must be text or an index, not .{80}$"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "answers.json"
    file.write_text(content)
    with pytest.raises(BadData, match=message) as caught:
        read(file, Options(checkpoint=str(file)))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ids_that_are_not_in_the_data_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"id": "1", "answer": "a"}\n{"id": "99", "answer": "b"}\n')
    model = load(Options(checkpoint=str(file)))
    assert isinstance(model, Expecting)
    with pytest.raises(BadData, match="1 of its 2 ids are not in the data: 99"):
        model.expect({"1", "2"})
    assert set(model.expect({"1", "2", "99"})) == {"1", "2", "99"}
    some = load(Options(checkpoint=str(file), subset="answered"))
    assert isinstance(some, Expecting)
    assert set(some.expect({"1", "2", "99"})) == {"1", "99"}


def test_zero_padded_ids_are_the_same_ids(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"id": "08291", "answer": "yes"}\n{"id": "17", "answer": "no"}\n')
    model = load(Options(checkpoint=str(file)))
    assert isinstance(model, Expecting)
    model.expect({"8291", "17"})
    assert ask(model, "8291").answer == "yes"  # type: ignore[attr-defined]
    file.write_text('{"id": "08291", "answer": "yes"}\n{"id": "8291", "answer": "no"}\n')
    twice = load(Options(checkpoint=str(file)))
    assert isinstance(twice, Expecting)
    with pytest.raises(BadData, match="8291 stands in it twice"):
        twice.expect({"8291"})


def test_a_missing_answer_is_a_failure_that_names_the_id(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"id": "1", "answer": ""}\n{"id": "2", "option_scores": [-1.0, -2.0]}\n')
    model = load(Options(checkpoint=str(file)))
    assert ask(model, "1").answer == ""  # type: ignore[attr-defined]
    assert ask(model, "2", ("no", "yes")).option_scores == (-1.0, -2.0)  # type: ignore[attr-defined]
    failure = ask(model, "3").failure  # type: ignore[attr-defined]
    assert failure.kind == "missing"
    assert "has no answer to 3" in failure.message
    with pytest.raises(BadData, match="2 has 2 option scores for 3 options"):
        ask(model, "2", ("A", "B", "C"))


def test_the_fingerprint_is_the_files_content(tmp_path: Path) -> None:
    names = []
    for name, answer in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": "1", "answer": answer}))
        names.append(load(Options(checkpoint=str(tmp_path / f"{name}.jsonl"))).fingerprint)
    assert names[0] == names[1] != names[2]


def test_a_missing_file_is_said() -> None:
    for name in ("nowhere.json", "x" * 5000):
        with pytest.raises(MissingData, match="there is no such file"):
            choose_model(f"replay:{name}", {}).load()


def test_a_file_in_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "answers.jsonl").write_text('{"id": "1", "answer": "x"}\n')
    choose_model("replay:~/answers.jsonl", {}).load().close()
    with pytest.raises(WrongUse, match="no such home folder"):
        choose_model("replay:~nobody-of-this-name/answers.jsonl", {}).load()
