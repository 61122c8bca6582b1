"""What a protocol decides besides the words, unlabelled splits, metrics that are not there, and ``show``."""

import json
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from anymal_eval import catalog
from anymal_eval.cli.run import run
from anymal_eval.cli.show import show
from anymal_eval.errors import BadDefinition
from anymal_eval.evaluation.dataset import reported_split
from anymal_eval.models import PLAIN_WORDING
from anymal_eval.protocols import Phrase, Protocol
from anymal_eval.protocols.reading import cleaning_warning, reading_for
from anymal_eval.sources.dataset import DataOptions
from anymal_eval.task import Task
from tests.cli.conftest import LAYOUTS, write
from tests.conftest import DEMO_TASKS

PROTOCOLS = catalog.protocols().names()


@pytest.fixture(autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path_factory.getbasetemp() / "asked-world"))


def call(command: click.Command, *typed: object) -> Result:
    return CliRunner().invoke(command, [str(each) for each in typed], standalone_mode=False)


def task(name: str) -> Task:
    return catalog.tasks().get(name, "TASK", Task)


def memes(root: Path, split: str) -> None:
    rows = [{"id": at, "img": f"img/{at:05}.png", "label": at % 2, "text": "x"} for at in range(1, 21)]
    write(root / f"hateful_memes/{split}.jsonl", rows)


def splits(out: Path) -> Sequence[str]:
    return [entry["split"] for entry in json.loads((out / "manifest.json").read_text())["tasks"].values()]


def test_the_protocol_says_which_split(tmp_path: Path) -> None:
    memes(tmp_path, "test_seen")
    memes(tmp_path, "dev_seen")
    common = ["--tasks", "hateful_memes", "--model", "constant", "--data-root", tmp_path]
    flamingo = [*common, "--protocol", "openflamingo-2023"]
    assert call(run, *flamingo, "--out", tmp_path / "a").return_value == 0
    assert splits(tmp_path / "a") == ["test_seen"]
    assert call(run, *flamingo, "--split", "dev_seen", "--out", tmp_path / "b").return_value == 0
    assert splits(tmp_path / "b") == ["dev_seen"]
    assert call(run, *common, "--out", tmp_path / "c").return_value == 0
    assert splits(tmp_path / "c") == ["dev_seen"]
    shown = call(show, "hateful_memes", "--protocol", "openflamingo-2023", "--data-root", tmp_path / "none")
    assert "test_seen.jsonl" in str(shown.exception)
    assert call(show, "hateful_memes", "--protocol", "openflamingo-2023", "--data", "demo").return_value is None


def test_a_split_that_the_task_lacks_is_the_protocols_fault() -> None:
    words = Protocol(name="mine", summary="x", tasks={"coco": Phrase(user="{media} Say.", split="karpathy-test")})
    with pytest.raises(BadDefinition, match=r"protocol mine: task coco has no split 'karpathy-test'.*give --split"):
        reported_split(task("coco"), DataOptions(), words)
    assert reported_split(task("coco"), DataOptions(split="val"), words).split == "val"
    assert reported_split(task("vqav2"), DataOptions(), words).split is None


def test_a_cleaning_that_is_left_out_is_said_and_signed(tmp_path: Path) -> None:
    done = call(run, "--tasks", "okvqa", "--model", "constant", "--data", "demo", "--demo-examples", 20,
                "--protocol", "blip2-2023", "--out", tmp_path / "run")  # fmt: skip
    assert done.return_value == 0
    from anymal_eval.protocols import get

    why = cleaning_warning(task("okvqa"), PLAIN_WORDING, get("blip2-2023"))
    if not why:
        pytest.skip("spaCy is installed: nothing is left out")
    assert "okvqa: read without the cleaning 'lemmas' of the protocol" in why
    assert done.stderr.splitlines().count(why) == 1
    assert reading_for(task("okvqa"), PLAIN_WORDING, get("blip2-2023")).clean == "none"
    assert "clean none" in done.stdout
    assert why in call(show, "okvqa", "--data", "demo", "--protocol", "blip2-2023").stderr


@pytest.mark.parametrize("name", ["vqav2", "vizwiz"])
def test_a_split_without_labels_gets_responses_and_no_value(name: str, tmp_path: Path) -> None:
    if name == "vqav2":
        asked = [{"image_id": at, "question": "what?", "question_id": at} for at in range(1, 6)]
        write(tmp_path / "data/vqav2/v2_OpenEnded_mscoco_test-dev2015_questions.json", {"questions": asked})
    else:
        rows = [{"image": f"VizWiz_test_{at:08}.jpg", "question": "what?"} for at in range(1, 6)]
        write(tmp_path / "data/vizwiz/Annotations/test.json", rows)
    done = call(run, "--tasks", name, "--model", "constant", "--data-root", tmp_path / "data", "--split", "test-dev",
                "--out", tmp_path / "run")  # fmt: skip
    assert (done.exception, done.return_value) == (None, 0)
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert (results["measurements"], results["chance"]) == ([], [])
    assert {row["why"] for row in results["not_computed"]} == {"split test-dev has no public labels; use export"}
    assert "no public labels" in done.stdout
    for file in ("responses.jsonl", "scores.jsonl"):
        assert len((tmp_path / f"run/{name}/{file}").read_text().splitlines()) == 5


def test_spice_without_its_models_is_said_and_nothing_else_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANYMAL_EVAL_SPICE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))  # and no Java either: METEOR is then not computed
    done = call(run, "--tasks", "coco,audiocaps", "--model", "constant", "--data", "demo", "--demo-examples", 20,
                "--out", tmp_path / "run")  # fmt: skip
    assert (done.exception, done.return_value) == (None, 0)
    results = json.loads((tmp_path / "run/results.json").read_text())
    lacking = {(row["task"], row["metric"]): row["why"] for row in results["not_computed"]}
    assert {("coco", "spice@1"), ("audiocaps", "spice@1"), ("audiocaps", "spider@1")} <= lacking.keys()
    assert {metric for _, metric in lacking} == {"spice@1", "spider@1", "meteor@1.5"}
    for (name, metric), why in lacking.items():
        row = next(line for line in done.stdout.splitlines() if line.startswith(f"| {name} (demo)") and metric in line)
        assert f"not computed: {why}" in row
    measured = {(row["task"], row["metric"]) for row in results["measurements"]}
    assert measured == {(name, metric) for name in ("coco", "audiocaps") for metric in ("cider", "rouge_l", "bleu")}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", DEMO_TASKS)
def test_show_prints_each_task_under_each_protocol(name: str, protocol: str) -> None:
    done = call(show, name, "-n", 3, "--data", "demo", "--protocol", protocol)
    assert done.exception is None, done.exception
    assert done.stdout.count(f"=== {name} ") == 3
    for word in ("[user]", "read  ", "references"):
        assert done.stdout.count(word) >= 3
    assert ("ranked  " in done.stdout) != ("generated  " in done.stdout)
    if name != "scienceqa":
        assert done.stdout.count(f"<{task(name).media}: ") == 3


@pytest.mark.parametrize("name", LAYOUTS)
def test_show_prints_the_official_files(name: str, golden: Path, tmp_path: Path) -> None:
    if name == "hateful_memes":
        memes(tmp_path, "dev_seen")  # the golden ones hold double ids, which are refused
    else:
        LAYOUTS[name](golden, tmp_path / name)
    done = call(show, name, "-n", 3, "--data-root", tmp_path, "--protocol", "anymal-2023")
    assert done.exception is None, done.exception
    assert done.stdout.count(f"=== {name} ") == 3
