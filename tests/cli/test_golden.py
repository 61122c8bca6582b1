"""Published systems through the command line, to the figures and digits that the official code gives."""

import csv
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Lab, lines, read

EXACT = 1e-9


def test_coco_puret(lab: Lab) -> None:
    done = lab.run("coco", lab.golden / "coco/predictions_puret.json")
    assert done.returncode == 0, done.stderr
    expected = read(lab.golden / "coco/expected_puret.json")
    assert lab.value(output="cider") == pytest.approx(1.381600541481167, abs=EXACT)
    assert lab.value(output="rouge_l") == pytest.approx(expected["rouge_l"], abs=EXACT)
    for n, bleu in enumerate(expected["bleu"], 1):
        assert lab.value(output=f"bleu_{n}") == pytest.approx(bleu, abs=EXACT)
    rows = lines(lab.folder / "run/coco/scores.jsonl")
    assert len(rows) == 5000
    for row in rows:
        item = expected["per_item"][row["id"]]
        assert row["scores"]["cider@1"] == pytest.approx(item["cider"], abs=EXACT)
        assert row["scores"]["rouge_l@1"] == pytest.approx(item["rouge_l"], abs=EXACT)
    assert "138.16" in done.stdout
    assert "5,000 of 5,000" in done.stdout


def test_textvqa_llava(lab: Lab) -> None:
    asked = read(lab.golden / "textvqa/val_questions_vqa_format.json")["questions"]
    by_question = {(row["image_id"], row["question"].lower()): row["question_id"] for row in asked}
    answers = []
    for row in lines(lab.golden / "textvqa/predictions_llava15_13b.jsonl"):
        question = row["prompt"].split("\n")[0].lower()
        answers.append({"question_id": by_question[row["question_id"], question], "answer": row["text"]})
    assert lab.run("textvqa", lab.answers(answers)).returncode == 0
    assert lab.value(headline=True) == pytest.approx(0.61254, abs=EXACT)
    rows = {row["id"]: row for row in lines(lab.folder / "run/textvqa/scores.jsonl")}
    for name, item in read(lab.golden / "textvqa/expected_llava15_13b.json")["items"].items():
        assert rows[name]["scores"]["vqa_accuracy@textvqa"] == pytest.approx(item["m4c"], abs=EXACT)


@pytest.mark.parametrize(
    ("name", "all_of_it", "image", "text", "none"),
    [
        ("predictions_gpt3", 0.7517095024758311, 0.674269, 0.746823, 0.799303),
        ("predictions_llava_13b_v0", 0.909219523697241, 0.880020, 0.894917, 0.906620),
    ],
)
def test_scienceqa_results(lab: Lab, name: str, all_of_it: float, image: float, text: float, none: float) -> None:
    done = lab.run("scienceqa", lab.golden / f"scienceqa/{name}.json")
    assert done.returncode == 0, done.stderr
    assert lab.value(group=None) == pytest.approx(all_of_it, abs=EXACT)
    assert lab.value(headline=True) == lab.value(group={"image": "yes"}) == pytest.approx(image, abs=5e-7)
    assert lab.value(group={"text": "yes"}) == pytest.approx(text, abs=5e-7)
    assert lab.value(group={"none": "yes"}) == pytest.approx(none, abs=5e-7)


@pytest.mark.parametrize(
    ("name", "right"), [("predictions_gpt3", 3061), ("predictions_llava_13b_v0", 3855)], ids=["gpt3", "llava"]
)
@pytest.mark.parametrize("rule", ["default", "llava-2023"])
def test_scienceqa_outputs_without_random_picks(lab: Lab, name: str, right: int, rule: str) -> None:
    more = [] if rule == "default" else ["-o", f"extract={rule}"]
    assert lab.run("scienceqa", lab.golden / f"scienceqa/{name}.json", "-o", "field=outputs", *more).returncode == 0
    assert lab.value(group=None) == pytest.approx(right / 4241, abs=EXACT)
    states = next(row["states"] for row in lab.measurements() if row["group"] is None)
    assert states["error"] == 0
    if name == "predictions_gpt3":
        assert states["unparsable"] + states["empty"] == 249
        assert round(right / 4241, 6) == 0.721764


@pytest.mark.parametrize("which", ["unanswerable", "majority", "first"])
def test_vizwiz_baselines(lab: Lab, which: str) -> None:
    lab.lay("vizwiz")
    rows = read(lab.folder / "data/vizwiz/Annotations/val.json")
    expected = read(lab.golden / "vizwiz/expected_baselines.json")[which]
    answers = []
    for row in rows:
        given = [answer["answer"] for answer in row["answers"]]
        said = {"unanswerable": "unanswerable", "first": given[0], "majority": Counter(given).most_common(1)[0][0]}
        answers.append({"image": row["image"], "answer": said[which]})
    assert lab.run("vizwiz", lab.answers(answers)).returncode == 0
    assert 100 * lab.value(headline=True) == pytest.approx(expected["overall"], abs=EXACT)
    scores = {row["id"]: row["scores"] for row in lines(lab.folder / "run/vizwiz/scores.jsonl")}
    for name, value in expected["items"].items():
        assert scores[name]["vqa_accuracy@vizwiz"] == pytest.approx(value, abs=EXACT)


