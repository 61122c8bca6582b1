"""Tokenized captions, which all caption metrics share: each text is tokenized once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Literal

from anymal_eval.errors import BadDefinition
from anymal_eval.metrics._shared import once
from anymal_eval.records import Answer, Example

Engine = Literal["python", "java"]

_ENGINE: ContextVar[Engine] = ContextVar("ptb_engine", default="python")
_REMEMBERED = 2_000_000  # texts per engine; the cache is emptied when it would grow beyond
_TOKENS: dict[Engine, dict[str, str]] = {"python": {}, "java": {}}


@dataclass(frozen=True)
class Captions:
    """N answers and the references of each, tokenized: words joined by single spaces."""

    answers: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]


@contextmanager
def use_ptb(engine: Engine) -> Iterator[None]:
    """Tokenize captions with our own tokenizer or with Stanford's jar, inside the ``with`` block.

    >>> with use_ptb("java"):
    ...     ptb_context()
    'ptb java'
    >>> ptb_context()
    ''
    """
    token = _ENGINE.set(engine)
    try:
        yield
    finally:
        _ENGINE.reset(token)


def ptb_context() -> str:
    """The tokenizer's part of the signature: empty for ours, ``ptb java`` for the jar."""
    return "" if _ENGINE.get() == "python" else f"ptb {_ENGINE.get()}"


def tokenise(captions: Sequence[str], engine: Engine | None = None) -> list[str]:
    """Each caption as the official PTBTokenizer returns it: lower case, words joined by spaces, no punctuation.

    Equal texts are tokenized once and cached.

    Args:
        captions: Raw captions.
        engine: The tokenizer; by default the one that ``use_ptb`` selects.

    Raises:
        NeedsJava: the engine is ``java`` and there is no Java runtime.
    """
    engine = engine or _ENGINE.get()
    known = _TOKENS[engine]
    new = list(dict.fromkeys(caption for caption in captions if caption not in known))
    if new:
        if engine == "java":
            from anymal_eval.metrics._ptb_java import tokenise_all
        else:
            from anymal_eval.metrics._ptb import tokenise_all
        if len(known) + len(new) > _REMEMBERED:
            known.clear()
            new = list(dict.fromkeys(captions))
        known.update(zip(new, tokenise_all(new), strict=True))
    return [known[caption] for caption in captions]


def forget() -> None:
    """Empty the cache of tokenized captions, so that a benchmark measures the whole work."""
    for known in _TOKENS.values():
        known.clear()


def read_references(examples: Sequence[Example]) -> tuple[tuple[str, ...], ...]:
    """The tokenized references of N examples.

    Raises:
        BadDefinition: an example has none.
    """
    return once(examples, f"references {ptb_context()}", lambda: _read_references(examples))


def _read_references(examples: Sequence[Example]) -> tuple[tuple[str, ...], ...]:
    flat: list[str] = []
    for example in examples:
        if not example.references:
            raise BadDefinition(f"example {example.id!r} has no reference captions")
        flat.extend(example.references)
    tokens = tokenise(flat)
    ends = accumulate(len(example.references or ()) for example in examples)
    return tuple(tuple(tokens[start:end]) for start, end in pairwise(chain((0,), ends)))


def flat_references(captions: Captions) -> list[str]:
    """All references, one image after another."""
    return once(captions.references, "flat", lambda: list(chain.from_iterable(captions.references)))


def read_captions(examples: Sequence[Example], answers: Sequence[Answer]) -> Captions:
    """Answers and references, tokenized; the same object for the same examples and answers while they are scored.

    Args:
        examples: N examples with references.
        answers: N answers, in the same order.

    Raises:
        BadDefinition: an example has no references.
    """
    if len(examples) != len(answers):
        raise ValueError(f"{len(examples)} examples but {len(answers)} answers")
    references = read_references(examples)
    return once(
        answers,
        f"captions {id(references)}",
        lambda: Captions(tuple(tokenise([answer.text for answer in answers])), references),
    )


def references_digest(examples: Sequence[Example]) -> str:
    """The first 12 digits of a SHA-256 over all tokenized references; the order of the examples does not matter.

    Document frequencies depend only on the references, so equal digests mean equal document frequencies.
    """
    images = sorted("\n".join(sorted(captions)) for captions in read_references(examples))
    return hashlib.sha256("\n\n".join(images).encode("utf-8", "surrogatepass")).hexdigest()[:12]
