"""Without a time for each frame no training teaches the order of a clip; the benchmark measures what it does with one.

``python -m benchmarks.frame_order`` trains both; its table is in docs/training.md.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import frame_order
from benchmarks.frame_order import Example


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return frame_order.draw("eval", 3, 0)


def test_the_ceiling_is_that_of_the_best_answers_without_the_order(examples: list[Example]) -> None:
    """By hand: each clip and its reversal share frames, question and options, and have two right answers."""
    assert len(examples) == 12
    assert frame_order.ceiling(examples) == 0.5
    assert len({example.unordered for example in examples}) == 6
    for one, other in zip(examples[::2], examples[1::2], strict=True):
        assert (one.question, one.options) == (other.question, other.options)
        assert (one.frames == other.frames[::-1]).all()
        assert one.answer != other.answer
        assert {one.answer, other.answer} <= set(one.options)
    # Where three of four share an answer, that answer is right on three of four.
    uneven = [replace(examples[0], answer=answer) for answer in ("a", "a", "b", "a")]
    assert frame_order.ceiling(uneven) == 0.75


@pytest.mark.parametrize("times", [True, False])
def test_a_clip_and_its_reversal(times: bool, examples: list[Example], tmp_path: Path) -> None:
    """With any weights: the same tokens without times, and so at most the ceiling; other tokens with them."""
    network = frame_order.build(tmp_path, times=times, seed=0)
    with torch.no_grad():
        tokens = torch.stack(network.project("video", frame_order.encoded(network, examples)))
    gap = (tokens[::2] - tokens[1::2]).abs().max()
    if times:
        assert gap > 1e-3
    else:
        assert gap < 1e-4
        assert frame_order.accuracy(network, examples) <= frame_order.ceiling(examples)
