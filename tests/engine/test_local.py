"""The engine: every request once, in any batch, with failures that stay failures."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from anymal_eval.engine import EngineSettings
from anymal_eval.engine.local import run_requests
from anymal_eval.errors import BadData, IncompleteRun, MediaError, OutOfMemory, StorageFull, WrongUse
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


class PanicException(BaseException):
    """As a bug in a Rust library arrives in Python."""


POISON: list[BaseException] = [
    TypeError("unsupported operand"), KeyError("patch_size"), AttributeError("no vision"), IndexError("out of range"),
    RuntimeError("shapes\ndo not match"), AssertionError(), OverflowError("too large"), RecursionError("too deep"),
    ZeroDivisionError("by zero"), OSError(5, "Input/output error"), UnicodeDecodeError("utf-8", b"", 0, 1, "bad"),
    StopIteration(), NotImplementedError("no such mask"),
    BadData("the chat template refuses system"), Exception("rust"),
    PanicException("called unwrap on None"),
]  # fmt: skip


class Poisoned(Echo):
    """One request of many raises an error of a library's own."""

    def __init__(self, error: BaseException, where: str, poison: str = "5") -> None:
        super().__init__()
        self.error, self.where, self.poison = error, where, poison
        self.calls = 0

    def prepare(self, request: Request) -> PlainText:
        if self.where == "prepare" and request.id == self.poison:
            raise self.error
        return super().prepare(request)

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        self.calls += 1
        if self.where == "answer" and self.poison in [item.request.id for item in batch]:
            raise self.error
        return super().answer(batch)


class PoisonedStream(Poisoned):
    """The same, of a model that answers many requests at once."""

    in_flight = 4

    def __init__(self, error: BaseException, where: str, poison: str = "5") -> None:
        super().__init__(error, where, poison)
        self.pool = ThreadPoolExecutor(max_workers=self.in_flight)

    def submit(self, item: Prepared) -> "Future[Response]":
        if self.where == "submit" and item.request.id == self.poison:
            raise self.error
        return self.pool.submit(self.one, item)

    def one(self, item: Prepared) -> Response:
        if self.where == "future" and item.request.id == self.poison:
            raise self.error
        return Echo.answer(self, [item])[0]


def poisoned(error: BaseException, where: str) -> Poisoned:
    return (PoisonedStream if where in ("submit", "future") else Poisoned)(error, where)


ANYWHERE = pytest.mark.parametrize("where", ["prepare", "answer", "submit", "future"])


@ANYWHERE
@pytest.mark.parametrize("error", POISON, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("batch_size", [1, 8])
def test_one_poison_example_is_one_failure(error: BaseException, where: str, batch_size: int) -> None:
    model = poisoned(error, where)
    responses = {item.id: item for batch in collect(model, 20, batch_size=batch_size) for item in batch}
    assert sorted(responses, key=int) == [str(number) for number in range(20)]
    assert [item.id for item in responses.values() if item.failure] == ["5"]
    failure = responses["5"].failure
    assert failure is not None
    assert "\n" not in failure.message
    if isinstance(error, BadData):
        assert (failure.kind, failure.message) == ("model", "the chat template refuses system")
    else:
        assert failure.kind == "unexpected"
        assert failure.message.startswith(type(error).__name__)
        assert "test_local.py:" in failure.message
    assert sorted(model.asked, key=int) == [str(number) for number in range(20) if number != 5], "each is answered once"
    assert model.calls <= 20 // batch_size + 8


@ANYWHERE
def test_memory_of_the_host_that_runs_out_is_a_failure_too(where: str) -> None:
    responses = [item for batch in collect(poisoned(MemoryError(), where), 9, batch_size=4) for item in batch]
    assert [(item.id, item.failure.kind) for item in responses if item.failure] == [("5", "memory")]


@ANYWHERE
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), WrongUse("no key"), StorageFull("full")])
def test_what_is_no_matter_of_one_request_is_raised(error: BaseException, where: str) -> None:
    with pytest.raises(type(error)):
        collect(poisoned(error, where), 20, batch_size=4)


@pytest.mark.parametrize("where", ["prepare", "answer"])
def test_a_broken_device_ends_the_run(where: str) -> None:
    model = Poisoned(RuntimeError("CUDA error: device-side assert triggered\nCompile with ..."), where)
    written: list[Response] = []
    with pytest.raises(IncompleteRun, match=r"the device is broken after RuntimeError: CUDA error: device-side assert"):
        run_requests(requests(40), model, written.extend, EngineSettings(batch_size=4))
    assert [item.id for item in written] == ["0", "1", "2", "3"]
    assert all(item.failure is None for item in written)


@pytest.mark.parametrize("where", ["submit", "future"])
def test_a_broken_device_ends_a_stream(where: str) -> None:
    model = poisoned(RuntimeError("CUDA error: device-side assert triggered"), where)
    written: list[Response] = []
    with pytest.raises(IncompleteRun, match=r"the device is broken after RuntimeError: CUDA error: device-side assert"):
        run_requests(requests(40), model, written.extend, EngineSettings(batch_size=4))
    assert {"0", "1"} <= {item.id for item in written} <= set(map(str, range(40))) - {"5"}
    assert all(item.failure is None for item in written)


def test_a_future_that_the_model_cancels_is_one_failure() -> None:
    class Cancels(PoisonedStream):
        def submit(self, item: Prepared) -> "Future[Response]":
            future: Future[Response] = Future()
            if item.request.id != self.poison:
                return super().submit(item)
            future.cancel()
            return future

    responses = {item.id: item for batch in collect(Cancels(KeyError(), "nowhere"), 20) for item in batch}
    assert len(responses) == 20
    assert [item.id for item in responses.values() if item.failure] == ["5"]
    assert responses["5"].failure is not None
    assert responses["5"].failure.message == "CancelledError"


def test_poison_counts_as_an_error_of_the_run() -> None:
    with pytest.raises(IncompleteRun, match=r"stopped: 1 errors are more than --max-errors allows; .* KeyError"):
        collect(Poisoned(KeyError("x"), "answer"), 20, batch_size=4, max_errors=0)


def test_a_model_that_answers_nothing_stops_early() -> None:
    class Broken(Echo):
        def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
            raise KeyError("weights")

    written: list[Response] = []
    with pytest.raises(IncompleteRun, match=r"no request was answered, and 16 ended in unexpected errors; .* KeyError"):
        run_requests(requests(1000), Broken(), written.extend, EngineSettings(batch_size=4))
    assert len(written) == 16
    # Where the last few of a run are all that is left, each is a failure.
    assert len([item for batch in collect(Broken(), 15, batch_size=4) for item in batch]) == 15


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


def test_a_ray_worker_gives_poison_back_as_failures() -> None:
    from anymal_eval.engine.ray_actor import ModelRecipe, ModelWorker

    worker = ModelWorker(ModelRecipe(typed="constant"))
    worker._model = Poisoned(KeyError("x"), "answer")
    parts = worker.answer(requests(20), EngineSettings(batch_size=8, give_up_after=None))
    responses = [response for _, batch, _ in parts for response in batch]
    assert [item.id for item in responses if item.failure and item.failure.kind == "unexpected"] == ["5"]
    assert len(responses) == 20
