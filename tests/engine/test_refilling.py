"""Requests join a batch in the places of those that are answered."""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from anymal_eval.engine import EngineSettings
from anymal_eval.engine.batching import BatchLimits
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.failures import failure_record
from anymal_eval.engine.local import answer_refilled, run_requests
from anymal_eval.engine.ray_actor import ModelRecipe, ModelWorker
from anymal_eval.engine.source import RequestSource
from anymal_eval.errors import BadLogits, IncompleteRun, MediaError, OutOfMemory, RequestFailed, StorageFull
from anymal_eval.evaluation.showing import recording
from anymal_eval.models import PLAIN_WORDING, Model, PlainText, Prepared, Refilling, ShownPrompt
from anymal_eval.records import ALL_MEDIA, Decoding, Media, Message, Request, Response
from anymal_eval.store.shown_prompts import read_prompts

PLAIN, OTHER, SHORT = (Decoding(max_new_tokens=most) for most in (32, 33, 31))


@dataclass
class Steps:
    """A model whose requests each take a number of steps: that in their text."""

    fits: int = 10**6
    broken: frozenset[str] = frozenset()
    error: RequestFailed = field(default_factory=lambda: BadLogits("broken"))
    fingerprint: str = "steps"
    accepts: frozenset[Any] = ALL_MEDIA
    wording: Any = field(default_factory=lambda: PLAIN_WORDING)
    computed: list[int] = field(default_factory=list)  # rows of each step
    joined: list[list[str]] = field(default_factory=list)  # the ids of each batch, and of what joined it
    whole: list[list[str]] = field(default_factory=list)  # of batches that were answered whole

    def prepare(self, request: Request) -> PlainText:
        if request.id == "unreadable":
            raise MediaError("unreadable.jpg: truncated")
        return PlainText(request, media_key=request.answer_prefix or None, suffix_tokens=1)

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        self.whole.append([item.request.id for item in batch])
        if len(batch) > self.fits:
            raise OutOfMemory(f"{len(batch)} do not fit")
        broken = self.broken & {item.request.id for item in batch}
        if broken and len(batch) > 1:
            raise self.error
        return [
            Response(id=one, answer="x") if one not in broken else _failed(one, self.error) for one in self.whole[-1]
        ]

    def answer_each(
        self, batch: Sequence[Prepared], more: Callable[[], Sequence[Prepared]]
    ) -> Generator[Sequence[Response], None, None]:
        rows: dict[str, int] = {}
        joining = batch
        while joining or rows:
            if joining:
                assert not rows or {item.request.decoding for item in joining} == {PLAIN}
                self.joined.append([item.request.id for item in joining])
            rows |= {item.request.id: _steps(item.request) for item in joining}
            if len(rows) > self.fits:
                raise OutOfMemory(f"{len(rows)} do not fit")
            if self.broken & rows.keys():
                raise self.error
            self.computed.append(len(rows))
            ended = [name for name, left in rows.items() if left == 1]
            rows = {name: left - 1 for name, left in rows.items() if left > 1}
            joining = ()
            if ended:
                yield [Response(id=name, answer="x") for name in ended]
                joining = more()

    def close(self) -> None:
        pass


def _steps(request: Request) -> int:
    return int(str(request.messages[0].parts[0]))


def _failed(name: str, error: RequestFailed) -> Response:
    return Response(id=name, failure=failure_record(error))


def request_of(name: str, steps: int, *, shown: bool = True, **given: Any) -> Request:
    """Each about a medium of its own, but for those with an answer prefix, whose media it names."""
    text = f"{steps:10}"  # of one length, so that the order stays
    parts = (text, Media(kind="image", uri=f"{name}.png")) if shown else (text,)
    return Request(id=name, messages=(Message(role="user", parts=parts),), **{"decoding": PLAIN, **given})


def run(model: Steps, requests: Sequence[Request], **settings: int) -> list[list[Response]]:
    written: list[list[Response]] = []
    run_requests(requests, model, lambda batch: written.append(list(batch)), EngineSettings(**settings))
    return written


def ids(written: Sequence[Sequence[Response]]) -> list[str]:
    return sorted(response.id for batch in written for response in batch)


