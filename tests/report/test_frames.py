"""A run's frames hold what its files hold."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import anymal_eval
from anymal_eval.errors import OtherRun


def test_frames(scored: Callable[..., Path]) -> None:
    stats = np.arange(10.0)[:, None] / 10
    states = ["error"] + ["ok"] * 9
    run = anymal_eval.load_run(scored("run", {"vqav2": stats, "coco": stats}, states=states))
    assert len(run.scores) == 20
    mine = run.scores[run.scores["task"] == "vqav2"]
    assert np.isnan(mine["vqa_accuracy@2021"].iloc[0])
    assert mine["cider@1"].isna().all()
    value = run.measurements.set_index("task").loc["vqav2", "value"]
    assert mine["vqa_accuracy@2021"].mean() == pytest.approx(value)
    assert run.measurements["states.error"].tolist() == [1, 1]
    assert run.errors == 2
    assert set(run.scores["group.type"]) == {"a", "b"}
    assert run.manifest.tasks["coco"].n == 10


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(OtherRun, match="holds no run"):
        anymal_eval.load_run(tmp_path)
