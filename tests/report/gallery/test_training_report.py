"""A report of a training: the scores of its log as curves, alone and beside the runs of its checkpoints."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from anymal_eval.errors import MissingData
from tests.report.gallery.conftest import Tab, call, demo_run, watched

ATTACK = "<img src=x onerror=window.hacked=1>"
LINES = [
    {"step": 50, "loss": 3.0, "eval_vqav2/vqa_accuracy": 21.0, "eval_own/<b>made_up": 1.0},
    {"step": 100, "loss": 2.0},
    {"step": 100, "eval_vqav2/vqa_accuracy": 44.5, "eval_vqav2/errors": 3, f"eval_{ATTACK}/x": 1.0},
    {"step": 1500, "eval_vqav2/vqa_accuracy": 41.25},
    {"step": 2000, "eval_vqav2/vqa_accuracy": float("nan")},
]


@pytest.fixture(scope="module")
def training(world: Path) -> Path:
    """A folder with a record and a log, whose last line is being written."""
    folder = world / "aligned"
    folder.mkdir()
    record = {"identity": {"recipe": {"steps": 2000, "rate": 0.001}, "data": ["demo"]}}
    (folder / "training.json").write_text(json.dumps(record))
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, LINES)) + '\n{"step": 2500, "eval_vqav2/vqa_acc')
    return folder


@pytest.fixture
def tab(chromium: Browser, training: Path) -> Iterator[Tab]:
    yield from watched(chromium, training)


def test_the_log_of_a_training_is_a_curve(tab: Tab, training: Path) -> None:
    call("report", training)
    page = tab.open("report/index.html")
    assert page.inner_text("h1").startswith("VQAv2, VQA accuracy 41.2 at step 1,500 (highest 44.5 at step 100)")
    assert page.evaluate("window.hacked") is None
    labels = page.locator("section:has(#curve) .panel-title strong").all_inner_texts()
    assert labels == ["VQAv2, VQA accuracy, log", "own, <b>made up, log", "<img, src=x onerror=window.hacked=1> x, log"]
    panel = page.locator("section:has(#curve) .plot-panel").first
    assert panel.locator(".point").count() == 3
    assert panel.locator(".point title").all_text_contents() == [
        "step 50: 21.00",
        "step 100: 44.50",
        "step 1,500: 41.25",
    ]
    assert "41.25" in (page.text_content("section:has(#curve) table") or "")
    # The record is part of what is folded below.
    assert "identity.recipe.rate" in (page.text_content(".fact-groups") or "")
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_checkpoints_are_runs_beside_the_log(tab: Tab, training: Path, world: Path) -> None:
    both = world / "watched-training"
    shutil.copytree(training, both, ignore=shutil.ignore_patterns("report"))
    for step, says in ((9, "red"), (100, "yes")):
        demo_run(both / "evaluations" / f"step-{step}", "constant", "-o", f"says={says}", tasks="vqav2")
    call("report", both, "--media", "none", "--out", training / "both")
    page = tab.open("both/index.html")
    # By their steps, of which the first is the baseline.
    assert page.locator(".matrix thead .run-head").all_inner_texts() == ["step 9", "step 100"]
    labels = page.locator("section:has(#curve) .panel-title strong").all_inner_texts()
    assert labels[0] == "VQAv2, VQA accuracy"
    assert "VQAv2, VQA accuracy, log" in labels
    assert len(set(labels)) == len(labels)
    tab.open("both/tasks/vqav2.html")
    assert tab.page.locator("#list a").count() == 24


def test_a_training_without_scores_is_one_line(training: Path, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(MissingData, match="a training without scores: no run of watch, and none of --eval-every"):
        call("report", tmp_path)
