"""Files of other harnesses, written as their own code writes them, are scored to values worked by hand."""

import json
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import anymal_eval
from anymal_eval.errors import BadData, NeedsExtra, WrongUse
from anymal_eval.models import Question
from anymal_eval.models.replay import Options, load, read

# Ten annotators each. By the rule of 2021: red 10 of 10 scores 1; "2", given by 3 of 10, scores 0.9; "no" scores 0.
QUESTIONS = {"420": "What colour is the bus?", "421": "How many dogs are there?", "430": "Is it raining?"}
TRUTH = {"420": ["red"] * 10, "421": ["2"] * 3 + ["3"] * 7, "430": ["yes"] * 10}
ANSWERS = {"420": "red", "421": "2", "430": "no"}
VALUE = (1 + 0.9 + 0) / 3
Row = tuple[str, str]  # the example's id, the answer
Write = Callable[[Path, Sequence[Row]], Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VQAv2's official files with three questions about two pictures."""
    root = tmp_path_factory.mktemp("data")
    (root / "vqav2").mkdir()
    questions = [
        {"question_id": int(name), "image_id": int(name[:2]), "question": text} for name, text in QUESTIONS.items()
    ]
    notes = [
        {"question_id": int(name), "image_id": int(name[:2]), "answer_type": "other", "question_type": "what",
         "answers": [{"answer": answer, "answer_id": n} for n, answer in enumerate(answers, 1)]}
        for name, answers in TRUTH.items()
    ]  # fmt: skip
    for name, rows in (("OpenEnded_mscoco_val2014_questions", questions), ("mscoco_val2014_annotations", notes)):
        key = name.rpartition("_")[2]
        (root / "vqav2" / f"v2_{name}.json").write_text(json.dumps({key: rows}))
    return root


def lines(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def llava(folder: Path, rows: Sequence[Row]) -> Path:
    return lines(folder / "llava-v1.5-7b.jsonl", [
        {"question_id": int(name), "prompt": f"{QUESTIONS.get(name, '?')}\nAnswer with a single word or phrase.",
         "text": answer, "answer_id": f"a{n}", "model_id": "llava-v1.5-7b", "metadata": {}}
        for n, (name, answer) in enumerate(rows)
    ])  # fmt: skip


def llava_by_picture(folder: Path, rows: Sequence[Row]) -> Path:
    """As for TextVQA: the picture's id, and the question in the prompt."""
    return lines(folder / "answers.jsonl", [
        {"question_id": name[:2], "prompt": f"{QUESTIONS.get(name, 'Who?')} Reference OCR token:", "text": answer}
        for name, answer in rows
    ])  # fmt: skip


def lmms(name: str, answer: str, number: int) -> dict[str, Any]:
    return {"doc_id": number, "target": "None", "filtered_resps": [answer], "doc_hash": "ab",
            "input": f"{QUESTIONS.get(name, 'Who?')}\nAnswer the question using a single word or phrase."}  # fmt: skip


def lmms_with_ids(folder: Path, rows: Sequence[Row]) -> Path:
    return lines(folder / "20260101_120000_samples_vqav2_val.jsonl", [
        lmms(name, answer, n) | {"exact_match": 1.0, "submission": {"question_id": int(name), "answer": answer}}
        for n, (name, answer) in enumerate(rows)
    ])  # fmt: skip


def lmms_by_place(folder: Path, rows: Sequence[Row]) -> Path:
    """Without any id: ``doc_id`` is the row of the copy, which the prompt confirms."""
    places = list(QUESTIONS)
    return lines(folder / "20260101_120000_samples_vqav2_val.jsonl", [
        lmms(name, answer, places.index(name) if name in places else 99) for name, answer in rows
    ])  # fmt: skip


def lm_eval(folder: Path, rows: Sequence[Row]) -> Path:
    return lines(folder / "samples_vqav2_2026-01-01T12-00-00.jsonl", [
        {"doc_id": n, "doc": {"question_id": int(name), "question": QUESTIONS.get(name, "?"), "image": "<image>"},
         "target": "red", "arguments": {"gen_args_0": {"arg_0": "..."}}, "resps": [[f" {answer}\n"]],
         "filtered_resps": [answer], "filter": name_of, "exact_match": 0.0}
        for n, (name, answer) in enumerate(rows) for name_of in ("strict", "flexible")
    ])  # fmt: skip


def vlmevalkit(folder: Path, rows: Sequence[Row]) -> Path:
    table = ["index\tquestion\tanswer\tprediction"]
    table += [f"{n}\t{QUESTIONS.get(name, 'Who?')}\tx\t{answer}" for n, (name, answer) in enumerate(rows)]
    file = folder / "Qwen2-VL-2B_VQAv2.tsv"
    file.write_text("\n".join(table) + "\n")
    return file


def sample(name: str, answer: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": QUESTIONS.get(name, "Who?")}, {"type": "image", "image": "attachment://ff"}]
    return {"id": name, "epoch": 1, "input": [{"role": "user", "content": parts}], "target": "red", "messages": [],
            "output": {"model": "m", "choices": [{"message": {"role": "assistant", "content": "attachment://aa"},
                                                  "stop_reason": "stop"}]},
            "metadata": {}, "attachments": {"aa": answer}}  # fmt: skip


def inspect_json(folder: Path, rows: Sequence[Row]) -> Path:
    file = folder / "2026-01-01T12-00-00_vqav2.json"
    file.write_text(json.dumps({"version": 2, "status": "success", "eval": {"task": "vqav2"},
                                "samples": [sample(*row) for row in rows]}))  # fmt: skip
    return file


def inspect_eval(folder: Path, rows: Sequence[Row]) -> Path:
    file = folder / "2026-01-01T12-00-00_vqav2.eval"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("_journal/start.json", "{}")
        for n, row in enumerate(rows):
            out.writestr(f"samples/{n}-{row[0]}_epoch_1.json", json.dumps(sample(*row)))
        out.writestr("header.json", "{}")
    return file


def helm(folder: Path, rows: Sequence[Row]) -> Path:
    names = {name: f"id{n + 7}" for n, name in enumerate(dict.fromkeys(name for name, _ in rows))}
    instances = [
        {"id": own, "split": "valid", "references": [],
         "input": {"text": "", "multimedia_content": {"media_objects": [
             {"content_type": "image/png", "location": f"scenarios/vqa/{name[:2]}.png"},
             {"content_type": "text/plain", "text": QUESTIONS.get(name, "Who?")}]}}}
        for name, own in names.items()
    ]  # fmt: skip
    (folder / "instances.json").write_text(json.dumps(instances))
    predictions = [
        {"instance_id": names[name], "train_trial_index": 0, "predicted_text": answer, "stats": {"exact_match": 0.0}}
        for name, answer in rows
    ]
    predictions.append({**predictions[0], "predicted_text": "other", "perturbation": {"name": "typos"}})
    file = folder / "display_predictions.json"
    file.write_text(json.dumps(predictions))
    return file


WRITERS = [llava, llava_by_picture, lmms_with_ids, lmms_by_place, lm_eval, vlmevalkit, inspect_json, inspect_eval, helm]
each = pytest.mark.parametrize("write", WRITERS, ids=[write.__name__ for write in WRITERS])
QUERY = [Question(name, name[:2], text) for name, text in QUESTIONS.items()]


def expecting(file: Path, **options: Any) -> Any:
    model: Any = load(Options(checkpoint=str(file), **options))
    model.compare_with(QUERY)
    model.expect(dict.fromkeys(QUESTIONS))
    return model


@each
def test_a_file_gives_the_value_of_the_official_rule(write: Write, tmp_path: Path, data: Path) -> None:
    file = write(tmp_path, list(ANSWERS.items()))
    run = anymal_eval.evaluate(f"replay:{file}", "vqav2", data_root=data, out=tmp_path / "run")
    headline = run.headlines["vqav2"]
    assert headline.value == pytest.approx(VALUE, abs=1e-12)
    assert headline.label == "vqa_accuracy@2021"
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["model"]["provenance"]["layout"] == read(file, Options(checkpoint=str(file))).name


@each
def test_an_alien_a_missing_and_a_double_id(write: Write, tmp_path: Path) -> None:
    rows = [("420", "red"), ("999", "x"), ("420", "red"), ("421", "2")]
    model = expecting(write(tmp_path, rows))
    assert {name: item.answer for name, item in model._answers.items()} == {"420": "red", "421": "2"}
    said = " | ".join(model.notes)
    assert "3 of 4 rows match an example by" in said
    assert "1 rows are of no example and are left out" in said
    assert "1 rows repeat another and are left out" in said
    assert "1 of 3 examples have no row: 430" in said
    with pytest.raises(BadData, match=r"two rows answer 420: .* with 'red', .* with 'blue'; keep one") as caught:
        expecting(write(tmp_path, [*rows, ("420", "blue")]))
    assert "\n" not in str(caught.value)


@each
def test_a_file_of_other_data_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="none of its 1 rows belongs to these data"):
        expecting(write(tmp_path, [("999", "x")]))


def test_rows_that_are_in_another_order_than_the_data_are_not_matched_by_their_number(tmp_path: Path) -> None:
    file = lines(tmp_path / "x_samples_vqav2_val.jsonl", [lmms("421", "2", 0), lmms("420", "red", 1)])
    with pytest.raises(BadData, match="none of its 2 rows"):
        expecting(file)


def test_ranked_options_are_scores(tmp_path: Path) -> None:
    """As lm-eval writes them: every number is a text."""
    rows = [{"doc_id": 0, "doc": {"id": "420"}, "filtered_resps": [["-3.5", "False"], ["-4.0", "True"]], "target": "1"}]
    (answer,) = read(lines(tmp_path / "samples_x.jsonl", rows), Options(checkpoint="")).answers
    assert answer.option_scores == (-3.5, -4.0)


def test_filters_and_epochs_are_chosen(tmp_path: Path) -> None:
    file = lm_eval(tmp_path, [("420", "red")])
    layout = read(file, Options(checkpoint="", filter="flexible"))
    assert (len(layout.answers), layout.notes) == (
        1,
        ("the rows of the filter flexible are read, of strict, flexible",),
    )
    with pytest.raises(WrongUse, match="has strict, flexible"):
        read(file, Options(checkpoint="", filter="none"))
    log = inspect_json(tmp_path, [("420", "red"), ("420", "blue")])
    samples = json.loads(log.read_text())
    samples["samples"][1]["epoch"] = 2
    samples["samples"][1]["error"] = {"message": "out of memory", "traceback": ""}
    log.write_text(json.dumps(samples))
    assert read(log, Options(checkpoint="")).answers[0].answer == "red"
    assert read(log, Options(checkpoint="", epoch=2)).answers[0].failure == "out of memory"
    with pytest.raises(WrongUse, match="has epochs 1, 2"):
        read(log, Options(checkpoint="", epoch=3))


def test_a_failed_request_of_vlmevalkit_is_a_failure(tmp_path: Path) -> None:
    file = vlmevalkit(tmp_path, [("420", "Failed to obtain answer via API.")])
    (answer,) = read(file, Options(checkpoint="")).answers
    assert (answer.answer, answer.failure) == (None, "Failed to obtain answer via API.")


def test_a_choice_of_helm_is_read_by_its_text(tmp_path: Path) -> None:
    file = helm(tmp_path, [("420", "B")])
    rows = json.loads(file.read_text())
    file.write_text(json.dumps([rows[0] | {"mapped_output": "a dog"}]))
    layout = read(file, Options(checkpoint=""))
    assert (layout.answers[0].answer, layout.extract) == ("a dog", "text")
    for references, options in (
        (
            [{"output": {"text": "a cat"}, "tags": []}, {"output": {"text": "a dog"}, "tags": ["correct"]}],
            ("a cat", "a dog"),
        ),
        ([{"output": {"text": "red"}, "tags": ["correct"]}] * 2, ()),
        (3, ()),
    ):
        instances = json.loads((tmp_path / "instances.json").read_text())
        (tmp_path / "instances.json").write_text(json.dumps([instances[0] | {"references": references}]))
        assert read(file, Options(checkpoint="")).answers[0].options == options


def test_xlsx_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "m_VQAv2.xlsx"
    file.write_bytes(b"PK")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises((NeedsExtra, ValueError), match=r"openpyxl"):
        read(file, Options(checkpoint=""))


def test_a_workbook_of_vlmevalkit(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    file = tmp_path / "m_VQAv2.xlsx"
    cells = [("index", "question", "prediction"), (0, QUESTIONS["420"], "red"), (None, None, None), (1.0, "?", None)]
    book = openpyxl.Workbook()
    for row in cells:
        book.active.append(row)
    book.save(file)
    found = read(file, Options(checkpoint="")).answers
    assert [(item.id, item.answer) for item in found] == [("0", "red"), ("1", "")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"question_id": 1, "text": "x"}\n{"question_id": null, "text": "x"}\n',
            "line 2: a row of LLaVA's has",
        ),
        ("a.jsonl", '{"doc_id": 0, "filtered_resps": ["a", "b"]}\n', "line 1: 2 answers under 'filtered_resps'"),
        ("a.jsonl", '{"doc_id": 0, "filtered_resps": []}\n', "line 1: no answer under 'filtered_resps'"),
        ("a.tsv", "index\tprediction\n\tx\n", "line 2: a row of VLMEvalKit's has index and prediction"),
        ("a.json", '{"eval": {}, "samples": [{"epoch": 1}]}', "sample 1: a sample has an id and an output"),
        ("a.json", '{"eval": {}, "samples": []}', "it holds no samples"),
        ("a.json", '{"eval": {}, "samples": [{"id": 1, "epoch": "x"}]}', "sample 1: 'epoch' must be a whole number"),
        (
            "a.json",
            '[{"instance_id": "i", "predicted_text": "", "train_trial_index": "x"}]',
            "row 1: 'train_trial_index'",
        ),
        ("a.json", '{"eval": {}, "samples": [3]}', "sample 1: a sample has an id and an output"),
        ("a.jsonl", '{"doc_id": 0, "filtered_resps": {"a": 1}}\n', "line 1: the answer must be text"),
        ("a.jsonl", '{"doc_id": [0], "filtered_resps": ["a"]}\n', "line 1: a sample has doc_id"),
        ("a.json", '[{"instance_id": "id1", "predicted_text": ["x"]}]', "row 1: 'predicted_text' must be text"),
        ("a.eval", "no zip", "is the file whole"),
        ("a.jsonl", '{"question_id": 1, "text": "x"', "is the file whole"),
    ],
)
def test_a_bad_row_is_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BadData, match=message) as caught:
        read(tmp_path / name, Options(checkpoint=""))
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_options_tell_equal_questions_apart(tmp_path: Path) -> None:
    """As in VLMEvalKit's table of ScienceQA: no problem id, and many problems with one question."""
    file = tmp_path / "m_ScienceQA_TEST.tsv"
    rows = [
        "index\tquestion\tA\tB\tC\tprediction",
        "0\tWhich is a rock?\tgranite\tplastic\t\tA",
        "1\tWhich is a rock?\tice\tmarble\t\tB",
    ]
    file.write_text("\n".join(rows) + "\n")
    model: Any = load(Options(checkpoint=str(file)))
    questions = [
        Question("40", "40", "Which is a rock?", ("ice", "marble")),
        Question("41", "41", "Which is a rock?", ("granite", "plastic")),
    ]
    model.compare_with(questions)
    model.expect({"40": None, "41": None})
    assert {name: item.answer for name, item in model._answers.items()} == {"40": "B", "41": "A"}
