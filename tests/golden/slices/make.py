"""Cuts the licensed slices from the published files and scores them with the official code, not with ours.

python tests/golden/slices/make.py GOLDEN    (the folder of published files; needs Java for the captions)
"""

import csv
import importlib.util
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROWS = 200


def _official_vqa() -> Any:
    spec = importlib.util.spec_from_file_location("official_vqa", HERE.parents[2] / "benchmarks" / "official_vqa.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _write(task: str, name: str, value: Any) -> None:
    """One row a line, so that a change shows as a change."""
    file = HERE / task / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, list):
        text = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in value) + "\n]\n"
    elif isinstance(value, dict) and any(isinstance(part, list) for part in value.values()):
        parts = []
        for key, part in value.items():
            rows = isinstance(part, list) and part and isinstance(part[0], dict)
            body = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in part) + "\n]" if rows else ""
            parts.append(f"{json.dumps(key)}: {body or json.dumps(part, ensure_ascii=False)}")
        text = "{" + ",\n".join(parts) + "}\n"
    else:
        text = json.dumps(value, ensure_ascii=False, indent=0) + "\n"
    file.write_text(text, encoding="utf-8")


def _spread(rows: list[Any]) -> list[Any]:
    """``ROWS`` of them at equal distances."""
    return [rows[at * len(rows) // ROWS] for at in range(ROWS)]


def _expect(task: str, source: str, split: str, values: Mapping[str, Any], items: Mapping[str, Any]) -> None:
    told = {"source": source, "split": split, "n": ROWS, "values": values, "per_item": items}
    _write(task, "expected.json", told)


def _vqa_values(
    metrics: Iterable[str], ids: list[str], references: list[list[str]], answers: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    values, items = {}, {}
    for metric in metrics:
        scores = _official_vqa().score(metric.partition("@")[2], references, answers)
        values[metric] = {"vqa_accuracy": sum(scores) / len(scores)}
        items[metric] = dict(zip(ids, scores, strict=True))
    return values, items


def _texts(row: Mapping[str, Any]) -> list[str]:
    return [item["answer"] for item in row["answers"]]


VQA_SOURCE = "benchmarks/official_vqa.py, a transcription of the official scorer"


def vqav2(golden: Path) -> None:
    """Answers of a public AnyMAL re-implementation to questions of the validation set."""
    run = _read(golden / "vqav2" / "predictions_reimplementation_seed42.json")["runs"][0]
    said = {row["question_id"]: row["raw_answer"] for row in run["prediction_samples"]}
    whole = _read(golden / "vqav2" / "vqav2_val_subset4084_annotations.json")
    rows = _spread([row for row in whole["annotations"] if row["question_id"] in said])
    chosen = {row["question_id"] for row in rows}
    questions = _read(golden / "vqav2" / "vqav2_val_subset4084_questions.json")
    asked = [row for row in questions["questions"] if row["question_id"] in chosen]
    _write("vqav2", "v2_mscoco_val2014_annotations.json", whole | {"annotations": rows})
    _write("vqav2", "v2_OpenEnded_mscoco_val2014_questions.json", questions | {"questions": asked})
    answers = [said[row["question_id"]] for row in rows]
    _write(
        "vqav2",
        "predictions.json",
        [{"question_id": row["question_id"], "answer": said[row["question_id"]]} for row in rows],
    )
    ids = [str(row["question_id"]) for row in rows]
    metrics = ("vqa_accuracy@2021", "vqa_accuracy@2016")
    _expect("vqav2", VQA_SOURCE, "val", *_vqa_values(metrics, ids, [_texts(row) for row in rows], answers))


def textvqa(golden: Path) -> None:
    """Answers of LLaVA-1.5-13B."""
    items = _read(golden / "textvqa" / "expected_llava15_13b.json")["items"]
    whole = _read(golden / "textvqa" / "val_annotations_vqa_format.json")
    rows = _spread(whole["annotations"])
    chosen = {row["question_id"] for row in rows}
    questions = _read(golden / "textvqa" / "val_questions_vqa_format.json")
    asked = [row for row in questions["questions"] if row["question_id"] in chosen]
    _write("textvqa", "val_annotations_vqa_format.json", {"annotations": rows})
    _write("textvqa", "val_questions_vqa_format.json", {"questions": asked})
    ids = [str(row["question_id"]) for row in rows]
    answers = [items[name]["pred"] for name in ids]
    said = [{"question_id": row["question_id"], "answer": text} for row, text in zip(rows, answers, strict=True)]
    _write("textvqa", "predictions.json", said)
    values = _vqa_values(("vqa_accuracy@textvqa",), ids, [_texts(row) for row in rows], answers)
    _expect("textvqa", VQA_SOURCE, "val", *values)


def vizwiz(golden: Path) -> None:
    """The answer "unanswerable" to everything, in the layout of the challenge."""
    whole = _read(golden / "vizwiz" / "val_annotations_vqa_format.json")["annotations"]
    questions = _read(golden / "vizwiz" / "val_questions_vqa_format.json")["questions"]
    rows = [
        {
            "image": asked["image_id"],
            "question": asked["question"],
            "answers": row["answers"],
            "answer_type": row["question_type"],
            "answerable": int(row["question_type"] != "unanswerable"),
        }
        for row, asked in _spread(list(zip(whole, questions, strict=True)))
    ]
    _write("vizwiz", "Annotations/val.json", rows)
    _write("vizwiz", "predictions.json", [{"image": row["image"], "answer": "unanswerable"} for row in rows])
    ids = [row["image"] for row in rows]
    said = ["unanswerable"] * ROWS
    values = _vqa_values(("vqa_accuracy@vizwiz",), ids, [_texts(row) for row in rows], said)
    _expect("vizwiz", VQA_SOURCE, "val", *values)


def nextqa(golden: Path) -> None:
    """Answers of HGA, counted as ``eval_mc.py`` counts: TP is TN, and categories are pooled."""
    with (golden / "nextqa" / "val.csv").open(encoding="utf-8", newline="") as lines:
        rows = _spread(list(csv.DictReader(lines)))
    folder = HERE / "nextqa"
    folder.mkdir(exist_ok=True)
    with (folder / "val.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    places = _read(golden / "nextqa" / "map_vid_vidorID.json")
    _write("nextqa", "map_vid_vidorID.json", {row["video"]: places[row["video"]] for row in rows})
    told = _read(golden / "nextqa" / "predictions_hga.json")
    names = [f"{row['video']}_{row['qid']}" for row in rows]
    _write("nextqa", "predictions.json", {name: told[name] for name in names})
    right = {name: int(told[name]["prediction"] == int(row["answer"])) for name, row in zip(names, rows, strict=True)}
    groups: dict[str, list[int]] = defaultdict(list)
    for name, row in zip(names, rows, strict=True):
        groups[{"C": "causal", "T": "temporal", "D": "descriptive"}[row["type"][0]]].append(right[name])
    values = {"choice_accuracy": {"choice_accuracy": sum(right.values()) / ROWS}}
    by_group = {group: sum(scores) / len(scores) for group, scores in sorted(groups.items())}
    _expect("nextqa", "counted by hand of make.py", "val", values, {"choice_accuracy": right, "category": by_group})


def _caption_values(references: dict[str, list[str]], said: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    gts = PTBTokenizer().tokenize({name: [{"caption": text} for text in texts] for name, texts in references.items()})
    res = PTBTokenizer().tokenize({name: [{"caption": text}] for name, text in said.items()})
    bleu = Bleu(4).compute_score(gts, res, verbose=0)[0]
    cider, items = Cider().compute_score(gts, res)
    values = {
        "bleu": {f"bleu_{length}": float(value) for length, value in enumerate(bleu, 1)},
        "rouge_l": {"rouge_l": float(Rouge().compute_score(gts, res)[0])},
        "cider": {"cider": float(cider)},
        "meteor": {"meteor": float(Meteor().compute_score(gts, res)[0])},
    }
    return values, {"cider": dict(zip(gts, map(float, items), strict=True))}


def audiocaps(golden: Path) -> None:
    """Generated captions from aac-metrics; the file has no ids, so they are made up, as is the start."""
    with (golden / "audiocaps" / "predictions_example_2.csv").open(encoding="utf-8", newline="") as lines:
        rows = _spread(list(csv.DictReader(lines)))
    names = [f"slice{at:06d}" for at in range(ROWS)]
    references = {name: [row[f"caption_{at}"] for at in range(1, 6)] for name, row in zip(names, rows, strict=True)}
    said = {name: row["caption_predicted"] for name, row in zip(names, rows, strict=True)}
    folder = HERE / "audiocaps"
    folder.mkdir(exist_ok=True)
    with (folder / "test.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["audiocap_id", "youtube_id", "start_time", "caption"])
        captions = [(name, text) for name in names for text in references[name]]
        writer.writerows([at, name, 0, text] for at, (name, text) in enumerate(captions, 1))
    told = [json.dumps({"id": name, "answer": text}, ensure_ascii=False) for name, text in said.items()]
    (folder / "predictions.jsonl").write_text("\n".join(told) + "\n", encoding="utf-8")
    _expect("audiocaps", "salaniz/pycocoevalcap 1.2", "test", *_caption_values(references, said))


def coco(golden: Path) -> None:
    """One human caption of each picture as its prediction, the others as its references."""
    whole = _read(golden / "coco" / "captions_test5k.json")
    images = _spread(whole["images"])
    chosen = {row["id"] for row in images}
    captions: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in whole["annotations"]:
        if row["image_id"] in chosen:
            captions[row["image_id"]].append(row)
    left = [row for image in images for row in captions[image["id"]][:-1]]
    kept = [{key: image[key] for key in ("id", "file_name", "height", "width")} for image in images]
    _write("coco", "coco_karpathy_test_gt.json", {"images": kept, "annotations": left})
    said = {str(image["id"]): captions[image["id"]][-1]["caption"] for image in images}
    _write("coco", "predictions.json", [{"image_id": int(name), "caption": text} for name, text in said.items()])
    references = {name: [row["caption"] for row in captions[int(name)][:-1]] for name in said}
    assert Counter(map(len, references.values())).keys() <= {4, 5}
    _expect("coco", "salaniz/pycocoevalcap 1.2", "test", *_caption_values(references, said))


if __name__ == "__main__":
    for make in (vqav2, textvqa, vizwiz, nextqa, audiocaps, coco):
        make(Path(sys.argv[1]))
