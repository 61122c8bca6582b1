"""The design of a study: balanced, equal in every process, and silent about the systems."""

from collections import Counter
from dataclasses import replace

import pytest

from anymal_eval.judge.design import APART, Design, trials

DESIGN = Design(seed="ab" * 16, mode="pairwise", items=40, systems=3, annotators=("ana", "ben"), repeats=0)


@pytest.mark.parametrize("reference", [None, 2])
@pytest.mark.parametrize("items", [40, 7])
def test_every_pair_is_shown_equally_often_and_on_both_sides(items: int, reference: int | None) -> None:
    design = replace(DESIGN, items=items, reference=reference)
    shown = {name: trials(design, name) for name in design.annotators}
    for mine in shown.values():
        counted = Counter((tuple(sorted(one.shown)), one.item) for one in mine)
        assert set(counted.values()) == {1}
        assert len(counted) == items * len(design.pairs)
        for pair in design.pairs:
            left = sum(one.shown == pair for one in mine)
            assert abs(2 * left - items) <= items % 2, "half of an annotator's sides, one more or less"
    sides = {name: {(one.item, *sorted(one.shown)): one.shown for one in mine} for name, mine in shown.items()}
    assert all(sides["ana"][key] == sides["ben"][key][::-1] for key in sides["ana"]), "over two annotators, exactly"


def test_the_order_is_random_and_the_same_in_every_process() -> None:
    one, other = trials(DESIGN, "ana"), trials(DESIGN, "ben")
    assert one == trials(replace(DESIGN), "ana")
    assert [each.item for each in one] != [each.item for each in other]
    assert [each.item for each in one] != sorted(each.item for each in one)
    assert len({each.id for each in one + other}) == len(one + other)
    assert all(len(each.id) == 24 and int(each.id, 16) >= 0 for each in one)


def test_repetitions_come_later_and_from_the_other_side() -> None:
    shown = trials(replace(DESIGN, repeats=0.05), "ana")
    again = [(at, one) for at, one in enumerate(shown) if one.repeats]
    assert len(again) == round(0.05 * 120)
    place = {one.id: at for at, one in enumerate(shown)}
    for at, one in again:
        first = shown[place[one.repeats]]
        assert (one.item, one.shown) == (first.item, first.shown[::-1])
        assert at > place[one.repeats]
        assert at - place[one.repeats] > APART or place[one.repeats] >= len(shown) - 2 * APART


def test_a_quota_judges_every_item_equally_often() -> None:
    design = replace(DESIGN, systems=2, annotators=tuple("abcd"), quota=20)
    seen = Counter(one.item for name in design.annotators for one in trials(design, name))
    assert set(seen.values()) == {2}
    by: dict[int, list[tuple[int, ...]]] = {}
    for name in design.annotators:
        for one in trials(design, name):
            by.setdefault(one.item, []).append(one.shown)
    assert all(first == second[::-1] for first, second in by.values())


def test_ratings_show_one_answer() -> None:
    shown = trials(replace(DESIGN, mode="rating", reference=0), "ana")
    assert Counter(one.shown for one in shown) == {(1,): 40, (2,): 40}
