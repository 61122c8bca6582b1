"""results.json is read as strictly as it is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import BadData, MissingData
from anymal_eval.store.results import Measurement, RunFacts, parse_results, read_results


def one(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "task": "vqav2", "split": "val", "data": "official", "protocol": "plain", "metric": "vqa_accuracy",
        "version": "2021", "output": "vqa_accuracy", "signature": "s", "value": 0.5, "unit": "fraction",
        "better": "higher", "ci_low": 0.4, "ci_high": 0.6, "ci_method": "wilson", "n": 3, "n_expected": 4,
        "states": {"ok": 2, "empty": 1, "unparsable": 0, "error": 1}, "group": None, "headline": True,
    }  # fmt: skip
    return {**plain, **changes}


def whole(*measurements: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"schema": 1, "run": {"name": "r", "model": "m"}, "measurements": list(measurements), **changes}


def test_reads_every_field_of_the_contract(run_folder: Callable[..., Path]) -> None:
    folder = run_folder(whole(one(group={"answer_type": "other"}, headline=False)))

    read = read_results(folder)

    assert read.run == RunFacts(name="r", model="m")
    (measured,) = read.measurements
    assert isinstance(measured, Measurement)
    assert (measured.value, measured.ci_low, measured.ci_high, measured.n) == (0.5, 0.4, 0.6, 3)
    assert (measured.requested, measured.rule, measured.label) == (4, "vqa_accuracy@2021", "vqa_accuracy@2021")
    assert measured.group == {"answer_type": "other"}
    assert read_results(folder / "results.json") == read


def test_a_run_may_be_a_name_only() -> None:
    assert parse_results(whole(run="night"), "x").run == RunFacts(name="night", model="night")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (whole(one(), schema=2), "newer"),
        (whole(one(), schema=0), "no schema 0"),
        ([], "schema"),
        (whole(one(extra=1)), "extra"),
        ({"schema": 1, "run": "r"}, "measurements"),
        (whole(one(value="high")), "value"),
        (whole(one(value=float("nan"))), "finite"),
        (whole(one(ci_low=None)), "both"),
        (whole(one(ci_low=0.7)), "above"),
        (whole(one(n=4)), "errors"),
        (whole(one(states={"ok": 5, "empty": -1, "unparsable": 0, "error": 1})), "negative"),
        (whole(one(states={"ok": 3, "lost": 1})), "states"),
        (whole(one(unit="percent")), "unit"),
    ],
)
def test_refuses_what_is_not_the_contract(data: Any, says: str) -> None:
    with pytest.raises(BadData, match=says):
        parse_results(data, "results.json")


def test_missing_and_truncated_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="anymal-eval score"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text('{"schema": 1,', encoding="utf-8")
    with pytest.raises(BadData, match="whole"):
        read_results(tmp_path)


def test_chance_and_ablations_are_in_the_label() -> None:
    assert RunFacts(name="r", model="constant").label == "constant (chance)"
    assert RunFacts(name="r", model="constant:yes", ablate="no-media").label == "constant:yes (chance, no-media)"
    assert not RunFacts(name="r", model="constantine").is_chance
