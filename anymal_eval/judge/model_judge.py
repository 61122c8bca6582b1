"""Puts a study to a model: only what it has not answered yet, each answer on disk before the next is waited for."""

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anymal_eval.errors import IncompleteRun, MediaError, WrongUse
from anymal_eval.judge.creation import Progress
from anymal_eval.judge.judge_answers import Cache, Judge, JudgeAnswer, JudgeAnswers, content_key
from anymal_eval.judge.judge_protocol import JudgeProtocol, default
from anymal_eval.judge.questions import Question, kinds, lacking, questions, request, study_texts
from anymal_eval.judge.study import Study, read
from anymal_eval.models import Streaming, choose_model, split_address
from anymal_eval.models.openai import PreparedBody
from anymal_eval.records import Response

SERVED = ("openai", "vllm")
NEEDED = "--judge takes openai:MODEL@URL, a model on a chat server, or vllm:CHECKPOINT"
IN_A_ROW = 20  # failures without an answer between them: the server is gone, and the rest would fail too


@dataclass(frozen=True, kw_only=True)
class Judging:
    """How many answers were there already, came from the cache, were requested and came, or failed."""

    before: int
    cached: int
    answered: int
    failed: Mapping[str, int]

    @property
    def text(self) -> str:
        """One line."""
        parts = {
            "answered before": self.before, "from the cache": self.cached, "requested": self.answered,
            "failed": sum(self.failed.values()),
        }  # fmt: skip
        return ", ".join(f"{count:,} {what}" for what, count in parts.items() if count) or "nothing to judge"

    def require_all(self) -> None:
        """Raise where some failed.

        Raises:
            IncompleteRun: says how many, and the commonest reason.
        """
        if self.failed:
            why = max(self.failed, key=lambda each: self.failed[each])
            count = sum(self.failed.values())
            raise IncompleteRun(f"{count:,} answers failed ({why}); the same command requests only these")


def judge_by(
    folder: Path, typed: str, options: Mapping[str, str], protocol: JudgeProtocol | None, progress: Progress
) -> tuple[Judge, Judging]:
    """Put a study to a model, by a protocol or by the one that its mode has; see ``load`` and ``judge_study``."""
    study = read(folder)
    judge, model = load(typed, options, study, protocol or default(study.mode))
    try:
        return judge, judge_study(study, folder, judge, model, progress)
    finally:
        model.close()


def load(typed: str, options: Mapping[str, str], study: Study, protocol: JudgeProtocol) -> tuple[Judge, Streaming]:
    """Connect to a judge.

    Args:
        typed: ``openai:MODEL@URL``, or ``vllm:CHECKPOINT``.
        options: of the model, as ``run -o`` takes them.
        study: that it will judge.
        protocol: by which.

    Raises:
        WrongUse: it is no model on a server, no server answers, it takes no media of the study, or the protocol is for
            other studies.
    """
    if why := lacking(study, protocol):
        raise WrongUse(f"--judge-protocol: {why}")
    named, url = split_address(typed)
    name = named.partition(":")[0]
    if name not in SERVED or not named.partition(":")[2]:
        raise WrongUse(NEEDED)
    given = {**options, **({"url": url} if url else {})}
    wanted = kinds(study, protocol)
    if wanted and "media" not in given and name == "openai":
        given["media"] = ",".join(kind for kind in wanted if kind != "imu")
    spec = choose_model(named, given)
    if missing := [kind for kind in wanted if kind not in spec.accepts]:
        raise WrongUse(
            f"--judge {named} takes no {missing[0]}: give -o media=..., or a --judge-protocol that shows no media"
        )
    model = spec.load()
    if not isinstance(model, Streaming):
        model.close()
        raise WrongUse(NEEDED)
    judge = Judge(
        model=named,
        fingerprint=model.fingerprint,
        protocol=protocol,
        texts=study_texts(study, protocol),
        url=given.get("url", ""),
    )
    return judge, model


@dataclass(kw_only=True)
class _Work:
    """What is under way."""

    waiting: dict[str, list[Question]] = field(default_factory=dict)  # by the content that is in flight
    futures: dict[Future[Response], str] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    cached: int = 0
    in_a_row: int = 0


