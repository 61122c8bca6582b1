"""How to ask, and where the time went: told, kept apart from the results, and no part of the run's identity."""

import json
from pathlib import Path
from typing import Any

from anymal_eval.anymal import tiny
from tests.conftest import Command


def test_features_batches_and_timings(tmp_path: Path, command_here: Command) -> None:
    tiny.write(tmp_path)
    given = (
        "run",
        "--tasks",
        "vqav2",
        "--data",
        "demo",
        "--demo-examples",
        20,
        "--model",
        f"anymal:{tmp_path}/checkpoint",
    )
    outs = [tmp_path / "cold", tmp_path / "warm"]
    sessions: list[dict[str, Any]] = []
    for out, size in zip(outs, ("auto", "3"), strict=True):
        done = command_here(*given, "--features", tmp_path / "features", "--batch-size", size, "--out", out)
        assert done.returncode == 0, done.stderr
        assert "20 answers in " in done.stderr
        (session,) = json.loads((out / "timings.json").read_text())["sessions"]
        sessions.append(session)
        assert session["answered"] == 20
        assert {"waiting", "encoding", "prefilling", "decoding", "writing", "scoring"} <= set(session["seconds"])
        assert sum(session["seconds"].values()) <= session["wall"]
    assert len(list((tmp_path / "features").glob("*/*.safetensors"))) > 0
    for name in ("results.json", "vqav2/scores.jsonl", "vqav2/statistics.npz"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name


def test_what_cannot_be_is_refused_before_anything_is_loaded(tmp_path: Path, command_here: Command) -> None:
    given = ("run", "--tasks", "vqav2", "--data", "demo", "--model", "constant", "--out", tmp_path / "run")
    done = command_here(*given, "--batch-size", "many")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--batch-size many: write auto or a number of requests" in done.stderr
    done = command_here(*given, "--features", tmp_path)
    assert done.returncode == 1
    assert "model constant has no option 'features'" in done.stderr
    assert not (tmp_path / "run").exists()
