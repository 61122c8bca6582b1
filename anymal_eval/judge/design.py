"""Which trials an annotator sees, in which order, and which answer stands on the left: a function of the study alone.

Every pair of systems is shown equally often, on every item, to every annotator, in an order of the annotator's own.
For each pair, half of the items have the first system on the left (one more or less where their number is odd); the
next annotator sees the other side of each, so that over two annotators every comparison is balanced exactly. Some of
the trials are shown again, later and with the sides exchanged: they measure the annotator and are in no result.
"""

import hashlib
import hmac
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

APART = 10  # trials at least between a trial and its repetition, where there are so many


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a study's trials follow from.

    Attributes:
        seed: secret of the study, hexadecimal; who knows it knows the sides.
        mode: whether answers are compared in pairs, or rated alone.
        items: how many there are.
        systems: how many there are, the reference included.
        reference: the number of the system that the others are compared with; None for all pairs.
        annotators: their codes.
        quota: how many items each annotator gets; None for all.
        repeats: the share of the trials that are shown again.
        calibration: how many items with a known judgement each annotator gets among the others.
    """

    seed: str
    mode: str
    items: int
    systems: int
    reference: int | None = None
    annotators: tuple[str, ...] = ()
    quota: int | None = None
    repeats: float = 0.05
    calibration: int = 0

    @cached_property
    def pairs(self) -> Sequence[tuple[int, ...]]:
        """The systems that stand together on a trial: two where answers are compared, one where they are rated."""
        others = [system for system in range(self.systems) if system != self.reference]
        if self.mode == "rating":
            return [(system,) for system in others]
        if self.reference is not None:
            return [(system, self.reference) for system in others]
        return list(combinations(range(self.systems), 2))

    @cached_property
    def _places(self) -> Mapping[frozenset[int], int]:
        return {frozenset(pair): place for place, pair in enumerate(self.pairs)}

    def place_of(self, shown: Sequence[int]) -> int:
        """The place among ``pairs`` of the pair that stands on a trial."""
        return self._places[frozenset(shown)]

    def pair_of(self, shown: Sequence[int]) -> tuple[int, ...]:
        """The pair that stands on a trial, in the order of ``pairs``."""
        return self.pairs[self.place_of(shown)]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One thing to judge.

    Attributes:
        id: says nothing about the systems.
        item: the number of the item; from the number of items on, one of the calibration.
        shown: the numbers of the systems, or of the answers of a calibration item, from left to right.
        repeats: the id of the trial that this one repeats; empty for a trial that counts.
    """

    id: str
    item: int
    shown: tuple[int, ...]
    repeats: str = ""


def trials(design: Design, annotator: str) -> list[Trial]:
    """The trials of an annotator, in their order.

    Raises:
        ValueError: the study has no such annotator.
    """
    number = design.annotators.index(annotator)
    made = [
        Trial(id=_id(design, annotator, item, pair, 0), item=item, shown=shown)
        for pair, systems in enumerate(design.pairs)
        for item, shown in _sided(design, number, pair, systems)
    ]
    order = _random(design, "order", annotator)
    order.shuffle(made)
    return _with_calibration(design, annotator, _with_repeats(design, annotator, made, order))


def _sided(design: Design, number: int, pair: int, systems: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
    """The items of an annotator for a pair, each with its systems from left to right."""
    items = list(range(design.items))
    _random(design, "items").shuffle(items)
    quota = design.items if design.quota is None else min(design.quota, design.items)
    # Annotators with quotas take turns, so that every item is judged equally often or once more.
    mine = [items[(number * quota + at) % design.items] for at in range(quota)]
    flips = [at % 2 == 1 for at in range(design.items)]
    _random(design, "sides", str(pair)).shuffle(flips)
    # By place among all items and not among one's own: the next turn over the same items sees the other side.
    turn = [(number * quota + at) // design.items if design.quota is not None else number for at in range(quota)]
    return [(item, systems[::-1] if flips[item] ^ (turn[at] % 2 == 1) else systems) for at, item in enumerate(mine)]


def _with_repeats(design: Design, annotator: str, made: list[Trial], order: random.Random) -> list[Trial]:
    count = round(design.repeats * len(made))
    sources = sorted(order.sample(range(len(made)), count)) if count else []
    later: dict[int, list[Trial]] = {}
    for at in sources:
        one = made[at]
        again = Trial(
            id=_id(design, annotator, one.item, design.place_of(one.shown), 1),
            item=one.item,
            shown=one.shown[::-1],
            repeats=one.id,
        )
        later.setdefault(order.randint(min(at + APART, len(made) - 1), len(made) - 1), []).append(again)
    shown: list[Trial] = []
    for at, one in enumerate(made):
        shown += [one, *later.get(at, [])]
    return shown


def _with_calibration(design: Design, annotator: str, made: list[Trial]) -> list[Trial]:
    """The trials with each calibration item at a place of its own; the order of the others stays."""
    order = _random(design, "calibration", annotator)
    flips = [at % 2 == 1 for at in range(design.calibration)]
    order.shuffle(flips)
    shown = list(made)
    for number, is_flipped in enumerate(flips):
        answers = (0,) if design.mode == "rating" else (1, 0) if is_flipped else (0, 1)
        one = Trial(id=_id(design, annotator, design.items + number, 0, 0), item=design.items + number, shown=answers)
        shown.insert(order.randint(0, len(shown)), one)
    return shown


def _random(design: Design, *of: str) -> random.Random:
    return random.Random("|".join((design.seed, *of)))  # noqa: S311 - an order, and no secret


def _id(design: Design, annotator: str, item: int, pair: int, repetition: int) -> str:
    named = f"{annotator}|{item}|{pair}|{repetition}".encode()
    return hmac.new(bytes.fromhex(design.seed), named, hashlib.sha256).hexdigest()[:24]
