"""Published and hand-worked examples of every test and interval."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anymal_eval.statistics import intervals, p_values, resample

GOLDEN = Path(__file__).parents[1] / "golden" / "statistics"


def _cases(name: str) -> list[Any]:
    cases = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return [pytest.param(case, id=case["why"][:60]) for case in cases]


@pytest.mark.parametrize("case", _cases("mcnemar"))
def test_mcnemar(case: dict[str, Any]) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    found = p_values.mcnemar(case["risen"], case["fallen"])
    assert found.two_sided == pytest.approx(case["p"], abs=case["tolerance"])
    assert found.falls == pytest.approx(case.get("p_falls", found.falls), abs=case["tolerance"])
    if case["risen"] + case["fallen"]:
        table = [[case["n"], case["fallen"]], [case["risen"], 0]]
        assert found.two_sided == pytest.approx(mcnemar(table, exact=True).pvalue)


@pytest.mark.parametrize("case", _cases("bonett_price"))
def test_bonett_price(case: dict[str, Any]) -> None:
    found = p_values.bonett_price(case["risen"], case["fallen"], case["n"])
    assert found == pytest.approx((case["low"], case["high"]), abs=case["tolerance"])


@pytest.mark.parametrize("case", _cases("holm"))
def test_holm(case: dict[str, Any]) -> None:
    from statsmodels.stats.multitest import multipletests

    assert p_values.holm(case["p"]) == pytest.approx(case["adjusted"], abs=1e-12)
    assert p_values.holm(case["p"]) == pytest.approx(multipletests(case["p"], method="holm")[1], abs=1e-12)


@pytest.mark.parametrize("case", _cases("wilson"))
def test_wilson(case: dict[str, Any]) -> None:
    found = intervals.wilson(case["right"] / case["n"], case["n"], 1.959964)
    assert found == pytest.approx((case["low"], case["high"]), abs=5e-5)


@pytest.mark.parametrize("case", _cases("permutation"))
def test_permutation(case: dict[str, Any]) -> None:
    found, everything = p_values.permutation(np.array(case["sums"], dtype=np.float64))
    assert everything
    assert (found.two_sided, found.falls) == (case["p"], case["p_falls"])


@pytest.mark.parametrize("case", _cases("clustered_error"))
def test_clustered_error(case: dict[str, Any]) -> None:
    # Who in a cluster scored what does not matter, only the cluster's sum.
    sums, sizes = np.array(case["sums"], dtype=np.float64), np.array(case["sizes"])
    codes = np.repeat(np.arange(len(sizes)), sizes)
    scores = (sums / sizes)[codes]
    assert scores.mean() == pytest.approx(case["mean"], abs=case["tolerance"])
    found = intervals.clustered_error(scores, codes, len(sizes))
    assert found == pytest.approx(case["error"], abs=case["tolerance"])


def test_clustered_error_is_what_statsmodels_says() -> None:
    from statsmodels.api import OLS

    generator = np.random.default_rng(0)
    codes, count = resample.cluster_codes([f"c{number}" for number in generator.integers(0, 40, 300)])
    scores = generator.random(300) + codes % 3
    fitted = OLS(scores, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": codes})
    assert intervals.clustered_error(scores, codes, count) == pytest.approx(fitted.bse[0], rel=1e-12)


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.json")), ids=lambda file: file.stem)
def test_every_case_says_why_and_is_run(file: Path) -> None:
    held = json.loads(file.read_text(encoding="utf-8"))
    assert held["source"]
    assert all(case["why"] for case in held["cases"])
    assert f'"{file.stem}"' in Path(__file__).read_text(encoding="utf-8")