@pytest.mark.parametrize("size", [1, 4, 8])
@pytest.mark.parametrize("threads", [1, 6])
def test_every_request_is_answered_once(size: int, threads: int) -> None:
    requests = [request_of(f"{number:03}", 1 + number * 7 % 13) for number in range(100)]
    model = Steps()
    written = run(model, requests, batch_size=size, threads=threads)
    assert ids(written) == [request.id for request in requests]
    assert max(model.computed) == size
    assert model.whole == []
    # Without refills, each batch would take as many steps as its longest row.
    batches = [requests[start : start + size] for start in range(0, 100, size)]
    steps = sum(max(map(_steps, batch)) for batch in batches)
    assert len(model.computed) == steps if size == 1 else len(model.computed) < 0.8 * steps


def test_the_same_run_computes_the_same_batches() -> None:
    """Whatever the speed of preparation: in bf16 an answer depends on what it is computed with."""
    requests = [request_of(f"{number:03}", 1 + number * 7 % 13) for number in range(60)]
    seen = []
    for threads in (1, 2, 8):
        model = Steps()
        run(model, requests, batch_size=8, threads=threads)
        seen.append(model.joined)
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) > 10


def test_a_quarter_of_the_places_is_refilled_at_once() -> None:
    model = Steps()
    run(
        model,
        [request_of(str(number), 9 - number % 8) for number in range(8)] + [request_of("x", 1), request_of("y", 1)],
        batch_size=8,
    )
    assert [len(names) for names in model.joined] == [8, 2]
    assert model.computed[:4] == [8, 8, 7, 8]  # one free place is not refilled, two are


def test_other_decodings_and_ranked_requests_do_not_join() -> None:
    others = [
        request_of("long", 2, decoding=OTHER),
        request_of("ranked", 1, candidates=("a", "b")),
        request_of("last", 2),
    ]
    model = Steps()
    requests = [request_of(str(number), 1 + number) for number in range(4)] + others
    written = run(model, requests, batch_size=4)
    assert ids(written) == sorted(request.id for request in requests)
    assert model.joined[0] == ["0", "1", "2", "3"]
    assert model.joined[1:] == [["long", "ranked", "last"]]  # a batch of its own, whose kinds the model parts
    assert model.computed[:4] == [4, 3, 2, 1]


def test_requests_about_the_same_medium_join_together() -> None:
    media = [request_of(f"{medium}{place}", 2, answer_prefix=medium) for medium in "abcd" for place in range(3)]
    requests = [request_of(str(number), 1 + number) for number in range(8)]
    model = Steps()
    written = run(model, [*requests, *media], batch_size=8)
    assert ids(written) == sorted(request.id for request in [*requests, *media])
    groups = ["".join(sorted({name[0] for name in names})) for names in model.joined]
    assert "".join(groups).count("a") == 1
    assert all(sum(medium in group for group in groups) == 1 for medium in "abcd")


def test_what_is_answered_is_written_before_the_batch_ends() -> None:
    requests = [request_of(str(number), 1 if number % 8 else 50) for number in range(64)]
    seen: list[int] = []
    model = Steps()
    run_requests(requests, model, lambda _: seen.append(len(model.computed)), EngineSettings(batch_size=8))
    assert seen[0] < 3
    assert sum(step < 50 for step in seen) > 4


def test_what_does_not_fit_is_answered_in_halves_without_what_is_written() -> None:
    requests = [request_of(f"{number:02}", 1 + number % 5) for number in range(40)]
    model = Steps(fits=6)
    written = run(model, requests, batch_size=8)
    assert ids(written) == [request.id for request in requests]
    assert not any(response.failure for batch in written for response in batch)
    assert [len(names) for names in model.whole] == [4, 4]  # later batches are made so that they fit
    assert max(model.computed) == 4


def test_a_lowered_limit_rises_again() -> None:
    """Every refill that fits counts, although the whole task is one batch."""
    limits = BatchLimits(8)
    item = PlainText(request_of("a", 1), suffix_tokens=1)
    limits.too_large([item] * 8)
    assert limits.rows(33) == 4
    model = Steps()
    written: list[Response] = []
    items = [PlainText(request_of(str(number), 1 + number % 4), suffix_tokens=1) for number in range(400)]
    source = RequestSource(iter(items), limits, 1)
    for batch in source.batches():
        for responses in answer_refilled(model, batch, limits, source):
            written += responses
    assert len(written) == 400
    assert limits.rows(33) == 8
    assert max(model.computed) > 4


