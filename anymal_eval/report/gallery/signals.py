"""Recordings as the pages show them: the waveform, loudness and spectrogram of a sound, the channels of a motion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 180  # of a waveform
COLUMNS, BANDS = 360, 96  # of a spectrogram
WINDOW = 2048  # samples of one spectrum
MOST_WINDOWS = 2_000  # of a recording; a longer one is sampled at equal distances
LOWEST = 40.0  # Hz, the lower edge of a spectrogram
RANGE_DB = 80.0  # below the loudest point, from which a spectrogram is black
SILENT_DB = -99.0
MOTION_RATE = 200  # samples per second
MOTION_POINTS = 240
GRAVITY = {"m/s²": (8.5, 11.0), "g": (0.85, 1.15)}  # the range of the median acceleration, by unit
MOST_RADIANS = 35.0  # per second: gyroscopes measure up to 2,000 degrees per second


def waveform(sound: NDArray[np.float32]) -> dict[str, Any]:
    """Peaks and mean levels (RMS) of ``BINS`` parts in percent of the overall peak, and both levels in dBFS.

    Args:
        sound: float32 (samples,) in [-1, 1], at least one.

    >>> drawn = waveform(np.tile(np.float32([0.5, -0.5]), 500))
    >>> drawn["peaks"][:2], drawn["rms"][:2], drawn["peakDb"], drawn["rmsDb"]
    ([100, 100], [100, 100], -6.0, -6.0)
    """
    edges = np.linspace(0, len(sound), min(BINS, len(sound)) + 1).astype(int)
    highest = np.maximum.reduceat(np.abs(sound), edges[:-1])
    power = np.add.reduceat(np.square(sound), edges[:-1], dtype=np.float64)
    levels = np.sqrt(power / np.diff(edges))
    top = float(highest.max())
    return {
        "peaks": _percent(highest, top),
        "rms": _percent(levels, top),
        "peakDb": _decibels(top),
        "rmsDb": _decibels(math.sqrt(float(power.sum()) / len(sound))),
    }


def peaks(values: NDArray[np.float32]) -> list[int]:
    """The peak of each of ``BINS`` parts, in percent of the overall peak."""
    edges = np.linspace(0, len(values), min(BINS, len(values)) + 1).astype(int)[:-1]
    highest = np.maximum.reduceat(np.abs(values), edges)
    return _percent(highest, float(highest.max()))


def spectrogram(sound: NDArray[np.float32], rate: int) -> tuple[Image.Image, float]:
    """The spectrogram of a sound: time to the right, frequency upwards from ``LOWEST``, logarithmic.

    Each point is the mean power in its band, in decibels below the loudest one, down to ``RANGE_DB``.

    Returns:
        The picture, and its upper edge in Hz: that of the highest band that is not black, at most rate / 2.
    """
    import matplotlib

    size = min(WINDOW, max(256, 1 << (len(sound) // 8).bit_length()))
    padded = np.pad(sound, (0, max(0, size - len(sound))))
    count = min(MOST_WINDOWS, max(COLUMNS, len(sound) * 4 // size))
    starts = np.linspace(0, len(padded) - size, count).astype(int)
    window = np.hanning(size).astype(np.float32)
    power = np.empty((count, size // 2 + 1), np.float32)
    for at in range(0, count, 256):  # in parts, so that memory stays small
        pieces = padded[starts[at : at + 256, None] + np.arange(size)] * window
        power[at : at + 256] = np.square(np.abs(np.fft.rfft(pieces, axis=1)))
    columns = np.add.reduceat(power, np.arange(COLUMNS) * count // COLUMNS, axis=0)
    columns /= np.diff([*(np.arange(COLUMNS) * count // COLUMNS), count])[:, None]
    levels = 10 * np.log10(np.maximum(columns @ _bands(size, rate).T, 1e-12))
    shade = np.clip((levels - levels.max()) / RANGE_DB + 1, 0, 1)
    bands = int(np.flatnonzero(shade.max(axis=0) > 0)[-1]) + 1
    pixels: NDArray[np.uint8] = matplotlib.colormaps["magma"](shade[:, :bands].T[::-1], bytes=True)[..., :3]
    return Image.fromarray(np.ascontiguousarray(pixels)), float(_edges(rate)[bands + 1])


def ticks(top: float) -> list[tuple[str, float]]:
    """Labels of a spectrogram's frequency axis, with their height from 0 (bottom) to 1.

    >>> ticks(4_000.0)
    [('100 Hz', 0.199), ('1 kHz', 0.699)]
    """
    span = math.log(top / LOWEST)
    shown = ((100, "100 Hz"), (1_000, "1 kHz"), (10_000, "10 kHz"))
    return [(name, round(math.log(hertz / LOWEST) / span, 3)) for hertz, name in shown if hertz < 0.9 * top]


def _edges(rate: int) -> NDArray[np.float64]:
    return np.geomspace(LOWEST, rate / 2, BANDS + 2)


def _bands(size: int, rate: int) -> NDArray[np.float32]:
    """Triangles of equal width on the logarithmic axis: (BANDS, size // 2 + 1), each of sum 1."""
    centres = _edges(rate)
    found = np.fft.rfftfreq(size, 1 / rate)
    low, middle, high = centres[:-2, None], centres[1:-1, None], centres[2:, None]
    weights = np.clip(np.minimum((found - low) / (middle - low), (high - found) / (high - middle)), 0, None)
    # Low bands are narrower than the distance of two frequencies: they take the nearest one.
    nearest = np.abs(found - centres[1:-1, None]).argmin(axis=1)
    empty = weights.sum(axis=1) == 0
    weights[empty, nearest[empty]] = 1
    bands: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return bands


def motion(recording: NDArray[np.float32]) -> dict[str, Any]:
    """A motion for the page: channels without the mean of the acceleration, which is gravity, and their units.

    Units are inferred, because files do not state them: acceleration from the size of gravity, and rotation, where that
    is in m/s², from its range.

    Args:
        recording: float32 (6, samples) at 200 Hz, accelerometer x y z then gyroscope x y z.
    """
    size = float(np.median(np.linalg.norm(recording[:3], axis=0)))
    unit = next((name for name, (low, high) in GRAVITY.items() if low <= size <= high), "")
    turning = "" if not unit else "rad/s" if float(np.abs(recording[3:]).max()) <= MOST_RADIANS else "°/s"
    gravity = recording[:3].mean(axis=1, keepdims=True)
    moving = np.concatenate([recording[:3] - gravity, recording[3:]])
    step = max(1, -(-recording.shape[1] // MOTION_POINTS))
    kept = moving[:, : recording.shape[1] // step * step].reshape(len(recording), -1, step).mean(axis=2)
    return {
        "seconds": round(recording.shape[1] / MOTION_RATE, 2),
        "channels": [[round(float(value), 3) for value in channel] for channel in kept],
        "gravity": [round(float(value), 2) for value in gravity[:, 0]],
        "size": round(size, 2),
        "units": [unit, turning],
        "peaks": peaks(np.abs(recording - recording.mean(axis=1, keepdims=True)).max(axis=0)),
    }


def _percent(values: NDArray[Any], top: float) -> list[int]:
    return [round(100 * float(value) / top) if top > 0 else 0 for value in values]


def _decibels(level: float) -> float:
    return max(SILENT_DB, round(20 * math.log10(level), 1)) if level > 0 else SILENT_DB
