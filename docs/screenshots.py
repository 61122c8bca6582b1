"""Takes the screenshots of the documentation: two made-up systems answer the demo world, Chromium shows their report.

    python docs/screenshots.py            writes docs/images/*.png

The systems are no networks: they repeat the references, and each gets some of them wrong, by a hash of the id. What the
pictures show is therefore demo data twice over, and says so.
"""

import hashlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anymal_eval import catalog, fingerprint
from anymal_eval.models import PLAIN_WORDING, PlainText, Prepared
from anymal_eval.records import ALL_MEDIA, Example, Request, Response
from anymal_eval.sources.load import load_examples
from anymal_eval.task import Task

HERE = Path(__file__).parent
TASKS = ("vqav2", "hateful_memes", "scienceqa", "nextqa", "coco", "audiocaps", "imu_caption")
EXAMPLES = 120
# How often each system is wrong, in percent; by task where it is another number.
SYSTEMS: dict[str, tuple[int, dict[str, int]]] = {
    "baseline": (44, {}),
    "retrained": (31, {"audiocaps": 62, "coco": 43, "imu_caption": 43, "scienceqa": 40}),
}
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


def luck(*parts: str) -> int:
    """A number from 0 to 99 that depends on the words alone."""
    return hashlib.sha256("/".join(parts).encode()).digest()[0] * 100 // 256


def answer(example: Example, examples: Sequence[Example], system: str, wrong: int) -> dict[str, object]:
    """What a system says: the truth, or something that fits the question less well."""
    # Half of the luck is the example's own, so that both systems find the same ones hard.
    fails = (luck(example.id) + luck(example.id, system)) / 2 < wrong
    if example.label is not None:
        size = len(example.options)
        said = (example.label + 1 + luck(example.id, "other") % (size - 1)) % size if fails else example.label
        sure = 0.4 + luck(example.id, system, "sure") / 45
        return {
            "id": example.id,
            "option_scores": [round(sure * (at == said) - math.log(size), 4) for at in range(size)],
        }
    references = example.references or ("",)
    other = examples[(luck(example.id, "where") * 7 + 1) % len(examples)].references or ("",)
    text = references[luck(example.id, system, "which") % len(references)]
    if fails and example.kind == "caption":
        words, instead = text.split(), other[0].split()
        text = " ".join([*words[: len(words) // 2], *instead[len(instead) // 2 :]])
    elif fails:
        text = other[0]
    return {"id": example.id, "answer": text}


class Speaker:
    """A model of our own, as ``--model package.module:Class``: says what stands in a file, by example id."""

    accepts = ALL_MEDIA
    wording = PLAIN_WORDING
    opens_media = False

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """Where the answers are."""

        file: str

    def __init__(self, options: Options) -> None:
        self._said = json.loads(Path(options.file).read_text(encoding="utf-8"))
        self.fingerprint = f"speaker:{fingerprint.of(self._said)}"

    def prepare(self, request: Request) -> PlainText:
        """Nothing to prepare."""
        return PlainText(request)

    def answer(self, batch: Sequence[Prepared]) -> list[Response]:
        """What the file says."""
        return [Response(**self._said[item.request.id]) for item in batch]

    def close(self) -> None:
        """Nothing to give back."""


def runs(folder: Path) -> list[Path]:
    """Let both systems answer every task: two run folders."""
    made = []
    for system, (usual, others) in SYSTEMS.items():
        said: dict[str, object] = {}
        for name in TASKS:
            task = catalog.tasks().get(name, "TASK", Task)
            examples = load_examples(task, task.splits[0], "demo", folder, demo_examples=EXAMPLES)
            wrong = others.get(name, usual)
            said |= {example.id: answer(example, examples, system, wrong) for example in examples}
        file = folder / f"{system}.json"
        file.write_text(json.dumps(said), encoding="utf-8")
        made.append(folder / "runs" / system)
        call("run", "--tasks", ",".join(TASKS), "--data", "demo", "--demo-examples", EXAMPLES,
             "--model", "docs.screenshots:Speaker", "-o", f"file={file}", "--out", made[-1])  # fmt: skip
    return made


def call(*arguments: object) -> None:
    """The command line, in a process of its own."""
    command = [sys.executable, "-m", "anymal_eval", *map(str, arguments)]
    subprocess.run(command, check=True, cwd=HERE.parent, stdout=subprocess.DEVNULL)


def take(report: Path, images: Path) -> None:
    """Open the report in Chromium and save the pictures."""
    from playwright.sync_api import sync_playwright

    images.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        for name, place, shape, scheme in SHOTS:
            page = browser.new_page(viewport={"width": shape[0], "height": shape[1]}, color_scheme=scheme)  # type: ignore[arg-type]
            page_name, _, state = place.partition("#")
            page.goto(f"{(report / page_name).as_uri()}#{state}")
            if page_name != "index.html":
                page.wait_for_selector("html[data-ready]")
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(800)
            page.screenshot(path=images / f"{name}.png")
            page.close()
        browser.close()
    for name, *_ in SHOTS:
        shrink(images / f"{name}.png")


def shrink(file: Path) -> None:
    """256 colours are enough for a page: a third of the size. The rare ones stay, as those of small shapes."""
    from PIL import Image

    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    few.save(file, optimize=True)


# Name, page with what its address holds, size, scheme.
SHOTS = (
    ("summary", "index.html", (1440, 900), "light"),
    ("gallery", "tasks/audiocaps.html", (1440, 900), "light"),
    ("comparison", "tasks/vqav2.html#show=rose&sort=rise", (1440, 900), "light"),
    ("dark", "tasks/nextqa.html", (1440, 900), "dark"),
    ("phone", "tasks/audiocaps.html", (390, 844), "light"),
    ("task", "tasks/hateful_memes.html#tab=overview", (1440, 900), "light"),
)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        older, newer = runs(Path(temporary))
        call("report", newer, "--against", older, "--out", Path(temporary) / "report")
        take(Path(temporary) / "report", HERE / "images")
