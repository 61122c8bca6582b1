"""The statistics of judgements: golden values, independent implementations, coverage in simulation."""

import math

import choix
import numpy as np
import pytest
from scipy.stats import ttest_rel

from anymal_eval.errors import CannotTell
from anymal_eval.judge import bradley_terry
from anymal_eval.judge.agreement import Label, Level, alpha, consistency
from anymal_eval.judge.bradley_terry import fit, strengths
from anymal_eval.judge.outcomes import Comparison, further_items, position_bias, win_rates
from anymal_eval.judge.ratings import Rating, changes

# Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, sections A to D; * is a missing rating.
BINARY = ["0100000010", "1110010000"]
TWO = ["aabbdcccedda", "babbbcccedd d".replace(" ", "")]
FOUR = ["123321412***", "1233224125*3", "*3332342251*", "12332441251*"]


def labels(rows: list[str]) -> list[Label]:
    return [
        Label(unit=str(unit), annotator=str(at), value=float(ord(sign) - ord("0")))
        for at, row in enumerate(rows) for unit, sign in enumerate(row) if sign != "*"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "level", "expected"),
    [
        (BINARY, "nominal", 0.0952381),
        (TWO, "nominal", 0.6919643),
        (FOUR, "nominal", 0.7434211),
        (FOUR, "ordinal", 0.815),
        (FOUR, "interval", 0.849),
        (FOUR, "ratio", 0.797),
    ],
)
def test_alpha_of_published_examples(rows: list[str], level: Level, expected: float) -> None:
    assert alpha(labels(rows), level) == pytest.approx(expected, abs=1e-7 if level == "nominal" else 5e-4)


def test_alpha_without_anything_to_compare() -> None:
    assert math.isnan(alpha(labels(["111", "111"])))
    assert math.isnan(alpha(labels(["12*", "**3"])))
    assert consistency([("ana", 1, 1), ("ana", 1, 0), ("ben", 0.5, 0.5)]) == {"ana": (1, 2), "ben": (1, 1)}


def vote(item: object, score: float, first: str = "a", second: str = "b", **more: object) -> Comparison:
    given: dict[str, object] = {"annotator": "ana", **more}
    return Comparison(item=str(item), first=first, second=second, score=score, **given)  # type: ignore[arg-type]


def test_ties_are_half_a_win_and_items_are_clusters() -> None:
    votes = [vote(at, score, annotator=name) for name in ("ana", "ben") for at, score in enumerate([1, 1, 0.5, 0])]
    (once,) = win_rates(votes[:4])
    (twice,) = win_rates(votes)
    assert (twice.wins, twice.ties, twice.losses, twice.rate) == (4, 2, 2, 0.625)
    assert (once.low, once.high) == pytest.approx((twice.low, twice.high)), "the same votes twice are no evidence"
    # By hand: deviations .375 .375 -.125 -.625, error sqrt(4 / 3 * 0.6875) / 4 = 0.2394, t of 3 degrees 3.182
    assert twice.p == pytest.approx(2 * 0.3190, abs=2e-3)
    assert (twice.low, twice.high) == (0.0, 1.0)
    assert twice.more_items is not None
    assert twice.more_items > 0


def test_unanimous_votes_have_an_interval_and_a_decision() -> None:
    (found,) = win_rates([vote(at, 1) for at in range(20)])
    assert found.high == 1
    assert 0.8 < found.low < 0.9
    assert found.more_items == 0
    assert found.p == pytest.approx(2 * 0.5**20)
    (open_still,) = win_rates([vote(at, 0.5) for at in range(20)])
    assert (open_still.p, open_still.more_items) == (1.0, None)


def test_the_side_is_no_argument_unless_it_is() -> None:
    always_left = [vote(at, float(at % 2 == 0), first_left=at % 2 == 0) for at in range(40)]
    assert position_bias(always_left)[0] == 1
    fair = [vote(at, 1, first_left=at % 2 == 0) for at in range(40)]
    share, low, high = position_bias(fair)
    assert share == 0.5
    assert low < 0.5 < high
    assert math.isnan(position_bias([vote(0, 0.5)])[0])


def test_intervals_cover_with_effects_of_items_and_annotators() -> None:
    drawing, hits, rounds, items, people = np.random.default_rng(7), 0, 600, 60, 3
    bias = np.array([-0.4, 0.0, 0.4])  # the annotators are those of the study: the true rate is their mean
    grid = np.linspace(-8, 8, 4001)
    weight = np.exp(-(grid**2) / 2)
    truth = float(np.mean([(1 / (1 + np.exp(-(0.3 + grid + each))) * weight).sum() / weight.sum() for each in bias]))
    for _ in range(rounds):
        odds = np.exp(0.3 + drawing.normal(size=items)[:, None] + bias)
        votes = [
            vote(item, float(drawing.random() < odds[item, who] / (1 + odds[item, who])), annotator=str(who))
            for item in range(items) for who in range(people)
        ]  # fmt: skip
        (found,) = win_rates(votes)
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / rounds <= 0.97


