"""IMU recordings: npy or csv to six channels at 200 Hz."""

import csv
import math
from io import BytesIO, StringIO

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import MediaError
from anymal_eval.media.location import Opener, read_bytes, reason, window
from anymal_eval.records import Media

RATE = 200
CHANNELS = 6
GAP_S = 0.5
"""A longer gap in a recording is refused: interpolation across it would invent data."""
UNITS = {"_ms": 1e-3, "_us": 1e-6, "_ns": 1e-9}

Track = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Times (n,) in seconds, increasing; values (6, n)."""


def load_imu(media: Media, opener: Opener | None = None) -> NDArray[np.float32]:
    """Read an IMU recording: float32 (6, samples) at 200 Hz, channels in the file's order and units.

    Three layouts: npy (6, n), taken as 200 Hz from 0 s; npy (n, 7), its first column in seconds; csv with a header, its
    first column a time (``time``, ``t``, or a name with ``time`` in it; in seconds, or by the suffix ``_ms``, ``_us``,
    ``_ns``), then six channels. The window [start_s, end_s) is in the file's own time, cut to the recording. Sample j
    is at start + j / 200 s. Values are interpolated linearly; a recording faster than 200 Hz is first interpolated to a
    multiple of 200 Hz, then reduced with the anti-alias filter of ``scipy.signal.resample_poly``.

    Raises:
        MediaError: the file is missing or of another layout, holds NaN, times that do not increase, a gap of over
            0.5 s in the window, or nothing in the window.
    """
    start, end = window(media)
    content = read_bytes(media, opener)
    try:
        times, values = read_npy(content) if content.startswith(b"\x93NUMPY") else read_csv(content)
        check(times, values)
        if media.start_s is None:
            start = times[0]
        return resample(times, values, start, end).astype(np.float32)
    except (ValueError, EOFError, OSError, MemoryError, csv.Error) as error:
        raise MediaError(f"{media.uri}: the motion cannot be read: {reason(error)}") from error


def read_npy(content: bytes) -> Track:
    """Read npy bytes.

    Raises:
        ValueError: neither (6, n) nor (n, 7), or both.
    """
    array = np.load(BytesIO(content), allow_pickle=False)
    if array.dtype.kind not in "fiu" or array.ndim != 2:
        raise ValueError(f"an array {array.shape} of {array.dtype} where numbers (6, n) or (n, 7) were due")
    if array.shape == (CHANNELS, CHANNELS + 1):
        raise ValueError("an array (6, 7) is ambiguous: 7 samples, or 6 samples with their times")
    table = array.astype(np.float64)
    if table.shape[0] == CHANNELS:
        return np.arange(table.shape[1]) / RATE, table
    if table.shape[1] == CHANNELS + 1:
        return table[:, 0], table[:, 1:].T
    raise ValueError(f"an array {array.shape} where (6, n) or (n, 7) was due")


def read_csv(content: bytes) -> Track:
    """Read csv bytes.

    Raises:
        ValueError: not text, no header, not seven columns, or a cell that is no number.
    """
    rows = csv.reader(StringIO(content.decode("utf-8-sig")))
    header = [name.strip().lower() for name in next(rows, [])]
    if len(header) != CHANNELS + 1 or not ("time" in header[0] or header[0] == "t"):
        raise ValueError(f"a header of a time and six channels was due, not {','.join(header)[:80]!r}")
    cells = []
    for number, row in enumerate(rows, start=2):
        if row and len(row) != CHANNELS + 1:
            raise ValueError(f"line {number} has {len(row)} cells, not {CHANNELS + 1}")
        if row:
            cells.append([float(cell) for cell in row])
    table = np.array(cells, np.float64).reshape(-1, CHANNELS + 1)
    return table[:, 0] * UNITS.get(header[0][-3:], 1.0), table[:, 1:].T


def check(times: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Refuse an invalid recording.

    Raises:
        ValueError: no samples, NaN or infinity, or times that do not increase.
    """
    if not len(times):
        raise ValueError("it holds no samples")
    if not np.isfinite(times).all() or not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinity")
    if (np.diff(times) <= 0).any():
        raise ValueError(f"its times do not rise after sample {int(np.argmax(np.diff(times) <= 0))}")


def resample(
    times: NDArray[np.float64], values: NDArray[np.float64], start: float, end: float | None
) -> NDArray[np.float64]:
    """Resample a window to 200 Hz: (6, samples).

    Raises:
        ValueError: nothing was recorded in the window, or it has a gap.

    >>> ramp = np.tile(np.array([0.0, 1.0, 2.0]), (6, 1))
    >>> resample(np.array([0.0, 0.01, 0.02]), ramp, 0.0, None)[0].tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0]
    """
    start = max(start, float(times[0]))
    count = math.floor((float(times[-1]) - start) * RATE + 1e-6) + 1
    if end is not None:
        count = min(count, math.ceil((end - start) * RATE - 1e-6))
    if count < 1:
        raise ValueError(f"nothing was recorded from {start:g} s to {'the end' if end is None else f'{end:g} s'}")
    inside = times[max(0, np.searchsorted(times, start, "right") - 1) :]
    inside = inside[: np.searchsorted(inside, start + (count - 1) / RATE, "left") + 1]
    gaps = np.diff(inside)
    if len(gaps) and gaps.max() > GAP_S:
        raise ValueError(f"a hole of {gaps.max():.3g} s after {inside[int(gaps.argmax())]:g} s")
    faster = 1 if not len(gaps) else max(1, math.ceil(1 / (float(np.median(gaps)) * RATE) - 0.01))
    if faster == 1:
        return interpolate(start + np.arange(count) / RATE, times, values)
    # Imported here: it takes a second, and most recordings are at 200 Hz or below.
    from scipy.signal import resample_poly

    margin = 16  # output samples; the filter reaches 10 to either side, so the window's edges are exact
    grid = start + np.arange(-margin * faster, (count + margin) * faster) / (RATE * faster)
    fine = interpolate(grid, times, values)
    coarse: NDArray[np.float64] = resample_poly(fine, 1, faster, axis=1)[:, margin : margin + count]
    return coarse


def interpolate(
    grid: NDArray[np.float64], times: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Linear interpolation: values (6, len(grid)); before and after the samples, the first and last value."""
    return np.stack([np.interp(grid, times, channel) for channel in values])
