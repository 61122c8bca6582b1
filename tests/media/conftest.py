"""Media made on the spot: nothing here was downloaded."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from anymal_eval.media.reader import MediaReader

MakeClip = Callable[..., Path]
BITS = 8


def paint(number: int, height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    """A frame whose upper half says its number, in eight black or white bars; noise below keeps codecs busy."""
    frame = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for bit in range(BITS):
        frame[: height // 2, bit * width // BITS : (bit + 1) * width // BITS] = 255 * (number >> bit & 1)
    return frame


def painted(frames: NDArray[np.uint8]) -> list[int]:
    """The numbers painted on frames (k, height, width, 3)."""
    bars = frames[:, : frames.shape[1] // 2].mean(axis=(1, 3)).reshape(len(frames), BITS, -1).mean(axis=2)
    return [int(sum(1 << bit for bit in range(BITS) if row[bit] > 127)) for row in bars]


def write_clip(
    path: Path,
    times_ms: Sequence[int],
    codec: str = "ffv1",
    pix_fmt: str = "bgr0",
    options: dict[str, str] | None = None,
    size: tuple[int, int] = (64, 64),
) -> Path:
    """Write a clip that shows frame i, its number painted on it, from ``times_ms[i]`` on."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        container.start_encoding()
        for number, time in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(paint(number, *size), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def beat(count: int, every_ms: int = 100) -> list[int]:
    """The times of ``count`` frames at a steady rate."""
    return [number * every_ms for number in range(count)]


@pytest.fixture(scope="module")
def reader() -> Iterator[MediaReader]:
    with MediaReader(timeout_s=60) as reader:
        yield reader


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    def make(name: str, times_ms: Sequence[int], **how: Any) -> Path:
        return write_clip(tmp_path / name, times_ms, **how)

    return make


@pytest.fixture
def read_numbers() -> Callable[[NDArray[np.uint8]], list[int]]:
    return painted


@pytest.fixture
def painting() -> Callable[..., NDArray[np.uint8]]:
    return paint


@pytest.fixture
def steady() -> Callable[..., list[int]]:
    return beat
