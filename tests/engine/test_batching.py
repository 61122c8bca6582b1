"""Order, batches and limits: nothing is lost, media stay together, and what did not fit is remembered."""

import itertools
import math
import random
from collections.abc import Sequence

import pytest

from anymal_eval.engine.batching import MAX_ROWS, TRUST_AFTER, Batcher, BatchLimits
from anymal_eval.engine.ordering import media_of, ordered
from anymal_eval.models import PlainText, Prepared
from anymal_eval.records import Decoding, Media, Message, Request


def request(name: str, picture: str = "", words: int = 3, new: int = 8) -> Request:
    parts: tuple[str | Media, ...] = ("word " * words,)
    if picture:
        parts = (Media(kind="image", uri=picture), *parts)
    return Request(id=name, messages=(Message(role="user", parts=parts),), decoding=Decoding(max_new_tokens=new))


def prepared(name: str, tokens: int = 10, picture: str | None = None, new: int = 0) -> PlainText:
    return PlainText(request(name, new=new), media_key=picture, suffix_tokens=tokens)


def batches(items: Sequence[Prepared], limits: BatchLimits) -> list[list[str]]:
    batcher = Batcher(limits)
    found = [batch for item in items if (batch := batcher.add(item))]
    return [[item.request.id for item in batch] for batch in [*found, batcher.rest()] if batch]


def test_questions_on_one_picture_stand_together_and_none_is_lost() -> None:
    made = [request(f"{number}", picture=f"{number % 7}.jpg", words=number % 5) for number in range(35)]
    shuffled = random.Random(0).sample(made, len(made))
    in_order = ordered(shuffled)
    assert sorted(item.id for item in in_order) == sorted(item.id for item in made)
    pictures = [media_of(item) for item in in_order]
    assert sum(one != other for one, other in itertools.pairwise(pictures)) == 6
    own = [len(str(item.messages[0].parts[1])) for item in in_order if media_of(item) == pictures[0]]
    assert own == sorted(own, reverse=True)


def test_the_longest_come_first_and_equal_ones_keep_their_order() -> None:
    in_order = ordered(
        [request("short", words=2), request("a", words=90), request("b", words=90), request("long", words=999)]
    )
    assert [item.id for item in in_order] == ["long", "a", "b", "short"]


def test_the_order_is_by_the_class_of_the_longest_then_by_the_first_then_by_length() -> None:
    drawn = random.Random(3)
    made = [
        request(str(n), picture=drawn.choice(["", "a", "b", "c", "d"]), words=drawn.randrange(90)) for n in range(300)
    ]
    text = {item.id: str(item.messages[0].parts[-1]) for item in made}
    size = {item.id: len(text[item.id]) + 2048 * len(item.media) for item in made}
    units = [[item.id for item in made if (media_of(item) or item.id) == key]
             for key in dict.fromkeys(media_of(item) or item.id for item in made)]  # fmt: skip
    by_class = sorted(units, key=lambda unit: -round(2 * math.log2(max(1, *(size[name] for name in unit)))))
    expected = [name for unit in by_class for name in sorted(unit, key=lambda name: -size[name])]
    assert [item.id for item in ordered(made)] == expected
    assert ordered([]) == []


def test_windows_of_one_clip_are_different_media() -> None:
    clip = Media(kind="video", uri="a.mp4", start_s=0.0, end_s=2.0)
    other = Media(kind="video", uri="a.mp4", start_s=2.0, end_s=4.0)
    one, two = (Request(id="x", messages=(Message(role="user", parts=(media,)),)) for media in (clip, other))
    assert media_of(one) != media_of(two)


@pytest.mark.parametrize("size", [1, 4, 16, None])
def test_every_request_is_in_one_batch_in_order(size: int | None) -> None:
    names = [str(number) for number in range(200)]
    found = batches([prepared(name, picture=f"{int(name) // 5}") for name in names], BatchLimits(size))
    assert [name for batch in found for name in batch] == names
    assert max(map(len, found)) <= (size or MAX_ROWS)


def test_a_picture_is_not_torn_apart() -> None:
    found = batches([prepared(str(number), picture=f"{number // 5}") for number in range(50)], BatchLimits(16))
    assert [len(batch) for batch in found] == [15, 15, 15, 5]
    found = batches([prepared(str(number), picture="one") for number in range(40)], BatchLimits(16))
    assert [len(batch) for batch in found] == [16, 16, 8]


def test_a_batch_stays_in_its_budget_of_tokens() -> None:
    items = [prepared(str(number), tokens=1000 - number, new=24) for number in range(100)]
    found = batches(items, BatchLimits(None, tokens=8192))
    assert [len(batch) for batch in found][:2] == [8, 8]
    assert all(len(batch) * (1024 - int(batch[0])) <= 8192 for batch in found)
    beams = PlainText(Request(id="b", messages=(), decoding=Decoding(max_new_tokens=0, beams=5)), suffix_tokens=100)
    assert len(batches([beams] * 40, BatchLimits(None, tokens=5000))[0]) == 10


def test_what_did_not_fit_is_remembered_for_its_length_and_longer_ones() -> None:
    limits = BatchLimits(16)
    limits.too_large([prepared(str(number), tokens=100) for number in range(16)])
    assert [limits.rows(tokens) for tokens in (10, 64, 100, 5000)] == [16, 16, 8, 8]
    limits.too_large([prepared(str(number), tokens=100) for number in range(8)])
    assert limits.rows(100) == 4
    limits.too_large([prepared("1", tokens=100)])
    assert limits.rows(100) == 1


def test_a_limit_is_tried_again_after_a_while() -> None:
    limits = BatchLimits(16)
    limits.too_large([prepared(str(number), tokens=100) for number in range(16)])
    for _ in range(TRUST_AFTER):
        limits.fitted([prepared("1", tokens=100)] * 8)
    assert limits.rows(100) == 16
    for _ in range(5 * TRUST_AFTER):
        limits.fitted([prepared("1", tokens=100)] * 8)
    assert limits.rows(100) == 16
