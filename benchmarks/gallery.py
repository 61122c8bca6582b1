"""Writes and opens a report of 5,000 answers about 5,000 synthetic photographs of 640 x 480.

    python -m benchmarks.gallery [--examples 5000] [--media copy|none] [--keep DIR]

The limits on two cores, for 5,000: written in under 120 s, decoding included, and in under 30 s without media; the
first page ready in under 2 s in a Chromium that has just started, from the file system; without media the list ready in
under 0.5 s after the overview, the best of three; the folder under 200 MB. The images are fields of
colour with grain, saved at quality 92, and have as many bytes as COCO's photographs (about 160 kB).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

LIMITS = {
    "copy": {"written, s": 120.0, "first page ready, s": 2.0, "folder, MB": 200.0},
    "none": {"written, s": 30.0, "first page ready, s": 2.0, "first list, s": 0.5, "folder, MB": 200.0},
}
COLOURS = ("red", "green", "blue", "yes", "no", "two", "a dog", "left")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


def photograph(file: Path, seed: int) -> None:
    """Soft fields of colour, edges, and grain, which compress about as badly as a photograph."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), dtype=np.int16)
    middle = Image.fromarray(random.integers(0, 60, (120, 160, 3), dtype=np.uint8))
    detail = np.asarray(middle.resize((640, 480), Image.Resampling.BICUBIC), dtype=np.int16) - 30
    grain = random.integers(-9, 10, (480, 640, 1), dtype=np.int16)
    Image.fromarray(np.clip(soft + detail + grain, 0, 255).astype(np.uint8)).save(file, quality=92)


def lay(root: Path, examples: int) -> None:
    """VQAv2's official files, one question per image."""
    folder = root / "vqav2"
    if folder.is_dir():
        return
    (folder / "val2014").mkdir(parents=True)
    files = [folder / "val2014" / f"COCO_val2014_{at:012d}.jpg" for at in range(1, examples + 1)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(photograph, files, range(examples)))
    questions = [{"image_id": at, "question_id": at * 1000, "question": f"What stands in the middle of picture {at}?"}
                 for at in range(1, examples + 1)]  # fmt: skip
    annotations = [
        {
            "question_id": row["question_id"], "image_id": row["image_id"], "question_type": "what is",
            "answer_type": "other", "multiple_choice_answer": COLOURS[at % 8],
            "answers": [{"answer": COLOURS[at % 8], "answer_confidence": "yes", "answer_id": k} for k in range(1, 11)],
        }
        for at, row in enumerate(questions)
    ]  # fmt: skip
    named = {
        "questions": "v2_OpenEnded_mscoco_val2014_questions.json",
        "annotations": "v2_mscoco_val2014_annotations.json",
    }
    (folder / named["questions"]).write_text(json.dumps({"questions": questions}))
    (folder / named["annotations"]).write_text(json.dumps({"annotations": annotations}))


def call(*arguments: object) -> float:
    """The command line in a process of its own: the seconds it took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "anymal_eval", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def opened(page_file: Path) -> dict[str, float]:
    """Open a page in Chromium: seconds until its list can be used, and those of what one does next."""
    from playwright.sync_api import sync_playwright

    program = os.environ.get("ANYMAL_EVAL_CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        page = browser.new_page()
        page.goto("about:blank")
        start = time.perf_counter()
        page.goto(page_file.as_uri(), wait_until="commit")
        page.wait_for_selector("html[data-ready] #list li")
        took = {"first page ready, s": time.perf_counter() - start}
        waits = []
        for _ in range(3):
            page.goto((page_file.parent.parent / "index.html").as_uri(), wait_until="load")
            start = time.perf_counter()
            page.goto(page_file.as_uri(), wait_until="commit")
            page.wait_for_selector("html[data-ready] #list li")
            waits.append(time.perf_counter() - start)
        took["first list, s"] = min(waits)
        start = time.perf_counter()
        page.keyboard.press("j")
        page.wait_for_selector("#example-title")
        took["example opened, s"] = time.perf_counter() - start
        start = time.perf_counter()
        page.select_option("#sort", "low")
        took["sorted, s"] = time.perf_counter() - start
        start = time.perf_counter()
        page.fill("#search", "4999")
        while " of " not in page.inner_text("#count"):
            page.wait_for_timeout(5)
        took["searched, s"] = time.perf_counter() - start
        browser.close()
    return took


def measure(root: Path, examples: int, media: str) -> dict[str, float]:
    """Everything, by name. CPU seconds are those of the report's processes, which others on the machine change less."""
    start = time.perf_counter()
    lay(root / "data", examples)
    size = sum(file.stat().st_size for file in (root / "data" / "vqav2" / "val2014").iterdir())
    print(f"{examples} pictures of {size / examples / 1000:.0f} kB drawn in {time.perf_counter() - start:.0f} s")
    data = ("--data", "official", "--data-root", root / "data", "--tasks", "vqav2")
    for name, says in (("before", "red"), ("after", "yes")):
        call("run", *data, "--model", "constant", "-o", f"says={says}", "--out", root / name)
    out = root / f"report-{media}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = {
        "written, s": call("report", root / "after", "--against", root / "before", "--data-root", root / "data",
                           "--examples", "all", "--media", media, "--out", out)
    }  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took["written, CPU s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    files = [file for file in out.rglob("*") if file.is_file()]
    took["folder, MB"] = sum(file.stat().st_size for file in files) / 1e6
    took["files"] = len(files)
    return took | opened(out / "tasks" / "vqav2.html")


def main() -> int:
    """Measure, print, and compare with the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--media", choices=sorted(LIMITS), default="copy")
    parser.add_argument("--keep", type=Path, help="Use this folder and leave it.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(given.keep or Path(temporary), given.examples, given.media)
    failed = 0
    for name, value in found.items():
        limit = LIMITS[given.media].get(name)
        failed += limit is not None and value >= limit
        note = "" if limit is None else f"   limit {limit:g}{'' if value < limit else '  EXCEEDED'}"
        print(f"{name:<22} {value:10.2f}{note}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
