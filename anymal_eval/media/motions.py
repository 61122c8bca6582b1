"""IMU recordings in any process: bytes to times and values, and to the grid of 200 Hz."""

import codecs
import csv
import math
import re
from array import array
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from anymal_eval.media.broken import Broken, Truncated
from anymal_eval.media.budget import MediaBudget
from anymal_eval.media.sounds import check_reach

RATE = 200
CHANNELS = 6
GAP_S = 0.5
"""A longer gap in a recording is refused: interpolation across it would invent data."""
UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "milli", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "usec", "micros", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nanos", "nanosecond", "nanoseconds"), 1e-9),
}
# ``time_ms``, ``Time (ms)``, ``t[ms]``, ``timestamp ms``, ``elapsed/ms``, ``ms``.
_UNIT = re.compile(r"(.*?)([\s_./\-(\[]*)(" + "|".join(sorted(UNITS, key=len, reverse=True)) + r")[)\]]?")
LINE_BYTES = 1 << 17
MARGIN = 16  # output samples; the anti-alias filter reaches 10 to either side, so the window's edges are exact

Numbers = NDArray[np.float64]
Track = tuple[Numbers, Numbers]
"""Times (n,) in seconds, increasing; values (6, n)."""


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


def read_csv(file: BinaryIO, budget: MediaBudget) -> Track:
    """Read a csv file.

    Raises:
        Broken: no header, not seven columns, or a cell that is no number.
        Truncated: that is so in the last line alone.
        UnicodeDecodeError: it is no text.
    """
    rows = csv.reader(_lines(file))
    header = [name.strip().lower() for name in next(rows, [])]
    unit = _unit(header[0]) if len(header) == CHANNELS + 1 else None
    if unit is None:
        raise Broken(f"a header of a time and six channels was due, not {','.join(header)[:80]!r}")
    cells = array("d")
    wrong = ""
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if wrong:
            raise Broken(wrong)
        try:
            numbers = [float(cell) for cell in row]
        except ValueError as error:
            wrong = f"line {number}: {error}"
            continue
        if len(row) != CHANNELS + 1:
            wrong = f"line {number} has {len(row)} cells, not {CHANNELS + 1}"
        cells.extend(numbers)
        budget.hold("motion_samples", len(cells) // (CHANNELS + 1), f"{number} lines")
    if wrong:
        raise Truncated(f"{wrong}, and is the last one")
    table = np.frombuffer(cells, np.float64).reshape(-1, CHANNELS + 1)
    return table[:, 0] * unit, table[:, 1:].T


def _unit(name: str) -> float | None:
    """Seconds in one step of a column of times, by its name in lower case; None where it is no name of times.

    >>> _unit("timestamp_ms"), _unit("time (us)"), _unit("ms"), _unit("t"), _unit("times"), _unit("gyro_ms")
    (0.001, 1e-06, 0.001, 1.0, 1.0, None)
    """
    found = _UNIT.fullmatch(name)
    word, apart, unit = found.groups() if found is not None else (name, "", "s")
    if found is not None and not apart and word not in ("", "t", "time", "timestamp"):
        word, unit = name, "s"  # the end of another word
    return UNITS[unit] if "time" in word or word in ("", "t", "stamp", "elapsed") else None


def _lines(file: BinaryIO) -> Iterator[str]:
    """Lines of UTF-8, one in memory at a time.

    Raises:
        Broken: one is longer than any row of seven numbers.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    while line := file.readline(LINE_BYTES):
        if len(line) == LINE_BYTES:
            raise Broken(f"a line of {LINE_BYTES} bytes or more")
        yield decoder.decode(line)
    decoder.decode(b"", final=True)


def check(times: Numbers, values: Numbers) -> None:
    """Refuse an invalid recording.

    Raises:
        Broken: no samples, NaN or infinity, or times that do not increase.
    """
    if not len(times):
        raise Broken("it holds no samples")
    if not np.isfinite(times).all() or not all(np.isfinite(channel).all() for channel in values):
        raise Broken("it holds NaN or infinity")
    falling = times[1:] <= times[:-1]
    if falling.any():
        raise Broken(f"its times do not rise after sample {int(np.argmax(falling))}")
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