def test_vqav2_answers_of_a_reimplementation(lab: Lab) -> None:
    run = read(lab.golden / "vqav2/predictions_reimplementation_seed42.json")["runs"][0]
    answers = [{"question_id": row["question_id"], "answer": row["answer"]} for row in run["prediction_samples"]]
    done = lab.run("vqav2", lab.answers(answers), "-o", "subset=answered")
    assert done.returncode == 0, done.stderr
    assert lab.value(version="2021", group=None) == pytest.approx(0.5044, abs=EXACT)
    assert lab.value(version="2016", group=None) == pytest.approx(0.5038, abs=EXACT)
    expected = read(lab.golden / "vqav2/expected_subset4084.json")["seed42_raw"]["official_2021"]
    for kind, value in expected["perQuestionType"].items():
        assert 100 * lab.value(version="2021", group={"question_type": kind}) == pytest.approx(value, abs=1e-6)
    assert "subset 1,000/214,354" in done.stdout


def test_vqav2_missing_answers_are_errors_and_named(lab: Lab) -> None:
    run = read(lab.golden / "vqav2/predictions_reimplementation_seed42.json")["runs"][0]
    answers = [{"question_id": row["question_id"], "answer": row["answer"]} for row in run["prediction_samples"]]
    done = lab.run("vqav2", lab.answers(answers))
    assert done.returncode == 2
    assert "3084 of 4084 answers are errors" in done.stderr
    assert "has no answer to 73001" in done.stderr
    assert lab.value(version="2021", group=None) == pytest.approx(0.5044, abs=EXACT)
    assert "1,000 of 4,084" in done.stdout
    row = next(row for row in lab.measurements() if row["headline"])
    assert (row["n"], row["states"]["error"]) == (1000, 3084)


@pytest.mark.parametrize(
    ("write", "new", "old"),
    [(lambda text: text, 96.488737, 96.150833), (lambda text: f"{text.capitalize()}.", 64.020568, 96.150833)],
    ids=["majority", "titlecase"],
)
def test_vqav2_majority(lab: Lab, write: Any, new: float, old: float) -> None:
    rows = read(lab.golden / "vqav2/vqav2_val_subset4084_annotations.json")["annotations"]
    answers = []
    for row in rows:
        most = Counter(answer["answer"] for answer in row["answers"]).most_common(1)[0][0]
        answers.append({"question_id": row["question_id"], "answer": write(most)})
    assert lab.run("vqav2", lab.answers(answers)).returncode == 0
    assert 100 * lab.value(version="2021", group=None) == pytest.approx(new, abs=1e-6)
    assert 100 * lab.value(version="2016", group=None) == pytest.approx(old, abs=1e-6)


def test_nextqa_hga(lab: Lab) -> None:
    done = lab.run("nextqa", lab.golden / "nextqa/predictions_hga.json")
    assert done.returncode == 0, done.stderr
    percent = {
        "category": {"causal": 46.26, "temporal": 50.74, "descriptive": 59.33},
        "type": {"CW": 46.99, "CH": 44.22, "TN": 49.53, "TC": 52.49, "DC": 44.07, "DL": 72.54, "DO": 55.41},
    }
    for name, values in percent.items():
        for value, expected in values.items():
            assert round(100 * lab.value(group={name: value}), 2) == expected
    assert lab.value(headline=True) == pytest.approx(2485 / 4996, abs=EXACT)


def test_how2qa(lab: Lab) -> None:
    assert lab.run("how2qa", lab.golden / "how2qa/how2qa_val_predictions.json").returncode == 0
    assert lab.value(headline=True) == pytest.approx(0.7313001605136437, abs=EXACT)


def test_audiocaps(lab: Lab) -> None:
    with (lab.golden / "audiocaps/predictions_example_2.csv").open(newline="", encoding="utf-8") as found:
        rows = [row["caption_predicted"] for row in csv.DictReader(found)]
    answers = lab.answers([{"id": f"clip{place:04}", "answer": text} for place, text in enumerate(rows)], "a.jsonl")
    done = lab.run("audiocaps", answers)
    assert done.returncode == 0, done.stderr
    expected = read(lab.golden / "audiocaps/expected_example_2.json")
    assert lab.value(headline=True) == pytest.approx(expected["cider"], abs=EXACT)
    assert lab.value(output="bleu_4") == pytest.approx(expected["bleu"][3], abs=EXACT)
    assert lab.value(output="rouge_l") == pytest.approx(expected["rouge_l"], abs=EXACT)
    assert "subset 912/975" in done.stdout


def test_hateful_memes_double_ids_are_refused(lab: Lab) -> None:
    done = lab.run("hateful_memes", lab.answers([{"id": "1", "answer": "yes"}], "a.jsonl"))
    assert done.returncode == 1
    assert "double" in done.stderr
    assert "dev_seen.jsonl" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_hateful_memes_once_each(lab: Lab, tmp_path: Path) -> None:
    from sklearn.metrics import roc_auc_score

    root = lab.lay("hateful_memes")
    source = lab.golden / "hateful_memes/dev_seen_labels_and_scores_notext.jsonl"
    rows = {row["id"]: row for row in lines(source)}
    kept = lines(root / "dev_seen.jsonl")
    (root / "dev_seen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in {r["id"]: r for r in kept}.values()))
    answers = [
        {"id": str(name), "option_scores": [math.log(max(row["pred_hate"][kind], 1e-300)) for kind in KINDS]}
        for name, row in rows.items()
    ]
    done = lab.run("hateful_memes", lab.answers(answers, "a.jsonl"))
    assert done.returncode == 0, done.stderr
    expected = roc_auc_score(
        [row["label"] for row in rows.values()], [row["pred_hate"]["hateful"] for row in rows.values()]
    )
    assert lab.value(headline=True) == pytest.approx(expected, abs=1e-6)


KINDS = ("not_hateful", "hateful")