def test_a_broken_row_fails_alone_and_nothing_is_computed_again_that_was_written() -> None:
    requests = [request_of(f"{number:02}", 1 + number % 5) for number in range(24)]
    model = Steps(broken=frozenset({"13"}))
    written = run(model, requests, batch_size=8)
    assert ids(written) == [request.id for request in requests]
    failed = [response.id for batch in written for response in batch if response.failure is not None]
    assert failed == ["13"]


def test_unreadable_requests_are_written_too() -> None:
    requests = [request_of("unreadable" if number == 9 else str(number), 1 + number % 3) for number in range(20)]
    model = Steps()
    written = run(model, requests, batch_size=4)
    assert ids(written) == sorted(request.id for request in requests)
    (failed,) = [response for batch in written for response in batch if response.failure is not None]
    assert failed.id == "unreadable"


def test_too_many_errors_stop_a_batch_that_is_open() -> None:
    requests = [request_of("unreadable" if number == 9 else str(number), 1 + number % 3) for number in range(400)]
    model = Steps()
    with pytest.raises(IncompleteRun, match=r"unreadable\.jpg: truncated"):
        run(model, requests, batch_size=4, max_errors=0)
    assert len(model.computed) < 50


@pytest.mark.parametrize("wrong", ["other", "less", "twice"])
def test_a_model_that_answers_something_else_is_found_out(wrong: str) -> None:
    class Wrong(Steps):
        def answer_each(
            self, batch: Sequence[Prepared], more: Callable[[], Sequence[Prepared]]
        ) -> Generator[Sequence[Response], None, None]:
            del more
            names = [item.request.id for item in batch]
            yield [Response(id="nobody" if wrong == "other" else names[0], answer="x")]
            if wrong == "twice":
                yield [Response(id=names[0], answer="x")]

    with pytest.raises(RuntimeError, match="the model answered"):
        run(Wrong(), [request_of(str(number), 1) for number in range(4)], batch_size=4)


def test_a_batch_that_the_forecast_refuses_waits_in_part() -> None:
    class Forecast:
        def rows(self, shape: Any) -> int:
            del shape
            return 3

    model = Steps()
    model.memory_forecast = Forecast()  # type: ignore[attr-defined]
    requests = [request_of(f"{number:02}", 1 + number % 5) for number in range(40)]
    written = run(model, requests, batch_size=8)
    assert ids(written) == [request.id for request in requests]
    assert max(model.computed) <= 3
    assert model.whole == []


def test_the_wait_for_requests_that_join_is_no_work_of_the_model() -> None:
    class Slow(Steps):
        def prepare(self, request: Request) -> PlainText:
            time.sleep(0.01)
            return super().prepare(request)

    clock = Clock()
    requests = [request_of(str(number), 1 + number % 3) for number in range(40)]
    run_requests(requests, Slow(), lambda _: None, EngineSettings(batch_size=4, threads=1), clock)
    assert clock.seconds["waiting"] > 0.2
    assert clock.seconds["answering"] < 0.5 * clock.seconds["waiting"]


def test_units_of_a_ray_worker_are_refilled_one_after_the_other() -> None:
    """Two units are there at once, and the open rows of both would not fit into memory."""
    worker = ModelWorker(ModelRecipe(typed="constant"))
    model = Steps()
    worker._model = model
    threads: set[str] = set()
    step = model.answer_each

    def watched(
        batch: Sequence[Prepared], more: Callable[[], Sequence[Prepared]]
    ) -> Generator[Sequence[Response], None, None]:
        for responses in step(batch, more):
            threads.add(threading.current_thread().name)
            yield responses

    model.answer_each = watched  # type: ignore[method-assign]
    units = [[request_of(f"{unit}-{number:02}", 1 + number % 5) for number in range(40)] for unit in range(2)]

    def answered(unit: Sequence[Request]) -> list[str]:
        parts = worker.answer(unit, EngineSettings(batch_size=8))
        return sorted(response.id for _, responses, _ in parts for response in responses)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(answered, units))
    assert found == [[request.id for request in unit] for unit in units]
    assert len(threads) == 1
    assert max(model.computed) <= 8
    assert [len({name[0] for name in names}) for names in model.joined] == [1] * len(model.joined)
    order = [names[0][0] for names in model.joined]
    assert order == sorted(order) or order == sorted(order, reverse=True)


def test_short_answers_are_not_refilled() -> None:
    requests = [request_of(f"{number:03}", 1 + number % 8, decoding=SHORT) for number in range(64)]
    model = Steps()
    assert ids(run(model, requests, batch_size=8)) == [request.id for request in requests]
    assert [len(names) for names in model.joined] == [8] * 8


