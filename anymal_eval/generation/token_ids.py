"""Token ids where a prompt ends and an answer starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from anymal_eval.errors import RequestFailed

Ids = TypeVar("Ids", list[int], tuple[int, ...])
OptionTokenIds = tuple[tuple[int, ...], ...]


def shared_prefix_length(*sequences: Ids) -> int:
    """How many ids all sequences start with; 0 without a sequence.

    >>> shared_prefix_length([1, 2, 3], [1, 2, 4], [1, 2])
    2
    """
    if not sequences:
        return 0
    low, high = min(sequences), max(sequences)  # in lexicographic order: no other two differ earlier
    return next((place for place, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))


def join_with_space(text: str, answer: str) -> str:
    """Text and answer, with one space between them unless there is white space already or one of them is empty.

    >>> join_with_space("Answer:", "yes"), join_with_space("Answer: ", "yes"), join_with_space("Answer:", "")
    ('Answer: yes', 'Answer: yes', 'Answer:')
    """
    if not text or not answer or text[-1].isspace() or answer[0].isspace():
        return text + answer
    return f"{text} {answer}"


def option_token_ids(prompt: list[int], with_option: Sequence[list[int]]) -> tuple[int, OptionTokenIds]:
    """Split tokenised prompts with options into the prompt that they share and the ids of each option.

    A tokenizer may merge the end of a prompt with the start of an option, so an option's ids start where the
    sequences part, not where the prompt ends.

    Args:
        prompt: the ids of the prompt alone.
        with_option: for each option the ids of the prompt with the option after it.

    Returns:
        How many of the prompt's ids all sequences share, and for each option the ids that follow these.

    Raises:
        RequestFailed: an option adds no token to the prompt.

    >>> option_token_ids([1, 2, 3], [[1, 2, 3, 7], [1, 2, 9, 7]])
    (2, ((3, 7), (9, 7)))
    """
    shared = shared_prefix_length(prompt, *with_option)
    options = tuple(tuple(ids[shared:]) for ids in with_option)
    if not all(options):
        raise RequestFailed(f"option {options.index(()) + 1} of {len(options)} adds no token to the prompt")
    return shared, options
