"""Chance and arithmetic that are the same on every machine: seeded draws, integer noise and sine, split by content."""

import hashlib
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

WorldHalf = Literal["eval", "train"]
Scene = TypeVar("Scene")
Pixel = TypeVar("Pixel", bound=np.generic)

TURN = 1024  # a full turn of the sine table, in steps
ONE = 1 << 14  # the sine's 1.0


def stream(split: WorldHalf, name: str, seed: int, index: int) -> Random:
    """A generator of its own for item ``index``: item 7 is the same among 10 and among 10,000.

    The split is part of the key, so training and evaluation never share a stream whatever their seeds are.

    >>> stream("eval", "vqav2", 0, 3).randrange(1000) == stream("eval", "vqav2", 0, 3).randrange(1000)
    True
    """
    return Random(f"anymal_eval.demo/{split}/{name}/{seed}/{index}")


def content_hash(array: NDArray[Any]) -> str:
    """SHA-256 (hex) of an array's shape, type and bytes: what "the same picture" means in this package."""
    whole = np.ascontiguousarray(array)
    head = f"{whole.dtype.str}{whole.shape}".encode()
    return hashlib.sha256(head + whole.tobytes()).hexdigest()


def split_of(array: NDArray[Any]) -> WorldHalf:
    """The one split this content may occur in: by the last bit of its hash, so the two splits cannot overlap."""
    return "eval" if int(content_hash(array)[-1], 16) % 2 else "train"


def draw_for(
    split: WorldHalf, draw: Callable[[], Scene], render: Callable[[Scene], NDArray[Pixel]]
) -> tuple[Scene, NDArray[Pixel]]:
    """Draw scenes until one's rendered content belongs to ``split`` (two draws on average); the scene and its array."""
    while True:
        scene = draw()
        array = render(scene)
        if split_of(array) == split:
            return scene, array


@cache
def sine_table() -> NDArray[np.int64]:
    """One turn of a sine, (1024,) in [-ONE, ONE], by Bhaskara's rational formula: integers, no float library.

    >>> [int(sine_table()[k]) for k in (0, 256, 512, 768)]
    [0, 16384, 0, -16384]
    """
    half = TURN // 2
    k = np.arange(half, dtype=np.int64)
    rise = k * (half - k)
    positive = (16 * rise * ONE) // (5 * half * half - 4 * rise)
    return np.concatenate([positive, -positive])


def oscillate(frequency: NDArray[np.int64], rate: int) -> NDArray[np.int64]:
    """A sine in [-ONE, ONE] of the frequencies (milli-hertz, one a sample) at ``rate`` samples a second."""
    step = (frequency << 20) // (1000 * rate)  # 2^20 is a full turn
    turns: NDArray[np.int64] = sine_table()[(np.cumsum(step) >> 10) % TURN]
    return turns


def noise(key: int, count: int, amplitude: int) -> NDArray[np.int64]:
    """White noise in [-amplitude, amplitude], (count,): SplitMix64 over the index, no library's stream."""
    with np.errstate(over="ignore"):
        state = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(key)) * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(33)).astype(np.int64) % (2 * amplitude + 1) - amplitude
