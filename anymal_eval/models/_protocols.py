"""The protocols of a model, and the default wording of its prompts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from anymal_eval.protocols import Phrase, Wording
from anymal_eval.records import Decoding, MediaKind, Request, Response

# The prompts of a model without its own.
PLAIN_WORDING: Wording = {
    "caption": Phrase(
        user="{instruction}\n{question}",
        default_question="Describe it in one sentence.",
        decoding=Decoding(max_new_tokens=64),
    ),
    "short_answer": Phrase(
        user="{question}\n{instruction}\nAnswer with a single word or phrase.", decoding=Decoding(max_new_tokens=16)
    ),
    "choice": Phrase(
        user="Context: {hint}\n{question}\n{options}\n{instruction}\nAnswer with the option's letter.",
        candidates="letters",
    ),
    "yes_no": Phrase(
        user="It says: {ocr}\n{question}\n{instruction}\nAnswer yes or no.",
        candidates="yes_no",
        length_normalise=True,
    ),
}


class Prepared(Protocol):
    """A request after ``Model.prepare``: decoded, preprocessed, tokenised.

    Requests of equal ``prefix_key`` can share a KV cache, those of equal ``media_key`` features; ``nbytes`` is the host
    memory that it holds. By these the engine orders requests, sizes batches and bounds its queue.
    """

    @property
    def request(self) -> Request: ...
    @property
    def prefix_key(self) -> str | None: ...
    @property
    def media_key(self) -> str | None: ...
    @property
    def prefix_tokens(self) -> int: ...
    @property
    def suffix_tokens(self) -> int: ...
    @property
    def nbytes(self) -> int: ...


class Model(Protocol):
    """What every wrapper is.

    ``fingerprint`` names the weights and all else that changes an answer. A model may also have ``timings`` (seconds
    so far in ``encoding``, ``prefilling``, ``decoding``), ``token_budget`` (tokens of a batch that fit into its
    memory), ``memory_forecast`` (of the memory of a batch), ``batch_hint`` (the most requests of one call that it makes
    use of), ``prepares_nothing`` (True where ``prepare`` only wraps the request, so that no thread calls it ahead),
    ``retry_summary`` (a line for the user about repeated requests, empty where there were none) and
    ``skills``: ``sampling`` where it follows a request's temperature, top_p and seed, ``thinking`` where it follows its
    settings of thinking.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def accepts(self) -> frozenset[MediaKind]: ...
    @property
    def wording(self) -> Wording: ...

    def prepare(self, request: Request) -> Prepared:
        """Decode, preprocess and tokenise. Called from many threads; must not use the device.

        Raises:
            RequestFailed: this request cannot be answered; the engine records the failure.
        """
        ...

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Answer a batch, in its order. Called from one thread.

        Raises:
            OutOfMemory: the batch does not fit; the engine halves it.
        """
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


@runtime_checkable
class Expecting(Protocol):
    """A model that needs the ids of all examples before the first request, such as a file of answers."""

    def expect(self, ids: Collection[str]) -> Collection[str]:
        """Check the ids of all examples of the split, those beyond ``--limit`` included.

        Returns:
            The ids of the examples to evaluate, normally all.

        Raises:
            WrongUse, BadData: it does not belong to these examples.
        """
        ...


class Question(NamedTuple):
    """What tells an example from others: no answer, no reference."""

    id: str
    cluster: str
    question: str
    options: tuple[str, ...] = ()


@runtime_checkable
class Comparing(Protocol):
    """A model that gets the questions before ``Expecting.expect``: a file whose rows name examples in another way."""

    def compare_with(self, questions: Sequence[Question]) -> None:
        """Take the questions of one task, in the order of the data."""
        ...


@runtime_checkable
class Streaming(Model, Protocol):
    """A model that answers many requests at once, such as a server. The engine writes each answer when it comes.

    ``in_flight`` is the number of requests that it answers at once.
    """

    @property
    def in_flight(self) -> int: ...

    def submit(self, item: Prepared) -> Future[Response]:
        """Begin with a request. A worker of Ray calls it from several threads; the future may be cancelled.

        Returns:
            The response to come; a request that fails at the server is a response with a failure.
        """
        ...


@runtime_checkable
class Refilling(Protocol):
    """A model that can begin with new requests in the places of those that it has answered.

    The generator is closed when all requests are answered: what comes after the last of them does not run.
    """

    def answer_each(
        self, batch: Sequence[Prepared], more: Callable[[], Sequence[Prepared]]
    ) -> Generator[Sequence[Response], None, None]:
        """Answer a batch and what joins it. Called, and continued, from the thread that calls ``answer``.

        Args:
            batch: requests of any kind.
            more: called after requests were answered; returns requests that may join, often none. They generate text
                with the decoding of the first of those that are not answered.

        Yields:
            Responses as soon as they are there, in any order.

        Raises:
            OutOfMemory: what is not answered yet does not fit; the engine passes it to ``answer`` in halves.
        """
        ...


@runtime_checkable
class Refusing(Protocol):
    """A model that cannot answer some kinds of request, such as a server that cannot rank texts."""

    def refuse(self, request: Request) -> None:
        """Called with the first request of every task, before a run folder is made.

        Raises:
            WrongUse: why it cannot answer requests of this kind.
        """
        ...


@runtime_checkable
class SelfTesting(Protocol):
    """A model that tests whether it may answer some kinds of request in a faster way."""

    def self_test(self, requests: Iterable[Request]) -> None:
        """Called with one request of each kind, before a run folder is made: the outcome is in ``provenance``."""
        ...


@runtime_checkable
class Logging(Protocol):
    """A model with a log of its own, such as that of a server that it starts."""

    def keep_log(self, folder: Path) -> None:
        """Called with the run folder as soon as there is one. Only the first call counts."""
        ...


@dataclass(frozen=True)
class PlainText:
    """A request that needs no preparation."""

    request: Request
    prefix_key: str | None = None
    media_key: str | None = None
    prefix_tokens: int = 0
    suffix_tokens: int = 0
    nbytes: int = 0
