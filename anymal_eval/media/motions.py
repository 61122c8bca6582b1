"""IMU recordings in any process: bytes to times and values, and to the grid of 200 Hz."""

import math
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from anymal_eval.media.broken import Broken, Truncated
from anymal_eval.media.budget import MediaBudget
from anymal_eval.media.motion_tables import CHANNELS, Numbers, Track, read_csv
from anymal_eval.media.sounds import check_reach

RATE = 200
GAP_S = 0.5
"""A longer gap in a recording is refused: interpolation across it would invent data."""
MARGIN = 16  # output samples; the anti-alias filter reaches 10 to either side, so the window's edges are exact


def decode(source: Path | bytes, start: float | None, end: float | None, budget: MediaBudget) -> NDArray[np.float32]:
    """Read a recording: float32 (6, samples) at 200 Hz; see ``load_imu`` for the rules. ``start`` None: its begin.

    Raises:
        Broken: it is no such recording; Truncated: it ends early; TooLarge: it is over the budget.
    """
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        npy = file.read(6) == b"\x93NUMPY"
        file.seek(0)
        times, values = read_npy(file, budget) if npy else read_csv(file, budget)
    check(times, values)
    times, values = rising(times, values, start, end)
    check_steps(times)
    begin = float(times[0]) if start is None else start
    found = resample(times, values, begin, end, budget)
    if end is not None:
        check_reach(end, begin, float(times[-1]) + 1 / RATE)
    with np.errstate(over="ignore"):
        narrow = found.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise Broken("its values exceed 32-bit floats")
    return narrow


def read_npy(file: BinaryIO, budget: MediaBudget) -> Track:
    """Read an npy file.

    Raises:
        Broken: neither (6, n) nor (n, 7), or both.
        Truncated: it has fewer bytes than its header states.
    """
    shape, dtype = npy_header(file)
    if dtype.kind not in "fiu" or len(shape) != 2:
        raise Broken(f"an array {shape} of {dtype} where numbers (6, n) or (n, 7) were due")
    if shape == (CHANNELS, CHANNELS + 1):
        raise Broken("an array (6, 7) is ambiguous: 7 samples, or 6 samples with their times")
    budget.hold("motion_samples", max(shape), f"an array {shape}")
    start = file.tell()
    there = file.seek(0, 2) - start
    if there < shape[0] * shape[1] * dtype.itemsize:
        raise Truncated(f"it is truncated: {there} of {shape[0] * shape[1] * dtype.itemsize} bytes of numbers")
    file.seek(0)
    table = np.load(file, allow_pickle=False).astype(np.float64)
    if table.shape[0] == CHANNELS:
        return np.arange(table.shape[1]) / RATE, table
    if table.shape[1] == CHANNELS + 1:
        return table[:, 0], table[:, 1:].T
    raise Broken(f"an array {shape} where (6, n) or (n, 7) was due")


def npy_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of the array of an npy file, whose position is then at its numbers.

    Raises:
        Broken: a version that numpy does not write for numbers.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise Broken(f"npy version {version[0]}.{version[1]} where 1.0 or 2.0 was due")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def check(times: Numbers, values: Numbers) -> None:
    """Refuse an invalid recording.

    Raises:
        Broken: no samples, or NaN or infinity.
    """
    if not len(times):
        raise Broken("it holds no samples")
    if not np.isfinite(times).all() or not all(np.isfinite(channel).all() for channel in values):
        raise Broken("it holds NaN or infinity")


