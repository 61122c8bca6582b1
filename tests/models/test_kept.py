"""A memo for threads: made once, bounded, and no one waits for ever."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from anymal_eval.errors import MediaError
from anymal_eval.generation.bounded_cache import MOST_ENTRIES, BoundedCache


def test_made_once_however_many_ask_at_once() -> None:
    kept: BoundedCache[bytes] = BoundedCache(1 << 20, len)
    gate = threading.Barrier(8)

    def slow(number: int) -> bytes:
        time.sleep(0.05)
        return b"%d" % number

    def ask(number: int) -> bytes:
        gate.wait()
        return kept.get("a", lambda: slow(number))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert kept.made == 1


def test_the_one_not_used_for_longest_goes_first() -> None:
    kept: BoundedCache[bytes] = BoundedCache(3000, len)
    for name in ("a", "b", "a", "c"):
        kept.get(name, lambda: b"x" * 1200)
    assert kept.find("b") is None
    assert kept.find("a") is not None
    assert kept.find("c") is not None
    kept.clear()
    assert kept.find("a") is None
    kept.put("d", b"x" * 9000)
    assert kept.find("d") is not None, "the newest stays even where it is larger than the limit"


def test_small_values_do_not_pile_up() -> None:
    kept: BoundedCache[bytes] = BoundedCache(1 << 30, len)
    for number in range(3 * MOST_ENTRIES):
        kept.put(str(number), b"x")
    assert sum(kept.find(str(number)) is not None for number in range(3 * MOST_ENTRIES)) == MOST_ENTRIES


def test_a_failure_is_told_to_all_and_not_tried_again() -> None:
    kept: BoundedCache[bytes] = BoundedCache(1 << 20, len)

    def broken() -> bytes:
        raise MediaError("truncated")

    for _ in range(3):
        with pytest.raises(MediaError, match="truncated"):
            kept.get("a", broken)
    assert kept.made == 1


def test_after_a_fault_of_ours_the_next_tries_itself() -> None:
    kept: BoundedCache[bytes] = BoundedCache(1 << 20, len)
    entered, waiting = threading.Event(), threading.Event()

    def faulty() -> bytes:
        entered.set()
        waiting.wait(10)
        time.sleep(0.05)
        raise ZeroDivisionError

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(kept.get, "a", faulty)
        entered.wait(10)
        second = pool.submit(kept.get, "a", lambda: b"fine")
        waiting.set()
        assert second.result(10) == b"fine"
        with pytest.raises(ZeroDivisionError):
            first.result(10)
