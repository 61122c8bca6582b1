"""Steps nest, and each is measured without the steps inside it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from anymal_eval import steps
from anymal_eval.steps import Steps, recorded, step


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("anymal_eval.steps.time.perf_counter", lambda: now[0])
    return now


def _fail_after(clock: list[float], seconds: float) -> None:
    clock[0] += seconds
    raise KeyError


def test_a_step_is_measured_without_those_inside_it(clock: list[float]) -> None:
    found = Steps(started_before=2.0)
    shown: list[str] = []

    @contextmanager
    def show(label: str) -> Iterator[None]:
        shown.append(label)
        yield

    with recorded(found, show):
        with step("weights", "loading"):
            clock[0] += 1
            with step("imports"):
                clock[0] += 4
            with pytest.raises(KeyError), step("self-test"):
                _fail_after(clock, 8)
        with step("imports"):
            clock[0] += 16
    assert found.seconds == {"interpreter": 2.0, "weights": 1.0, "imports": 20.0, "self-test": 8.0}
    assert shown == ["loading"]
    assert found.summary == ""
    begun = clock[0]
    clock[0] += 3
    found.first_answer(begun)
    clock[0] += 50
    found.first_answer(begun)
    assert found.total == 34.0
    assert found.summary == (
        "first answer after 34.0 s: 2.0 s starting Python, 20.0 s imports, 1.0 s weights, 8.0 s self-test, "
        "3.0 s first batch"
    )


def test_nothing_is_recorded_without_a_recording() -> None:
    found = Steps()
    with recorded(found):
        pass
    with step("data", "reading"):
        pass
    assert found.seconds == {}


def test_a_process_knows_since_when_it_runs() -> None:
    first = steps.process_seconds()
    assert 0 < first <= steps.process_seconds()