def simulated(count: int, seed: int = 3) -> list[Comparison]:
    drawing = np.random.default_rng(seed)
    true = {"weak": -0.8, "middle": 0.1, "strong": 0.7}
    pairs = [("weak", "middle"), ("weak", "strong"), ("middle", "strong")]
    return [
        vote(item, float(drawing.random() < 1 / (1 + math.exp(true[two] - true[one]))), one, two)
        for item in range(count) for one, two in pairs
    ]  # fmt: skip


def test_strengths_are_those_of_an_independent_implementation() -> None:
    votes = simulated(80)
    found = {one.system: one for one in strengths(votes)}
    names = sorted(found)
    sides = [(each.first, each.second) if each.score else (each.second, each.first) for each in votes]
    won = [(names.index(winner), names.index(loser)) for winner, loser in sides]
    expected = choix.opt_pairwise(3, won, tol=1e-12)
    for name, value in zip(names, expected - expected.mean(), strict=True):
        assert found[name].strength == pytest.approx(value, abs=1e-6)
        assert found[name].low < found[name].strength < found[name].high
    assert [one.system for one in strengths(votes)] == ["strong", "middle", "weak"]


def test_intervals_of_strengths_cover_with_effects_of_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bradley_terry, "DRAWS", 200)
    drawing, names, true = np.random.default_rng(2), "abc", np.array([-0.6, 0.1, 0.5])
    pairs = [(0, 1), (0, 2), (1, 2)]
    # The truth is what votes on all items would give: of each pair, the mean over the effects of items.
    grid = np.linspace(-8, 8, 2001)
    weight = np.exp(-(grid**2) / 2) / np.exp(-(grid**2) / 2).sum()
    table = np.zeros((3, 3))
    for one, two in pairs:
        table[one, two] = (weight / (1 + np.exp(true[two] - true[one] - grid))).sum()
        table[two, one] = 1 - table[one, two]
    truth, hits, rounds, items, people = fit(table), 0, 200, 50, ("ana", "ben")
    for _ in range(rounds):
        votes = []
        for item in range(items):
            for one, two in pairs:
                odds = np.exp(true[one] - true[two] + drawing.normal())  # shared by those who judge the item
                votes += [
                    vote(item, float(drawing.random() < odds / (1 + odds)), names[one], names[two], annotator=who)
                    for who in people
                ]
        found = {one.system: one for one in strengths(votes)}
        hits += sum(found[name].low <= truth[at] <= found[name].high for at, name in enumerate(names))
    assert 0.93 <= hits / (3 * rounds) <= 0.97


def test_with_ties_the_equations_of_the_maximum_hold() -> None:
    won = np.array([[0, 3.5, 2], [1.5, 0, 4], [1, 0.5, 0]])
    fitted = fit(won)
    chance = 1 / (1 + np.exp(fitted[None, :] - fitted[:, None]))
    assert (won.sum(axis=1)) == pytest.approx(((won + won.T) * chance).sum(axis=1), abs=1e-6)


def test_what_cannot_be_said_is_refused() -> None:
    apart = [vote(at, score, *pair) for at, score in enumerate([1, 0]) for pair in (("a", "b"), ("c", "d"))]
    with pytest.raises(CannotTell, match="no vote connects a, b with c, d"):
        strengths(apart)
    never = [vote(0, 1, "a", "b"), vote(1, 0, "b", "c"), vote(2, 1, "b", "c"), vote(3, 1, "a", "c")]
    with pytest.raises(CannotTell, match="a never lost to any other: the strength would be infinite"):
        strengths(never)


def test_differences_of_ratings_are_a_paired_t_test_over_items() -> None:
    drawing = np.random.default_rng(5)
    levels = drawing.integers(0, 3, size=(2, 30, 2)) / 2
    given = [
        Rating(item=str(item), annotator=str(who), system=name, scale="s", value=float(levels[at, item, who]))
        for at, name in enumerate(("a", "b")) for item in range(30) for who in range(2)
    ]  # fmt: skip
    (found,) = changes(given)
    before, after = levels.mean(axis=2)
    expected = ttest_rel(before, after)
    assert (found.difference, found.p) == pytest.approx((float((before - after).mean()), float(expected.pvalue)))
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.items == 30
    (alone,) = changes([*given, Rating(item="x", annotator="0", system="a", scale="s", value=0.0)])
    assert alone == found, "an item of one system alone is no pair"


def test_as_many_items_more_would_mostly_decide_it() -> None:
    rate, items = 0.6, 40
    more = further_items(rate - 0.5, math.sqrt(rate * (1 - rate) / items), items)
    assert more is not None
    drawing, decided, rounds = np.random.default_rng(11), 0, 300
    for _ in range(rounds):
        won = (drawing.random(items + more) < rate).astype(float)
        (found,) = win_rates([vote(at, float(score)) for at, score in enumerate(won)])
        decided += found.p < 0.05
    assert 0.73 < decided / rounds < 0.87, "0.8, within three standard errors"
    assert further_items(0.0, 0.1, items) is None
