"""Every metric has a file of inputs and expected values, and gives them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from anymal_eval import catalog
from anymal_eval.metrics import get, missing_requirement
from anymal_eval.records import Answer, Example

CASES = Path(__file__).parents[1] / "golden" / "metrics"


def _example(at: int, row: dict[str, Any]) -> Example:
    return Example(
        id=str(at),
        cluster=str(at),
        kind="caption",
        references=tuple(row["references"]) if "references" in row else None,
        options=tuple(row.get("options", ())),
        label=row.get("label"),
        groups={"type": row["type"]} if "type" in row else {},
    )


def _answer(row: dict[str, Any]) -> Answer:
    return Answer(state="ok", text=row.get("answer", ""), choice=row.get("choice"), p_yes=row.get("p_yes"))


def _cases() -> list[Any]:
    found = []
    for file in sorted(CASES.glob("*.json")):
        for case in json.loads(file.read_text(encoding="utf-8"))["cases"]:
            version = f"@{case['version']}" if "version" in case else ""
            found.append(pytest.param(file.stem + version, case, id=f"{file.stem}{version}: {case['why']}"))
    return found


@pytest.mark.parametrize("name", catalog.metrics().names())
def test_every_metric_has_golden_cases(name: str) -> None:
    file = CASES / f"{name}.json"
    assert file.is_file(), f"{name} has no golden cases: write {file}"
    given = json.loads(file.read_text(encoding="utf-8"))
    assert given["source"]
    assert given["cases"]
    assert all(case["why"] and case["value"] for case in given["cases"])


def test_every_version_has_a_golden_case() -> None:
    tested = {case.values[0] for case in _cases()}
    for name in catalog.metrics().names():
        versions = getattr(catalog.metrics().module(name), "VERSIONS", (get(name),))
        for metric in versions:
            names = {metric.id, metric.name} if len(versions) == 1 else {metric.id}
            assert names & tested, f"no golden case of {metric.id}: add one to {CASES / name}.json"


@cache
def _meteor() -> dict[str, Any]:
    """All cases at once: the jar takes seconds to start, and its rows do not depend on each other."""
    cases = [param.values[1] for param in _cases() if param.values[0] == "meteor"]
    rows = [row for case in cases for row in case["examples"]]
    stats = get("meteor").statistics([_example(at, row) for at, row in enumerate(rows)], [_answer(row) for row in rows])
    cuts = np.cumsum([len(case["examples"]) for case in cases])
    return dict(zip((case["why"] for case in cases), np.split(stats, cuts[:-1]), strict=True))


@pytest.mark.parametrize(("name", "case"), _cases())
def test_golden(name: str, case: dict[str, Any]) -> None:
    metric = get(name)
    why = missing_requirement(metric)
    if why:
        pytest.skip(f"not computed: {why}")
    examples = [_example(at, row) for at, row in enumerate(case["examples"])]
    if name == "meteor":
        stats = _meteor()[case["why"]]
    else:
        stats = metric.statistics(examples, [_answer(row) for row in case["examples"]])
    groups = {"type": np.array([example.groups.get("type", "") for example in examples])}
    values = metric.reduce(stats, np.ones((1, len(examples))), groups)
    assert stats.shape[0] == len(examples)
    assert values.shape == (1, len(metric.outputs))
    names = [output.name for output in metric.outputs]
    got = dict(zip(names, values[0].tolist(), strict=True))
    assert got == pytest.approx(case["value"], abs=case.get("tolerance", 1e-12))


# Statistics that the cases below are drawn for: columns by metric. Every other metric uses those of its golden cases.
COLUMNS = {"bleu": 10, "meteor": 23, "roc_auc": 2, "spider": 2} | dict.fromkeys(
    ("choice_accuracy", "cider", "mean_type_accuracy", "rouge_l", "spice", "vqa_accuracy", "yes_no_accuracy"), 1
)


def _statistics(name: str, rows: int) -> NDArray[np.float64]:
    random = np.random.default_rng(1)
    if name in COLUMNS:
        stats = random.integers(0, 2, (rows, COLUMNS[name])).astype(float)
        if name == "roc_auc":
            stats[:, 0] = random.random(rows).round(1)
        return stats
    cases = [case.values[1] for case in _cases() if case.values[0].partition("@")[0] == name]
    case = max(cases, key=lambda case: len(case["examples"]))
    examples = [_example(at, row) for at, row in enumerate(case["examples"])]
    stats = get(name).statistics(examples, [_answer(row) for row in case["examples"]])
    return np.resize(stats, (rows, stats.shape[1]))


@pytest.mark.parametrize("name", catalog.metrics().names())
def test_whole_weights_repeat_rows(name: str) -> None:
    """A weight of 2 is the example twice, a weight of 0 is its absence: what the bootstrap relies on."""
    metric, stats = get(name), _statistics(name, 7)
    labels = np.array(list("aabbccc"))
    weights = np.random.default_rng(1).integers(0, 3, (5, 7))
    got = metric.reduce(stats, weights.astype(float), {"type": labels})
    for row, weight in enumerate(weights):
        rows = np.repeat(np.arange(7), weight)
        alone = metric.reduce(stats[rows], np.ones((1, len(rows))), {"type": labels[rows]})
        np.testing.assert_allclose(got[row], alone[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", catalog.metrics().names())
def test_display_is_a_score_an_example(name: str) -> None:
    metric, stats = get(name), _statistics(name, 4)
    if metric.display is not None:
        assert metric.display(stats).shape == (4,)
    if metric.is_mean:
        assert metric.display is not None
        weights = np.array([[1.0, 2.0, 0.0, 3.0]])
        mean = (weights[0] @ metric.display(stats)) / weights.sum()
        assert metric.reduce(stats, weights, {})[0, 0] == pytest.approx(mean)
