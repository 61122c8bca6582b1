"""COCO captions end to end: whole processes beside METEOR's jar alone and beside pycocoevalcap with Java.

    python -m benchmarks.captions [--images 5000] [--golden DIR] [--write]

PureT's captions of the COCO Karpathy test split with their references, as a file of rows and a file of answers. ``run``
tokenizes, computes every metric with its intervals, and writes the run folder; pycocoevalcap tokenizes with Java and
computes the values alone. Seconds of the processor include those of the programs in Java that a process starts.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from anymal_eval.metrics._captions import tokenise
from anymal_eval.metrics._java import jar_folder
from benchmarks.measuring import write_section
from benchmarks.scale import SPEED, Usage, measure

OFFICIAL = """
import json, sys
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
rows = [json.loads(line) for line in open(sys.argv[1])]
answers = json.load(open(sys.argv[2]))
tokenizer = PTBTokenizer()
gts = tokenizer.tokenize({n: [{"caption": text} for text in row["answers"]] for n, row in enumerate(rows)})
res = tokenizer.tokenize({n: [{"caption": answers[row["id"]]}] for n, row in enumerate(rows)})
scorers = [Bleu(4), Rouge(), Cider(), *([Meteor()] if sys.argv[3] == "all" else [])]
for scorer in scorers:
    print(scorer.method(), scorer.compute_score(gts, res)[0])
"""
METEOR = "cd {jar} && exec java -Xmx2G -jar meteor-1.5.jar - - -stdio -l en -norm < {lines} > /dev/null"


def make(folder: Path, golden: Path, images: int) -> None:
    """Write rows, answers, and the lines that METEOR's jar gets."""
    captions: dict[int, list[str]] = {}
    for row in json.loads((golden / "coco/captions_test5k.json").read_text())["annotations"]:
        captions.setdefault(row["image_id"], []).append(row["caption"])
    predicted = json.loads((golden / "coco/predictions_puret.json").read_text())[:images]
    rows = [{"id": str(row["image_id"]), "image": f"{row['image_id']}.jpg", "answers": captions[row["image_id"]]}
            for row in predicted]  # fmt: skip
    (folder / "coco5k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = {str(row["image_id"]): row["caption"] for row in predicted}
    (folder / "answers.json").write_text(json.dumps(answers))
    lines = []
    for row in rows:
        *references, answer = tokenise([*row["answers"], answers[str(row["id"])]])
        lines.append(" ||| ".join(("SCORE", *references, answer)) + "\n")
    (folder / "meteor.txt").write_text("".join(lines), encoding="utf-8")


def used(folder: Path) -> dict[str, Usage]:
    """What each process took, in the order of the table."""
    ours: list[str | Path] = [sys.executable, "-m", "anymal_eval", "run", "--tasks", folder / "coco5k.jsonl", "--model",
            f"replay:{folder}/answers.json"]  # fmt: skip
    official: list[str | Path] = [sys.executable, "-c", OFFICIAL, folder / "coco5k.jsonl", folder / "answers.json"]
    return {
        "METEOR's jar alone": measure(
            ["sh", "-c", METEOR.format(jar=jar_folder("meteor"), lines=folder / "meteor.txt")], folder
        ),
        "run, all metrics": measure([*ours, "--metrics", "cider,bleu,rouge_l,meteor", "--out", folder / "all"], folder),
        "run without METEOR": measure([*ours, "--metrics", "cider,bleu,rouge_l", "--out", folder / "some"], folder),
        "pycocoevalcap without METEOR": measure([*official, "some"], folder),
        "pycocoevalcap": measure([*official, "all"], folder),
    }


def table(found: dict[str, Usage], images: int) -> str:
    """The rows as Markdown."""
    jar, whole = found["METEOR's jar alone"], found["pycocoevalcap"]
    lines = [
        f"`python -m benchmarks.captions`, {images:,} images of the COCO test split; cold, whole processes.",
        "",
        "| process | seconds | CPU seconds | peak MB | seconds over the jar's | pycocoevalcap's seconds over these |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        lines.append(
            f"| {name} | {one.seconds:.1f} | {one.cpu:.1f} | {one.peak:,.0f} | {one.seconds / jar.seconds:.2f} | "
            f"{whole.seconds / one.seconds:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write it into docs/speed.md."""
    default = os.environ.get("ANYMAL_EVAL_GOLDEN") or Path(__file__).parents[2] / "shared" / "golden"
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--golden", type=Path, default=Path(default))
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if not given.golden.is_dir() or shutil.which("java") is None:
        sys.exit("it needs Java, and published predictions: name their folder with --golden")
    with tempfile.TemporaryDirectory(prefix="captions-") as name:
        folder = Path(name)
        make(folder, given.golden, given.images)
        text = table(used(folder), given.images)
    print(text)
    if given.write:
        write_section("captions", text, SPEED)


if __name__ == "__main__":
    main()
