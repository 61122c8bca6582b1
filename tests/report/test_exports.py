"""Exports: EvalAI's ids, Hugging Face's YAML, Every Eval Ever's schemas, inspect_ai's own reader."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from anymal_eval import catalog
from anymal_eval.cli.export import export
from anymal_eval.cli.run import run
from anymal_eval.errors import BadData, IncompleteRun, MissingData, NeedsExtra, NotInCatalog, WrongUse
from anymal_eval.report.exports import eval_results
from anymal_eval.task import Task
from tests.checkpoints.fake_hub import serving
from tests.checkpoints.fake_uploads import TOKEN
from tests.conftest import ROOT

Scored = Callable[..., Path]
SCHEMAS = ROOT.parent / "shared" / "facts" / "schemas"
TEST2015 = 447_793


def call(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def write(file: Path, data: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data), encoding="utf-8")


@pytest.fixture
def vqav2(tmp_path: Path) -> Path:
    """VQAv2 in its official layout: 20 labelled questions, 8 of test-dev, all ids of test2015."""
    root = tmp_path / "data" / "vqav2"
    for split, count in (("val2014", 20), ("test-dev2015", 8)):
        rows = [{"image_id": at // 2, "question": f"what is it, {at}?", "question_id": at} for at in range(count)]
        write(root / f"v2_OpenEnded_mscoco_{split}_questions.json", {"questions": rows})
    labels = [
        {"image_id": at // 2, "question_id": at, "question_type": "what is", "answer_type": "other",
         "answers": [{"answer": "yes" if at % 3 else "no"} for _ in range(10)]} for at in range(20)
    ]  # fmt: skip
    write(root / "v2_mscoco_val2014_annotations.json", {"annotations": labels})
    questions = {"questions": [{"question_id": at} for at in range(TEST2015)]}
    write(root / "v2_OpenEnded_mscoco_test2015_questions.json", questions)
    return tmp_path


def exported(folder: Path, *more: object, out: str = "run") -> Path:
    done = call(run, "--tasks", "vqav2", "--model", "constant", "-o", "says=Yes.", "--data", "official",
                "--data-root", folder / "data", "--out", folder / out, *more)  # fmt: skip
    assert done.exception is None, done.exception
    return folder / out


def test_evalai_fills_all_ids_of_test2015(vqav2: Path) -> None:
    made = exported(vqav2, "--split", "test-dev")
    done = call(export, made, "--format", "evalai", "--data-root", vqav2 / "data")
    assert done.exit_code == 0, done.exception
    assert "8 answers, 447,785 ids filled with an empty one" in done.output
    assert "cleans no answer" in done.output
    (file,) = (made / "export" / "evalai").iterdir()
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert [row["question_id"] for row in rows] == list(range(TEST2015))
    assert {row["answer"] for row in rows[:8]} == {"Yes."}
    assert {row["answer"] for row in rows[8:]} == {""}
    assert all(row.keys() == {"question_id", "answer"} for row in rows)
    write(vqav2 / "data/vqav2/v2_OpenEnded_mscoco_test2015_questions.json",
          {"questions": [{"question_id": at} for at in range(8)]})  # fmt: skip
    cleaned = exported(vqav2, "--split", "test-dev", "--protocol", "openflamingo-2023", out="cleaned")
    done = call(export, cleaned, "--format", "evalai", "--data-root", vqav2 / "data")
    assert "cleans no answer" not in done.output
    assert "EvalAI will refuse this" in done.output


def test_evalai_refuses_what_the_server_would(vqav2: Path, scored: Scored) -> None:
    questions = vqav2 / "data" / "vqav2" / "v2_OpenEnded_mscoco_test2015_questions.json"
    made = exported(vqav2, "--split", "test-dev")
    write(questions, {"questions": [{"question_id": 5}]})
    done = call(export, made, "--format", "evalai", "--data-root", vqav2 / "data")
    assert isinstance(done.exception, WrongUse)
    assert "7 answers are to no test2015 question" in str(done.exception)
    write(questions, {"rows": []})
    assert isinstance(call(export, made, "--format", "evalai", "--data-root", vqav2 / "data").exception, BadData)
    questions.unlink()
    done = call(export, made, "--format", "evalai", "--data-root", vqav2 / "data")
    assert isinstance(done.exception, MissingData)
    assert "447,793" in str(done.exception)
    other = scored("other", {"coco": np.ones((3, 1))})
    assert isinstance(call(export, other, "--format", "evalai").exception, WrongUse)


def test_evalai_vizwiz(tmp_path: Path) -> None:
    rows = [{"image": f"VizWiz_test_{at:08}.jpg", "question": "what is this?"} for at in range(3)]
    write(tmp_path / "data/vizwiz/Annotations/test.json", rows)
    done = call(run, "--tasks", "vizwiz", "--model", "constant", "-o", "says=unanswerable", "--data", "official",
                "--split", "test-dev", "--data-root", tmp_path / "data", "--out", tmp_path / "run")  # fmt: skip
    assert done.exception is None, done.exception
    assert call(export, tmp_path / "run", "--format", "evalai").exit_code == 0
    (file,) = (tmp_path / "run" / "export" / "evalai").iterdir()
    answers = json.loads(file.read_text(encoding="utf-8"))
    assert answers == [{"image": row["image"], "answer": "unanswerable"} for row in rows]


def test_hugging_face_reads_the_card(scored: Scored) -> None:
    from huggingface_hub import repocard_data

    made = scored("run", {"vqav2": np.full((100, 1), 0.6), "star": np.ones((4, 1))}, model="anymal:7b")
    done = call(export, made, "--format", "eval-results")
    assert done.exit_code == 0, done.exception
    assert "star: left out" in done.output
    (entry,) = yaml.safe_load((made / "export/.eval_results/vqav2.yaml").read_text(encoding="utf-8"))
    assert entry["dataset"] == {"id": "lmms-lab-encoder/VQAv2", "task_id": "vqav2"}
    assert entry["value"] == 60.0
    assert "protocol plain" in entry["notes"]
    assert "n 100 of 100" in entry["notes"]
    card = yaml.safe_load((made / "export/model_card_metadata.yaml").read_text(encoding="utf-8"))
    name, results = repocard_data.model_index_to_eval_results(card["model-index"])
    assert name == "anymal:7b"
    assert [(one.dataset_type, one.metric_type, one.metric_value) for one in results] == [
        ("lmms-lab-encoder/VQAv2", "vqa_accuracy", 60.0)
    ]


def test_demo_and_errors_stand_under_no_benchmark(scored: Scored) -> None:
    demo = scored("demo", {"vqav2": np.ones((3, 1))}, data="demo")
    assert "demo data" in str(call(export, demo, "--format", "eval-results").exception)
    assert isinstance(call(export, demo, "--format", "evalai").exception, WrongUse)
    failed = scored("failed", {"vqav2": np.ones((3, 1))}, states=["ok", "error", "ok"])
    assert isinstance(call(export, failed, "--format", "eval-results").exception, IncompleteRun)
    assert isinstance(call(export, demo, "--format", "evalai", "--tasks", "okvqa").exception, NotInCatalog)


CARD_BEFORE = """---
license: mit
model-index:
- name: theirs
  results:
  - task: {type: visual-question-answering}
    dataset: {name: vqav2, type: lmms-lab-encoder/VQAv2, split: val}
    metrics:
    - {type: vqa_accuracy, name: vqa_accuracy@2021, value: 99.0}
  - task: {type: image-to-text}
    dataset: {name: coco, type: another/COCO, split: test}
    metrics:
    - {type: cider, value: 120.0}
