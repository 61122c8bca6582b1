"""A cache for threads: values are computed once, memory is bounded, and no thread waits for ever."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from anymal_eval.errors import MediaError
from anymal_eval.generation.bounded_cache import MOST_ENTRIES, BoundedCache


def test_a_value_is_computed_once_for_threads_that_need_it_at_once() -> None:
    cache: BoundedCache[bytes] = BoundedCache(1 << 20, len)
    gate = threading.Barrier(8)

    def slow(number: int) -> bytes:
        time.sleep(0.05)
        return b"%d" % number

    def need(number: int) -> bytes:
        gate.wait()
        return cache.get("a", lambda: slow(number))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(need, range(8)))) == 1
    assert cache.made == 1


def test_the_least_recently_used_value_goes_first() -> None:
    cache: BoundedCache[bytes] = BoundedCache(3000, len)
    for name in ("a", "b", "a", "c"):
        cache.get(name, lambda: b"x" * 1200)
    assert cache.find("b") is None
    assert cache.find("a") is not None
    assert cache.find("c") is not None
    cache.clear()
    assert cache.find("a") is None
    cache.put("d", b"x" * 9000)
    assert cache.find("d") is not None, "the newest stays even where it is larger than the limit"


def test_small_values_do_not_pile_up() -> None:
    cache: BoundedCache[bytes] = BoundedCache(1 << 30, len)
    for number in range(3 * MOST_ENTRIES):
        cache.put(str(number), b"x")
    assert sum(cache.find(str(number)) is not None for number in range(3 * MOST_ENTRIES)) == MOST_ENTRIES


def test_a_failure_is_raised_to_all_and_not_tried_again() -> None:
    cache: BoundedCache[bytes] = BoundedCache(1 << 20, len)

    def broken() -> bytes:
        raise MediaError("truncated")

    for _ in range(3):
        with pytest.raises(MediaError, match="truncated"):
            cache.get("a", broken)
    assert cache.made == 1


def test_after_a_bug_in_one_thread_the_next_one_tries_itself() -> None:
    cache: BoundedCache[bytes] = BoundedCache(1 << 20, len)
    entered, waiting = threading.Event(), threading.Event()

    def faulty() -> bytes:
        entered.set()
        waiting.wait(10)
        time.sleep(0.05)
        raise ZeroDivisionError

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "a", faulty)
        entered.wait(10)
        second = pool.submit(cache.get, "a", lambda: b"fine")
        waiting.set()
        assert second.result(10) == b"fine"
        with pytest.raises(ZeroDivisionError):
            first.result(10)
