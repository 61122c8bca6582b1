"""What a model is to the harness: the protocols that every wrapper keeps, and the wording of one without its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from anymal_eval.protocols import Phrase, Wording
from anymal_eval.records import Decoding, MediaKind, Request, Response

# What a model without words of its own is asked.
PLAIN_WORDING: Wording = {
    "caption": Phrase(user="{instruction}\nDescribe it in one sentence.", decoding=Decoding(max_new_tokens=64)),
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
    """A request made ready in a thread: decoded, preprocessed, tokenised.

    Equal ``prefix_key`` means a shareable KV cache, equal ``media_key`` shareable features; ``nbytes`` is the host
    memory that it holds. The engine groups, budgets and bounds its queue by these.
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
    """What every wrapper is. ``fingerprint`` names the weights and all that changes an answer.

    It may also have ``timings`` (seconds so far, by ``encoding``, ``prefilling``, ``decoding``), ``token_budget``
    (tokens of a batch that its memory takes) and ``batch_hint`` (the most requests that one call makes use of).
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def accepts(self) -> frozenset[MediaKind]: ...
    @property
    def wording(self) -> Wording: ...

    def prepare(self, request: Request) -> Prepared:
        """Decode, preprocess and tokenise. Called from many threads; touches no device.

        Raises:
            RequestFailed: this request cannot be answered; the engine records the failure.
        """
        ...

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Answer a batch, in its order. Called from one thread.

        Raises:
            OutOfMemory: the batch does not fit; the engine splits it.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


@runtime_checkable
class Expecting(Protocol):
    """A model that wants to know the ids of all the data before the first request, such as a file of answers."""

    def expect(self, ids: Collection[str]) -> Collection[str]:
        """Look at the ids of all examples of the split, those beyond ``--limit`` too.

        Returns:
            The ids that it is to be asked: normally all of them.

        Raises:
            WrongUse, BadData: what it has does not belong to what is asked.
        """
        ...


@runtime_checkable
class Refusing(Protocol):
    """A model that some requests can never be put to, such as a server that cannot rank texts."""

    def refuse(self, request: Request) -> None:
        """Called with the first request of every task, before any is asked and before a run folder is made.

        Raises:
            WrongUse: it cannot answer a request like that, and why.
        """
        ...


@dataclass(frozen=True)
class PlainText:
    """A request that needs no preparing."""

    request: Request
    prefix_key: str | None = None
    media_key: str | None = None
    prefix_tokens: int = 0
    suffix_tokens: int = 0
    nbytes: int = 0
