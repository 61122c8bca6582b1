"""Times our scorers and the official ones: one process, cold caches, interleaved, median of five.

    python benchmarks/scoring.py [--golden DIR] [--rounds 5]

Captions: PureT's 5,000 captions of the COCO Karpathy test split with their 25,010 references; tokenization, BLEU,
ROUGE-L and CIDEr with pycocoevalcap (its tokenizer runs Java) and with ours. VQA: 4,084 questions of the VQAv2
validation set, each once, so that texts repeat no more often than in the real data; 1,000 answers of an AnyMAL
re-implementation, else the annotators' most frequent answer; the 2021 rule, ours and a plain transcription of the
official script (``official_vqa.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is there already, since the script lies in it

import numpy as np  # noqa: E402
import official_vqa  # noqa: E402

from anymal_eval.metrics import _captions, get, shared_work  # noqa: E402
from anymal_eval.records import Answer, Example  # noqa: E402

Work = Callable[[], dict[str, float]]


def in_turns(works: dict[str, Work], rounds: int, prepare: Callable[[], None]) -> dict[str, float]:
    """The median seconds of each; all values must agree."""
    took: dict[str, list[float]] = {name: [] for name in works}
    values: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name, work in works.items():
            prepare()
            gc.collect()
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                values[name] = work()
            took[name].append(time.perf_counter() - start)
    first, *others = values.values()
    for other in others:
        assert first.keys() == other.keys()
        assert all(abs(first[key] - other[key]) < 1e-9 for key in first), (first, other)
    print("  " + "  ".join(f"{key} {value:.6f}" for key, value in first.items()))
    for name, seconds in took.items():
        print(f"  {name:<10} median {float(np.median(seconds)):7.3f} s   all {[round(s, 3) for s in seconds]}")
    return {name: float(np.median(seconds)) for name, seconds in took.items()}


def captions(golden: Path, rounds: int) -> float:
    """Seconds of pycocoevalcap over seconds of ours."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    references: dict[int, list[dict[str, Any]]] = {}
    for row in json.loads((golden / "coco/captions_test5k.json").read_text())["annotations"]:
        references.setdefault(row["image_id"], []).append(row)
    captions = {row["image_id"]: [row] for row in json.loads((golden / "coco/predictions_puret.json").read_text())}
    references = {image: references[image] for image in captions}
    examples = [
        Example(id=str(image), cluster=str(image), kind="caption", references=tuple(row["caption"] for row in rows))
        for image, rows in references.items()
    ]
    answers = [Answer(state="ok", text=captions[image][0]["caption"]) for image in references]

    def official() -> dict[str, float]:
        tokeniser = PTBTokenizer()
        gts, res = tokeniser.tokenize(references), tokeniser.tokenize(captions)
        bleu = Bleu(4).compute_score(gts, res, verbose=0)[0]
        return {
            **{f"bleu_{n}": float(value) for n, value in enumerate(bleu, 1)},
            "rouge_l": float(Rouge().compute_score(gts, res)[0]),
            "cider": float(Cider().compute_score(gts, res)[0]),
        }

    def ours() -> dict[str, float]:
        values: dict[str, float] = {}
        with shared_work():
            for name in ("bleu", "rouge_l", "cider"):
                metric = get(name)
                stats = metric.statistics(examples, answers)
                reduced = metric.reduce(stats, np.ones((1, len(stats))), {})[0]
                values |= {output.name: float(value) for output, value in zip(metric.outputs, reduced, strict=True)}
        return values

    def cold() -> None:
        _captions.forget()

    print(f"captions: tokenise + BLEU + ROUGE-L + CIDEr of {len(examples)} images")
    took = in_turns({"official": official, "ours": ours}, rounds, cold)
    return took["official"] / took["ours"]


def vqa(golden: Path, rounds: int) -> float:
    """Seconds of the official algorithm over seconds of ours."""
    run = json.loads((golden / "vqav2/predictions_reimplementation_seed42.json").read_text())["runs"][0]
    predicted = {row["question_id"]: row["raw_answer"] for row in run["prediction_samples"]}
    rows = json.loads((golden / "vqav2/vqav2_val_subset4084_annotations.json").read_text())["annotations"]
    texts = [tuple(item["answer"] for item in row["answers"]) for row in rows]
    frequent = [Counter(references).most_common(1)[0][0] for references in texts]
    answers = [predicted.get(row["question_id"], most) for row, most in zip(rows, frequent, strict=True)]
    examples = [
        Example(id=str(at), cluster=str(at), kind="short_answer", references=references)
        for at, references in enumerate(texts)
    ]
    our_answers = [Answer(state="ok", text=text) for text in answers]
    annotated: list[Any] = []

    def fresh() -> None:  # the official algorithm changes its annotations, so each round gets new ones, untimed
        annotated[:] = [
            (official_vqa.records(references), text) for references, text in zip(texts, answers, strict=True)
        ]

    def official() -> dict[str, float]:
        scores = official_vqa.vqa_2021(annotated)
        return {"vqa_accuracy@2021": sum(scores) / len(scores)}

    def ours() -> dict[str, float]:
        metric = get("vqa_accuracy@2021")
        stats = metric.statistics(examples, our_answers)
        return {metric.id: float(metric.reduce(stats, np.ones((1, len(stats))), {})[0, 0])}

    print(f"VQA accuracy, 2021 rule, {len(rows)} questions")
    took = in_turns({"official": official, "ours": ours}, rounds, fresh)
    return took["official"] / took["ours"]


def main() -> None:
    default = os.environ.get("ANYMAL_EVAL_GOLDEN") or ROOT.parent / "shared" / "golden"
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--golden", type=Path, default=Path(default))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not options.golden.is_dir():
        sys.exit(f"{options.golden} is not there: name the folder of published predictions with --golden")
    print(f"VQA: {vqa(options.golden, options.rounds):.1f} times as fast as the official algorithm")
    if shutil.which("java") is None:
        sys.exit("captions: not compared, the official tokeniser needs Java")
    print(f"captions: {captions(options.golden, options.rounds):.1f} times as fast as pycocoevalcap")


if __name__ == "__main__":
    main()
