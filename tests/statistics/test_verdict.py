"""The truth table of the verdicts, Holm before them, and the smallest detectable effect beside them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anymal_eval import metrics
from anymal_eval.metrics import Metric, Output, weighted_mean
from anymal_eval.records import Answer, Example
from anymal_eval.statistics.p_values import holm
from anymal_eval.statistics.paired import Comparison, compare
from anymal_eval.statistics.power import mcnemar_detectable, mcnemar_power, smallest_detectable
from anymal_eval.statistics.verdict import Verdict, VerdictLimits, judge

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


def _judged(metric: Metric, before: Sequence[Answer], after: Sequence[Answer], examples: Sequence[Example]) -> Verdict:
    stats = metric.statistics(examples, before), metric.statistics(examples, after)
    found = compare(metric, stats, [example.cluster for example in examples], {}, draws=400)[0]
    return judge(found, found.p, detectable=smallest_detectable(found))


def _memes(yes: Sequence[bool]) -> list[Example]:
    return [
        Example(id=str(at), cluster=str(at), kind="yes_no", options=("no", "yes"), label=int(one))
        for at, one in enumerate(yes)
    ]


def _probabilities(values: Sequence[float]) -> list[Answer]:
    return [Answer(state="ok", choice=int(value > 0.5), p_yes=value) for value in values]


@pytest.mark.parametrize("size", [2, 10, 60])
def test_two_perfect_areas_are_the_same(size: int) -> None:
    yes = [at % 2 == 1 for at in range(size)]
    before, after = ([0.9 if one else 0.1 for one in yes], [0.8 if one else 0.3 for one in yes])
    found = _judged(metrics.get("roc_auc"), _probabilities(before), _probabilities(after), _memes(yes))
    assert (found.word, found.why) == ("same", "the value is the same in every resample")


@pytest.mark.parametrize(("size", "word"), [(2, "same"), (4, "same"), (60, "better")])
def test_a_perfect_area_after_a_constant_one(size: int, word: str) -> None:
    # The change is the same in every resample; how many examples it stands on decides.
    yes = [at % 2 == 1 for at in range(size)]
    auc, half, perfect = metrics.get("roc_auc"), [0.5] * size, [0.9 if one else 0.1 for one in yes]
    assert _judged(auc, _probabilities(half), _probabilities(perfect), _memes(yes)).word in (word, "cannot tell")
    fell = _judged(auc, _probabilities(perfect), _probabilities(half), _memes(yes))
    assert fell.word == ("worse" if size == 60 else "cannot tell")
    assert "fall of -" not in fell.why


@pytest.mark.parametrize("name", ["bleu", "cider", "rouge_l", "vqa_accuracy@2021"])
@pytest.mark.parametrize("size", [1, 3])
def test_one_or_three_examples_prove_nothing(name: str, size: int) -> None:
    examples = [
        Example(id=str(at), cluster=str(at), kind="caption", references=("a dog runs on the grass",) * 10)
        for at in range(size)
    ]
    good, bad = ([Answer(state="ok", text=text)] * size for text in ("a dog runs on the grass", "x"))
    metric = metrics.get(name)
    assert _judged(metric, good, bad, examples).word in ("cannot tell", "same")
    assert _judged(metric, bad, good, examples).word in ("cannot tell", "same")
    assert _judged(metric, good, good, examples).word == "same"


@given(data=st.data(), size=st.integers(1, 12), binary=st.booleans(), clustered=st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_verdict_names_a_negative_fall(data: st.DataObject, size: int, binary: bool, clustered: bool) -> None:
    value = st.sampled_from((0.0, 1.0)) if binary else st.sampled_from((0.0, 0.3, 0.6, 1.0))
    runs = [np.array(data.draw(st.lists(value, min_size=size, max_size=size))).reshape(-1, 1) for _ in range(2)]
    metric = Metric(name="m", version="1", outputs=(Output("m"),), statistics=lambda *_: runs[0],
                    reduce=weighted_mean, display=lambda stats: stats[:, 0], is_mean=True)  # fmt: skip
    (found,) = compare(metric, (runs[0], runs[1]), [str(at // 2 if clustered else at) for at in range(size)], {})
    verdict = judge(found, found.p, detectable=smallest_detectable(found))
    assert "-" not in verdict.why.replace("e-", "")
    if found.improvement_low >= 0:
        assert verdict.word in ("same", "better")
    if (runs[1] >= runs[0]).all():
        assert verdict.word != "worse"