def test_requests_without_media_join_when_half_of_the_places_is_free() -> None:
    """What their texts share is computed anew for those that join."""
    requests = [request_of(f"{number:03}", 1 + number % 8, shown=False) for number in range(64)]
    model = Steps()
    assert ids(run(model, requests, batch_size=8)) == [request.id for request in requests]
    assert min(len(names) for names in model.joined[:-1]) == 4


class CannotPrepare(Exception):
    pass


def test_an_error_of_preparation_is_raised_and_no_request_is_lost_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a thread that cannot be started: no failure of the batch that is open."""
    submit, count = ThreadPoolExecutor.submit, 0

    def failing(pool: ThreadPoolExecutor, *given: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == 50:
            raise CannotPrepare("can't start new thread")
        return submit(pool, *given, **more)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", failing)
    model = Steps()
    written: list[list[Response]] = []
    requests = [request_of(f"{number:03}", 1 + number % 5) for number in range(200)]
    with pytest.raises(CannotPrepare):
        run_requests(requests, model, lambda batch: written.append(list(batch)), EngineSettings(batch_size=8))
    assert len(set(ids(written))) == len(ids(written))
    assert 0 < len(ids(written)) < 50
    assert not any(response.failure for batch in written for response in batch)


def test_unreadable_data_stop_a_run_before_all_of_them_are_opened() -> None:
    prepared: list[str] = []

    class Counting(Steps):
        def prepare(self, request: Request) -> PlainText:
            prepared.append(request.id)
            if request.id > "008":
                raise MediaError(f"{request.id}.jpg: truncated")
            return super().prepare(request)

    requests = [request_of(f"{number:03}", 1 + 30 * (number % 8)) for number in range(900)]
    written: list[Sequence[Response]] = []
    with pytest.raises(IncompleteRun, match="more than --max-errors allows"):
        run_requests(requests, Counting(), written.append, EngineSettings(batch_size=8, max_errors=20))
    assert len(prepared) < 120
    assert len(ids(written)) < 60


def test_what_was_answered_is_written_when_a_run_is_interrupted() -> None:
    class Interrupted(Steps):
        def answer_each(
            self, batch: Sequence[Prepared], more: Callable[[], Sequence[Prepared]]
        ) -> Generator[Sequence[Response], None, None]:
            del more
            yield [Response(id=batch[0].request.id, answer="x")]
            raise KeyboardInterrupt

    written: list[Sequence[Response]] = []
    with pytest.raises(KeyboardInterrupt):
        run_requests(
            [request_of(str(number), 1) for number in range(8)],
            Interrupted(),
            written.append,
            EngineSettings(batch_size=8),
        )
    assert ids(written) == ["0"]


def test_open_rows_are_closed_when_a_run_ends_early() -> None:
    closed: list[bool] = []

    class Closing(Steps):
        def answer_each(
            self, batch: Sequence[Prepared], more: Callable[[], Sequence[Prepared]]
        ) -> Generator[Sequence[Response], None, None]:
            try:
                yield from super().answer_each(batch, more)
            finally:
                closed.append(True)

    def full(_: Sequence[Response]) -> None:
        raise StorageFull("no space left")

    error: BaseException | None = None
    try:
        run_requests(
            [request_of(str(number), 1 + number) for number in range(8)], Closing(), full, EngineSettings(batch_size=8)
        )
    except StorageFull as raised:
        error = raised  # keeps the traceback alive
    assert error is not None
    assert closed == [True]


def test_a_model_whose_prompts_are_written_down_is_refilled_too(tmp_path: Path) -> None:
    class Shown(Steps):
        def shown(self, item: Prepared) -> ShownPrompt:
            return ShownPrompt(text=item.request.id, tokens=1, special=0)

    model = Shown()
    recorded = recording(cast(Model, model), tmp_path / "prompts.jsonl")
    assert isinstance(recorded, Refilling)
    requests = [request_of(f"{number:02}", 1 + number % 5) for number in range(40)]
    found: list[Response] = []
    run_requests(requests, recorded, found.extend, EngineSettings(batch_size=8))
    assert len(model.joined) > 5
    assert sorted(read_prompts(tmp_path / "prompts.jsonl")) == [request.id for request in requests]
    assert not isinstance(recording(cast(Model, object()), tmp_path / "x"), Refilling)
