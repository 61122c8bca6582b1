"""The engine: every request once, in any batch, with failures that stay failures."""

import threading
import time
from collections.abc import Sequence

import pytest

from anymal_eval.engine import EngineSettings
from anymal_eval.engine.local import run_requests
from anymal_eval.errors import IncompleteRun, MediaError, OutOfMemory
from anymal_eval.models import PLAIN_WORDING, PlainText, Prepared
from anymal_eval.records import ALL_MEDIA, Message, Request, Response


class Echo:
    """Answers with the id; fails, or runs out of memory, on request."""

    fingerprint = "echo"
    accepts = ALL_MEDIA
    wording = PLAIN_WORDING

    def __init__(self, *, broken: frozenset[str] = frozenset(), fits: int = 10**6) -> None:
        self.broken, self.fits = broken, fits
        self.asked: list[str] = []
        self.threads: set[str] = set()

    def prepare(self, request: Request) -> PlainText:
        if request.id in self.broken:
            raise MediaError(f"{request.id}.jpg: truncated")
        return PlainText(request)

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        self.threads.add(threading.current_thread().name)
        if len(batch) > self.fits:
            raise OutOfMemory(f"{len(batch)} do not fit")
        self.asked += [item.request.id for item in batch]
        return [Response(id=item.request.id, answer=item.request.id) for item in batch]

    def close(self) -> None:
        pass


def requests(count: int) -> list[Request]:
    return [Request(id=str(number), messages=(Message(role="user", parts=("?",)),)) for number in range(count)]


def collect(model: Echo, count: int, **settings: int) -> list[list[Response]]:
    written: list[list[Response]] = []
    run_requests(requests(count), model, lambda batch: written.append(list(batch)), EngineSettings(**settings))
    return written


@pytest.mark.parametrize("batch_size", [1, 4, 16, 100])
@pytest.mark.parametrize("threads", [1, 8])
def test_every_request_is_answered_once_and_in_order(batch_size: int, threads: int) -> None:
    model = Echo()
    written = collect(model, 50, batch_size=batch_size, threads=threads)
    assert model.asked == [str(number) for number in range(50)]
    assert [response.answer for batch in written for response in batch] == model.asked
    assert max(map(len, written)) <= batch_size
    assert model.threads == {threading.current_thread().name}


def test_a_broken_medium_is_a_failure_and_the_run_continues() -> None:
    model = Echo(broken=frozenset({"3", "4"}))
    responses = {item.id: item for batch in collect(model, 10, batch_size=4) for item in batch}
    assert len(responses) == 10
    failure = responses["3"].failure
    assert failure is not None
    assert (failure.kind, failure.message) == ("media", "3.jpg: truncated")
    assert responses["5"].answer == "5"


@pytest.mark.parametrize("fits", [1, 3])
def test_a_batch_that_does_not_fit_is_split_and_nothing_runs_twice(fits: int) -> None:
    model = Echo(fits=fits)
    collect(model, 33, batch_size=8)
    assert model.asked == [str(number) for number in range(33)]


def test_what_never_fits_is_a_failure() -> None:
    responses = [item for batch in collect(Echo(fits=0), 3, batch_size=2) for item in batch]
    assert [item.failure.kind for item in responses if item.failure] == ["memory"] * 3


def test_a_run_that_goes_wrong_stops_and_keeps_what_it_has() -> None:
    model = Echo(broken=frozenset(map(str, range(4, 100))))
    written: list[Response] = []
    with pytest.raises(IncompleteRun, match=r"stopped: .* the last one: .*\.jpg: truncated"):
        run_requests(requests(100), model, written.extend, EngineSettings(batch_size=4, max_errors=3))
    assert [item.id for item in written[:4]] == ["0", "1", "2", "3"]
    assert len(written) < 20


def test_a_fault_of_the_model_is_raised_and_no_answer() -> None:
    class Faulty(Echo):
        def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
            return super().answer(batch)[::-1]

    with pytest.raises(RuntimeError, match="but the requests are"):
        collect(Faulty(), 4, batch_size=4)


def test_the_queue_is_bounded_in_bytes() -> None:
    prepared: list[str] = []
    most: list[int] = []

    class Heavy(Echo):
        def prepare(self, request: Request) -> PlainText:
            prepared.append(request.id)
            return PlainText(request, nbytes=100)

        def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
            time.sleep(0.002)
            most.append(len(prepared) - len(self.asked))
            return super().answer(batch)

    collect(Heavy(), 200, batch_size=2, threads=3, ahead_bytes=300)
    # A batch is being answered, 300 bytes wait, and each thread may be in the middle of one.
    assert max(most) <= 2 + 3 + 3
    assert len(prepared) == 200
