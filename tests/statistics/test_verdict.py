"""The truth table of the verdicts, Holm before them, and the smallest detectable effect beside them."""

from dataclasses import replace

import numpy as np
import pytest

from anymal_eval.metrics import Metric
from anymal_eval.statistics.p_values import holm
from anymal_eval.statistics.paired import Comparison, compare
from anymal_eval.statistics.power import mcnemar_detectable, mcnemar_power, smallest_detectable
from anymal_eval.statistics.verdict import VerdictLimits, judge

COMPARISON = Comparison(
    before=0.5,
    after=0.5,
    difference=0.0,
    low=0.0,
    high=0.0,
    error=0.01,
    p=1.0,
    p_worse=0.5,
    better="higher",
    method="exact McNemar",
    n=1_000,
    clusters=1_000,
    changed=100,
    risen=50,
    fallen=50,
)
NONE, ONE_POINT = VerdictLimits(), VerdictLimits(absolute=0.01)


@pytest.mark.parametrize(
    ("difference", "half_width", "p", "limits", "word"),
    [
        # more than chance
        (-0.05, 0.02, 0.001, NONE, "worse"),
        (-0.05, 0.02, 0.001, ONE_POINT, "worse"),
        (+0.05, 0.02, 0.001, NONE, "better"),
        (+0.05, 0.02, 0.001, ONE_POINT, "better"),
        (-0.005, 0.004, 0.01, ONE_POINT, "same"),  # real, but too small to matter
        (-0.009, 0.004, 0.01, ONE_POINT, "cannot tell"),  # real; whether it matters is open
        (+0.005, 0.004, 0.01, ONE_POINT, "same"),
        (-0.005, 0.004, 0.01, NONE, "worse"),
        # no more than chance
        (-0.001, 0.004, 0.6, ONE_POINT, "same"),
        (+0.001, 0.004, 0.6, ONE_POINT, "same"),
        (-0.009, 0.02, 0.4, ONE_POINT, "cannot tell"),
        (-0.050, 0.06, 0.06, ONE_POINT, "cannot tell"),
        (+0.020, 0.025, 0.1, ONE_POINT, "same"),  # perhaps better, surely not worse
        (-0.001, 0.02, 0.9, NONE, "same"),  # below the smallest detectable effect of 0.03
        (-0.02, 0.02, 0.06, NONE, "cannot tell"),
        # nothing to test
        (-0.05, 0.02, np.nan, NONE, "cannot tell"),
        (np.nan, np.nan, np.nan, ONE_POINT, "cannot tell"),
        # other limits: the tighter of two holds, noise widens it
        (-0.02, 0.005, 0.001, VerdictLimits(absolute=0.03, relative=0.02), "worse"),
        (-0.02, 0.005, 0.001, VerdictLimits(absolute=0.03, relative=0.10), "same"),
        (-0.02, 0.005, 0.001, VerdictLimits(absolute=0.01, noise=0.03), "same"),
        (-0.02, 0.005, 0.001, VerdictLimits(noise=0.03), "same"),
        (-0.02, 0.005, 0.001, VerdictLimits(absolute=0.0), "worse"),
    ],
)
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_truth_table(
    difference: float, half_width: float, p: float, limits: VerdictLimits, word: str, better: str
) -> None:
    turned = difference if better == "higher" else -difference
    comparison = replace(
        COMPARISON,
        difference=turned,
        low=turned - half_width,
        high=turned + half_width,
        better="higher" if better == "higher" else "lower",
    )
    found = judge(comparison, p, limits=limits, detectable=0.03)
    assert found.word == word
    assert found.why


def test_equal_runs_are_the_same_under_any_limit() -> None:
    assert (
        judge(replace(COMPARISON, changed=0), 1.0, limits=VerdictLimits(absolute=0), detectable=np.nan).word == "same"
    )
    nothing = replace(COMPARISON, changed=0, n=0, low=np.nan, high=np.nan)
    assert judge(nothing, np.nan, detectable=np.nan).word == "cannot tell"


def test_two_captions_of_5000_are_no_proof_and_a_hundred_are(cider: Metric) -> None:
    generator = np.random.default_rng(0)
    before = generator.gamma(2, 0.7, (5_000, 1))
    words = {}
    for swapped in (2, 100):
        after = before.copy()
        after[:swapped] = 0.01
        (found,) = compare(cider, (before, after), [str(row) for row in range(5_000)], {})
        p = holm([found.p] + [0.5] * 12)[0]
        words[swapped] = judge(found, p, detectable=smallest_detectable(found, tests=13)).word
    assert words[2] in ("same", "cannot tell")
    assert words[100] == "worse"


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert holm([0.01, np.nan, 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert holm([]) == []


def test_mcnemar_power_is_that_of_the_binomial() -> None:
    # By hand: all 6 of 6 change and fall, the test rejects at 2 / 64; 5 of 5 cannot.
    assert mcnemar_power(6, 1.0, 1.0, 0.05) == pytest.approx(1.0)
    assert mcnemar_power(5, 1.0, 1.0, 0.05) == 0
    assert np.isnan(mcnemar_detectable(5, 2))


def test_smallest_detectable_effect_grows_with_tests_and_changes() -> None:
    one, many = smallest_detectable(COMPARISON), smallest_detectable(COMPARISON, tests=13)
    assert 0.02 < one < many < 0.05
    restless = smallest_detectable(replace(COMPARISON, risen=150, fallen=150))
    assert restless > one
    # (1.96 + 0.84) x error is what the exact figure comes down to.
    assert one == pytest.approx(2.8016 * np.sqrt(0.1 / 1_000), rel=0.06)
    resampled = replace(COMPARISON, method="paired bootstrap 10,000")
    assert smallest_detectable(resampled) == pytest.approx(2.8016 * 0.01, rel=1e-3)
    permuted = smallest_detectable(replace(COMPARISON, method="permutation 10,000"))
    assert permuted**2 == pytest.approx(2.8016**2 * (0.01**2 + permuted * 0.001 / 4), rel=1e-3)


def test_a_handful_of_changes_can_prove_nothing() -> None:
    # Two pictures of 5,000 lost 1.4 each: the normal figure of 0.001 would be far too good.
    few = replace(COMPARISON, method="exact permutation", clusters=5_000, changed=2, error=1.4 * 2**0.5 / 5_000)
    assert smallest_detectable(few) == pytest.approx(7.9 * 1.4 / 5_000, rel=0.02)
    assert np.isnan(smallest_detectable(replace(COMPARISON, changed=0)))