def judge_study(study: Study, folder: Path, judge: Judge, model: Streaming, progress: Progress) -> Judging:
    """Put every question that has no answer to the judge.

    Args:
        study: its content.
        folder: where it is.
        judge: whose answers.
        model: behind it.
        progress: shows how many are answered.

    Raises:
        IncompleteRun: the server failed many times in a row; what came is on disk.
    """
    every = questions(study, judge.protocol)
    cache, work = Cache(judge), _Work()
    with JudgeAnswers(folder, judge) as answers:
        there = {id for id, one in answers.given.items() if one.text is not None}
        missing = (question for question in every if question.id not in there)
        before = sum(question.id in there for question in every)
        with progress("judged", len(every), before) as advance:
            try:
                _work_off(_Desk(study, folder, judge, model, cache, answers), missing, work, advance)
            finally:
                for future in work.futures:
                    future.cancel()
    return Judging(before=before, cached=work.cached, answered=work.answered, failed=work.failed)


@dataclass(frozen=True)
class _Desk:
    """Who is given what, and where it is kept."""

    study: Study
    folder: Path
    judge: Judge
    model: Streaming
    cache: Cache
    answers: JudgeAnswers

    def keep(self, question: Question, key: str, text: str | None, failure: str = "") -> None:
        """Write one answer."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.answers.append(JudgeAnswer(question=question.id, key=key, text=text, failure=failure, time=now))


def _work_off(desk: _Desk, missing: Iterator[Question], work: _Work, advance: Any) -> None:
    """Keep as many requests in flight as the model takes, until nothing is missing."""
    is_open = True
    while is_open or work.futures:
        while is_open and len(work.futures) < desk.model.in_flight:
            question = next(missing, None)
            is_open = question is not None
            if question is not None and _begin(desk, question, work):
                advance(1)
        if not work.futures:
            continue
        done, _ = wait(work.futures, return_when=FIRST_COMPLETED)
        for future in done:
            advance(_finish(desk, future, work))
        if work.in_a_row >= IN_A_ROW:
            why = work.failed.most_common(1)[0][0]
            raise IncompleteRun(
                f"{desk.judge.label} failed {work.in_a_row} times in a row ({why}); what it answered is on disk, and "
                "the same command requests the rest"
            )


def _begin(desk: _Desk, question: Question, work: _Work) -> bool:
    """Submit a question; True where it is answered already, from the cache, or cannot be sent."""
    made = request(desk.study, desk.folder, desk.judge.protocol, question)
    broken = next((tag["error"] for tag in desk.study.all_items[question.item].media if tag.get("error")), "")
    try:
        if broken and desk.judge.protocol.media:
            raise MediaError(broken)
        prepared = desk.model.prepare(made)
        if not isinstance(prepared, PreparedBody):
            raise TypeError(f"{desk.judge.model} prepares no body of the chat API")
    except MediaError as error:
        work.failed[str(error)] += 1
        desk.keep(question, "", None, str(error))
        return True
    key = content_key(desk.judge, prepared.body, question.run)
    text = desk.cache.get(key)
    if text is not None:
        work.cached += 1
        desk.keep(question, key, text)
        return True
    if key in work.waiting:
        work.waiting[key].append(question)
        return False
    work.waiting[key] = [question]
    work.futures[desk.model.submit(prepared)] = key
    return False


def _finish(desk: _Desk, future: Future[Response], work: _Work) -> int:
    """Keep what came; how many questions it answers."""
    key = work.futures.pop(future)
    waiting = work.waiting.pop(key)
    response = future.result()
    if response.failure is not None:
        work.in_a_row += 1
        work.failed[response.failure.message] += len(waiting)
    else:
        work.in_a_row = 0
        work.answered += 1
        work.cached += len(waiting) - 1
        desk.cache.put(key, response.answer or "")
    for question in waiting:
        desk.keep(question, key, response.answer, response.failure.message if response.failure else "")
    return len(waiting)
