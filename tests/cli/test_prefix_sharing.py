"""The manifest says whether prefixes were shared, and over which devices the model was spread."""

import json
from pathlib import Path

import pytest

from anymal_eval.checkpoints.loading import quiet
from anymal_eval.cli.main import cli
from tests.models.tiny_chats import llava


def test_the_manifest_says_whether_prefixes_were_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "world"))
    with quiet():
        llava(tmp_path / "llava")
    outs = [tmp_path / "shared", tmp_path / "whole"]
    for out, option in zip(outs, ("device_map=auto", "share=false"), strict=True):
        given = [
            "run", "--tasks", "vqav2", "--data", "demo", "--demo-examples", "10", "--model", f"hf:{tmp_path / 'llava'}",
            "-o", option, "--out", str(out),
        ]  # fmt: skip
        assert cli.main(given, standalone_mode=False) == 0
    told = [json.loads((out / "manifest.json").read_text())["model"]["provenance"] for out in outs]
    assert [one["prefix_sharing"] for one in told] == ["on: self-test passed", "off: -o share=false"]
    assert [one["device_map"] for one in told] == [{"": "cpu"}, None]
    assert (outs[0] / "vqav2" / "scores.jsonl").read_bytes() == (outs[1] / "vqav2" / "scores.jsonl").read_bytes()
    [session] = json.loads((outs[0] / "timings.json").read_text())["sessions"]
    assert session["seconds"]["prefilling"] > 0
    assert session["seconds"]["decoding"] > 0