---
# A model

What its owner wrote: <b>&amp;</b>
"""


def test_results_are_proposed_to_a_models_repository(
    vqav2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = exported(vqav2)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    place = tmp_path / "hub" / "own" / "net"
    place.mkdir(parents=True)
    (place / "README.md").write_text(CARD_BEFORE, encoding="utf-8")
    value = json.loads((made / "results.json").read_text())["measurements"][0]["value"]
    with serving(tmp_path / "hub", tmp_path / "cache", monkeypatch) as hub:
        done = call(export, made, "--format", "eval-results", "--push", "own/net")
        assert done.exit_code == 0, (done.output, done.exception)
        assert done.output.splitlines()[-1] == f"{hub.url}/own/net/discussions/1"
        ((name, title, files),) = hub.pulls
        assert isinstance(call(export, made, "--format", "eval-results", "--push", "own/none").exception, WrongUse)
        refused = call(export, made, "--format", "evalai", "--push", "own/net").exception
        assert str(refused) == "--push goes with --format eval-results"
        (tmp_path / "hub" / "own" / "bad").mkdir()
        (tmp_path / "hub" / "own" / "bad" / "README.md").write_text("---\n[not: a mapping\n---\n", encoding="utf-8")
        refused = call(export, made, "--format", "eval-results", "--push", "own/bad").exception
        assert isinstance(refused, WrongUse)
        assert "\n" not in str(refused)
        assert len(hub.pulls) == 1
    assert (name, title) == ("own/net", "Results of anymal_eval: run")
    assert files.keys() == {".eval_results/vqav2.yaml", "README.md"}
    assert files[".eval_results/vqav2.yaml"] == (made / "export/.eval_results/vqav2.yaml").read_bytes()
    _, head, body = files["README.md"].decode().split("---\n", 2)
    assert body.strip() == CARD_BEFORE.split("---\n", 2)[2].strip()
    (index,) = yaml.safe_load(head)["model-index"]
    assert index["name"] == "theirs"
    found = {each["dataset"]["name"]: each["metrics"][0]["value"] for each in index["results"]}
    assert found == {"coco": 120.0, "vqav2": pytest.approx(100 * value, abs=1e-3)}, "the old number is replaced"


def test_every_eval_ever_holds_to_its_schemas(vqav2: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    if not SCHEMAS.is_dir():
        pytest.skip("the schemas of Every Eval Ever are not here")
    made = exported(vqav2)
    (vqav2 / "data").rename(vqav2 / "moved")
    done = call(export, made, "--format", "every-eval-ever", "--data-root", vqav2 / "data")
    assert isinstance(done.exception, MissingData)
    done = call(export, made, "--format", "every-eval-ever", "--data-root", vqav2 / "moved", "--organization", "A B")
    assert done.exit_code == 0, done.exception
    (file,) = (made / "export").glob("data/anymal_eval/A-B/constant/*.json")
    whole = json.loads(file.read_text(encoding="utf-8"))
    schemas = [json.loads((SCHEMAS / f"every_eval_ever.{name}.schema.json").read_text(encoding="utf-8"))
               for name in ("eval", "instance_level_eval")]  # fmt: skip
    jsonschema.validate(whole, schemas[0])
    lines = [json.loads(line) for line in (made / "export" / whole["detailed_evaluation_results"]["file_path"])
             .read_text(encoding="utf-8").splitlines()]  # fmt: skip
    assert len(lines) == whole["detailed_evaluation_results"]["total_rows"] == 20
    known = {row["evaluation_result_id"] for row in whole["evaluation_results"]}
    for line in lines:
        jsonschema.validate(line, schemas[1])
        assert line["evaluation_result_id"] in known
        assert line["evaluation_id"] == whole["evaluation_id"]
    headline = next(
        row for row in whole["evaluation_results"] if row["evaluation_result_id"] == lines[0]["evaluation_result_id"]
    )
    assert headline["score_details"]["score"] == pytest.approx(np.mean([line["evaluation"]["score"] for line in lines]))
    done = call(export, made, "--format", "every-eval-ever", "--no-samples", "--out", vqav2 / "bare")
    assert done.exit_code == 0
    (file,) = (vqav2 / "bare").rglob("*.json")
    jsonschema.validate(json.loads(file.read_text(encoding="utf-8")), schemas[0])


def test_inspect_opens_its_own_log(vqav2: Path) -> None:
    made = exported(vqav2)
    done = call(export, made, "--format", "inspect", "--data-root", vqav2 / "data")
    if importlib.util.find_spec("inspect_ai") is None:
        assert isinstance(done.exception, NeedsExtra)
        assert "anymal_eval[inspect]" in str(done.exception)
        pytest.skip("inspect_ai is not installed: its log was not read back")
    from inspect_ai.log import read_eval_log

    assert done.exit_code == 0, done.exception
    (file,) = (made / "export" / "inspect").iterdir()
    log = read_eval_log(str(file))
    assert (log.status, log.eval.task, len(log.samples)) == ("success", "vqav2", 20)
    value = json.loads((made / "results.json").read_text())["measurements"][0]["value"]
    assert log.results.scores[0].metrics["vqa_accuracy"].value == pytest.approx(value)
    assert log.samples[0].output.completion == "Yes."
    assert log.samples[0].scores["vqa_accuracy@2021"].answer == "Yes."


# The names of huggingface.co/tasks; it has none for motion sensors.
@pytest.mark.parametrize(
    ("task", "type"),
    [
        ("audiocaps", "audio-text-to-text"),
        ("coco", "image-to-text"),
        ("mmit_cap", "image-to-text"),
        ("imu_caption", "any-to-any"),
        ("vqav2", "visual-question-answering"),
        ("nextqa", "video-text-to-text"),
        ("star", "video-text-to-text"),
        ("how2qa", "video-text-to-text"),
        ("hateful_memes", "image-classification"),
    ],
)
def test_the_card_names_the_task_type_of_the_medium(task: str, type: str) -> None:
    known = catalog.tasks().get(task, "TASK", Task)
    assert eval_results.TYPES.get((known.media, known.kind), eval_results.OTHER_TYPE) == type
