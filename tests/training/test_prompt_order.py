"""The order of media and instruction: the network names it, the checkpoint records it, a run compares it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import anymal_eval
from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.config import read_config
from anymal_eval.errors import BadCheckpoint, BadDefinition
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.store import manifest as manifests
from anymal_eval.training.run import train
from tests.training.conftest import align_job, instruct_job

REMARK = "prompts are system-first, those of training instruction-first"


class Console(SilentConsole):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of captions with an instruction before the medium."""
    out = tmp_path_factory.mktemp("ordered")
    job = align_job(folder, out, prompt="Describe it.", prompt_order="instruction-first", steps=1, warmup=0)
    (sample, *_) = job.data[0].samples or ()
    assert [isinstance(part, str) for part in sample.turns[0].parts] == [True, False]
    return train(job).checkpoint


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def test_a_checkpoint_records_its_order(folder: Path, trained: Path, tmp_path: Path) -> None:
    assert content(trained)["network"]["prompt_order"] == "instruction-first"
    assert content(trained)["trained_orders"] == ["instruction-first"]
    assert checkpoint.read(trained).orders == ("instruction-first",)
    # Stage 2 goes by it, unless another is named.
    job = instruct_job(folder, trained, tmp_path / "a", steps=1, warmup=0)
    (sample, *_) = job.data[0].samples or ()
    assert isinstance(sample.turns[0].parts[0], str)
    other = instruct_job(folder, trained, tmp_path / "b", prompt_order="system-first", steps=1, warmup=0)
    (sample, *_) = other.data[0].samples or ()
    assert [turn.role for turn in sample.turns] == ["system", "user", "assistant"]
    second = train(other).checkpoint
    assert content(second)["network"]["prompt_order"] == "system-first"
    assert checkpoint.read(second).orders == ("system-first",)


def test_captions_alone_keep_the_order_that_is_named(folder: Path, tmp_path: Path) -> None:
    made = train(align_job(folder, tmp_path / "out", prompt_order="system-first", steps=1, warmup=0)).checkpoint
    assert checkpoint.read(made).orders == ("system-first",)
    made = train(align_job(folder, tmp_path / "bare", prompt_order="instruction-first", steps=1, warmup=0)).checkpoint
    assert checkpoint.read(made).orders == ("instruction-first",)  # a medium alone has none: that of the network


def test_earlier_checkpoints_have_media_first(trained: Path, tmp_path: Path) -> None:
    old = content(trained)
    del old["network"]["prompt_order"], old["trained_orders"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert checkpoint.read(tmp_path).config.prompt_order == "media-first"
    assert checkpoint.read(tmp_path).orders == ("media-first",)
    with pytest.raises(BadDefinition, match="prompt_order"):
        read_config({**old["network"], "prompt_order": "last"}, "x")
    (tmp_path / "config.json").write_text(json.dumps({**old, "trained_orders": ["last"]}))
    with pytest.raises(BadCheckpoint, match="trained_orders must be a list of media-first, instruction-first, system-"):
        checkpoint.read(tmp_path)


def test_another_order_is_one_line_and_recorded(trained: Path, tmp_path: Path) -> None:
    console = Console()
    given: dict[str, Any] = {"data": "demo", "demo_examples": 4, "device": "cpu", "console": console}
    made = anymal_eval.evaluate(
        f"anymal:{trained}", "hateful_memes", protocol="anymal-2023", out=tmp_path / "paper", **given
    )
    assert [line for line in console.lines if "prompts are" in line] == [f"anymal, protocol anymal-2023: {REMARK}"]
    file = tmp_path / "paper" / "manifest.json"
    written = manifests.read(file)
    assert written.tasks["hateful_memes"].remark == REMARK
    assert written.model["provenance"]["prompt_orders"] == ["instruction-first"]
    (signature,) = {item["signature"] for item in json.loads((file.parent / "results.json").read_text())["measurements"]
                    if item["headline"]}  # fmt: skip
    assert REMARK in signature
    assert made.errors == 0
    # A run of a version that recorded no order is the same run.
    earlier = replace(written, tasks={"hateful_memes": replace(written.tasks["hateful_memes"], remark="")})
    assert manifests.resumed(earlier, written).tasks == written.tasks
    # The plain protocol has the order of training.
    console.lines.clear()
    anymal_eval.evaluate(f"anymal:{trained}", "hateful_memes", protocol="plain", out=tmp_path / "plain", **given)
    assert not [line for line in console.lines if "prompts are" in line]
    assert manifests.read(tmp_path / "plain" / "manifest.json").tasks["hateful_memes"].remark == ""
