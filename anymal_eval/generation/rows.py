"""A row of a batch: what is known of it before it is generated, and what was generated."""

from __future__ import annotations

from dataclasses import dataclass

from anymal_eval.records import Finish


@dataclass(frozen=True, kw_only=True)
class Completion:
    """The generated continuation of one row.

    Attributes:
        text: without special tokens, cut before the first stop string; white space around it is kept.
        ids: the generated ids without the token that ended them.
        finish: ``stop`` after an end token or a stop string, else ``length``.
        new_tokens: how many were generated, the token that ended them included.
    """

    text: str
    ids: tuple[int, ...]
    finish: Finish
    new_tokens: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of a row beside its inputs.

    Attributes:
        name: the request's id, which sampling depends on.
        opened: the tag by which its prompt opened the model's thinking; it becomes the start of the text.
    """

    name: str
    opened: str = ""
