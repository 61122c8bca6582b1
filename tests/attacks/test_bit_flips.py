"""The campaign of ``benchmarks/bit_flips.py`` in small: no flipped bit is read as if nothing had happened."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.bit_flips import OUTCOMES, Ended, campaign, outcome, worst


def test_a_flip_in_every_file_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", "")  # set by the campaign, and put back
    # The others are those of test_damaged_states.py and tests/anymal/test_features.py.
    found = campaign(tmp_path, 2, seed=7, every=1000, names=["run", "baseline"])
    for name, counted in found.items():
        assert counted["files"] >= 3, name
        assert counted["refused"] + counted["repaired"] == counted["files"], (name, counted)
        assert sum(counted[each] for each in OUTCOMES) == counted["files"]


@pytest.mark.parametrize(
    ("ended", "is_", "again"),
    [
        (Ended(1, ("error: x",), ""), "refused", ["repaired", "without effect", "refused"]),
        (Ended(1, (), ""), "fault", ["refused", "fault"]),
        (Ended(70, ("Traceback",), ""), "fault", ["fault"]),
        (Ended(1, ("error: x", "error: y"), ""), "fault", ["fault", "UNSEEN"]),
        (Ended(0, (), "other"), "UNSEEN", ["refused", "UNSEEN"]),
        (Ended(0, ("damaged",), "it"), "repaired", ["without effect", "repaired"]),
        (Ended(0, ("3 answers in 2.0 s",), "it"), "without effect", ["without effect"]),
    ],
)
def test_outcomes(ended: Ended, is_: str, again: list[str]) -> None:
    assert outcome(ended, Ended(0, (), "it")) == is_
    assert worst(again) == is_
    assert Counter(again)[is_] == 1