def rising(times: Numbers, values: Numbers, start: float | None, end: float | None) -> Track:
    """The stretch of a recording that holds the window, and in which the times rise.

    Released recordings consist of components whose times may overlap (facebookresearch/Ego4d#158). That does no harm to
    a window that lies in one of them.

    Raises:
        Broken: the times of the window do not rise.
        Truncated: nothing was recorded in the window.
    """
    breaks = np.flatnonzero(times[1:] <= times[:-1])
    if not len(breaks):
        return times, values
    low, high = -math.inf if start is None else start, math.inf if end is None else end
    firsts, lasts = np.append(0, breaks + 1), np.append(breaks, len(times) - 1)
    touched = np.flatnonzero((times[firsts] < high) & (times[lasts] >= low))
    if not len(touched):
        raise Truncated(f"nothing was recorded from {low:g} s to {high:g} s")
    first, last = int(firsts[touched[0]]), int(lasts[touched[0]])
    begins = first == 0 or times[first] <= low
    if len(touched) > 1 or not begins or (last < len(times) - 1 and times[last] + 1 / RATE < high):
        raise Broken(f"its times do not rise after sample {last if last < len(times) - 1 else first - 1}")
    return times[first : last + 1], values[:, first : last + 1]


def check_steps(times: Numbers) -> None:
    """Refuse times that are not seconds.

    Raises:
        Broken: the samples are too far apart.
    """
    with np.errstate(over="ignore"):
        every = float(np.median(np.diff(times[:1000]))) if len(times) > 1 else 0.0
    if every > GAP_S:
        raise Broken(
            f"its samples are {every:g} s apart; if its times are in milliseconds, name their column time_ms in a csv "
            "(time_us, time_ns), or divide those of an npy by 1000"
        )


def resample(
    times: Numbers, values: Numbers, start: float, end: float | None, budget: MediaBudget | None = None
) -> Numbers:
    """Resample a window to 200 Hz: (6, samples).

    Raises:
        Truncated: nothing was recorded in the window.
        Broken: it has a gap.
        TooLarge: it has too many samples.

    >>> ramp = np.tile(np.array([0.0, 1.0, 2.0]), (6, 1))
    >>> resample(np.array([0.0, 0.01, 0.02]), ramp, 0.0, None)[0].tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0]
    """
    budget = budget or MediaBudget()
    start = max(start, float(times[0]))
    seconds = float(times[-1]) - start
    if end is not None:
        seconds = min(seconds, end - start)
    budget.hold("motion_samples", seconds * RATE, f"{seconds:g} s at {RATE} Hz")
    # Beyond the window's end nothing counts: a recording may end at 1e308 s.
    reach = min(float(times[-1]) - start, seconds + 1)
    count = math.floor(reach * RATE + 1e-6) + 1
    if end is not None:
        count = min(count, math.ceil(min(end - start, reach + 1) * RATE - 1e-6))
    if count < 1:
        raise Truncated(f"nothing was recorded from {start:g} s to {'the end' if end is None else f'{end:g} s'}")
    inside = times[max(0, np.searchsorted(times, start, "right") - 1) :]
    inside = inside[: np.searchsorted(inside, start + (count - 1) / RATE, "left") + 1]
    with np.errstate(over="ignore"):
        gaps = np.diff(inside)
    if len(gaps) and gaps.max() > GAP_S:
        raise Broken(f"a hole of {gaps.max():.3g} s after {inside[int(gaps.argmax())]:g} s")
    every = float(np.median(gaps)) * RATE if len(gaps) else 1.0
    budget.hold("motion_samples", count / every if every > 0 else math.inf, f"{count} samples, each from {1 / RATE} s,")
    faster = max(1, math.ceil(1 / every - 0.01))
    if faster == 1:
        return interpolate(start + np.arange(count) / RATE, times, values)
    # Imported here: it takes a second, and most recordings are at 200 Hz or below.
    from scipy.signal import resample_poly

    grid = start + np.arange(-MARGIN * faster, (count + MARGIN) * faster) / (RATE * faster)
    coarse: Numbers = np.empty((len(values), count))
    for number, channel in enumerate(values):  # one at a time: a long recording's grid takes much memory
        fine = np.interp(grid, times, channel)
        coarse[number] = resample_poly(fine, 1, faster)[MARGIN : MARGIN + count]
    return coarse


def interpolate(grid: Numbers, times: Numbers, values: Numbers) -> Numbers:
    """Linear interpolation: values (6, len(grid)); before and after the samples, the first and last value."""
    return np.stack([np.interp(grid, times, channel) for channel in values])
