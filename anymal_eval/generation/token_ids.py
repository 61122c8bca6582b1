"""Where a prompt ends and an answer begins."""

from collections.abc import Sequence


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many ids both begin with."""
    for place, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return place
    return min(len(left), len(right))


def joined(text: str, answer: str) -> str:
    """Text and answer with one space between, where none is there."""
    if not text or not answer or text[-1].isspace() or answer[:1].isspace():
        return text + answer
    return f"{text} {answer}"
