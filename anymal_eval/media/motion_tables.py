"""Motions as csv tables: columns found by their names, as Ego4D's and other recorders' files have them.

Ego4D releases one file a video (EGO4D/docs, "IMU") with the header::

    component_idx,component_timestamp_ms,canonical_timestamp_ms,gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z

``canonical_timestamp_ms`` is the time in the released video, and empty where the video was trimmed. IMU2CLIP's weights
expect the accelerometer before the gyroscope and were trained with empty cells as zeros.
"""

import codecs
import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from anymal_eval.media.broken import Broken, Truncated
from anymal_eval.media.budget import MediaBudget

ORDER = ("accl_x", "accl_y", "accl_z", "gyro_x", "gyro_y", "gyro_z")
CHANNELS = len(ORDER)
LINE_BYTES = 1 << 17
UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "milli", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "usec", "micros", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nanos", "nanosecond", "nanoseconds"), 1e-9),
}
CANONICAL, COMPONENT = "canonical_timestamp_ms", "component_timestamp_ms"
# ``time_ms``, ``Time (ms)``, ``t[ms]``, ``timestamp ms``, ``elapsed/ms``, ``ms``.
_UNIT = re.compile(r"(.*?)([\s_./\-(\[]*)(" + "|".join(sorted(UNITS, key=len, reverse=True)) + r")[)\]]?")
_BRACKETS = re.compile(r"[(\[].*")
_APART = re.compile(r"[\s_./\-]+")
# ``acc_x``, ``accl_x``, ``AccelerometerX``, ``linear_acceleration.x``, ``ax``, ``acc_x_mps2``; ``gyr_x`` and so on.
_SENSOR = re.compile(
    r"(?:(?P<accl>a|acc|accl|accel|(?:user|linear|lin)?(?:acc|accel|acceleration)|accelerometer)"
    r"|(?P<gyro>g|w|gyr|gyro|gyros|gyroscope|omega|angularvelocity|angvel|rotation|rotationrate))"
    r"(?P<axis>[xyz])(?:g|mps2|ms2|rads|radps|dps|deg|degs)?"
)

Numbers = NDArray[np.float64]
Track = tuple[Numbers, Numbers]
"""Times (n,) in seconds, as recorded; values (6, n)."""


def read_csv(file: BinaryIO, budget: MediaBudget) -> Track:
    """Read a csv file: accelerometer x y z, then gyroscope x y z, in whatever order its columns are.

    An empty cell is 0; a row without a time is left out. Other columns are not read.

    Raises:
        Broken: no header with a time and the six channels, or a cell that is no number.
        Truncated: that is so in the last line alone.
        UnicodeDecodeError: it is no text.
    """
    rows = csv.reader(_lines(file))
    header = [name.strip().lower() for name in next(rows, [])]
    unit, columns = find_columns(header)
    pick = itemgetter(*columns)
    cells = array("d")
    wrong = ""
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if wrong:
            raise Broken(wrong)
        if len(row) != len(header):
            wrong = f"line {number} has {len(row)} cells, not {len(header)}"
            continue
        try:
            cells.extend(_numbers(pick(row)))
        except ValueError as error:
            wrong = f"line {number}: {error}"
            continue
        budget.hold("motion_samples", number - 1, f"{number} lines")
    if wrong:
        raise Truncated(f"{wrong}, and is the last one")
    table = np.frombuffer(cells, np.float64).reshape(-1, CHANNELS + 1)
    return table[:, 0] * unit, table[:, 1:].T


def find_columns(header: Sequence[str]) -> tuple[float, list[int]]:
    """Seconds in one step of the time, and the places of the time and of the six channels.

    A time and six columns of which none is named after a sensor are in our order.

    Args:
        header: names of columns, in lower case.

    Raises:
        Broken: one is missing, or there are two of it.

    >>> find_columns(["component_idx", "component_timestamp_ms", "canonical_timestamp_ms",
    ...               "gyro_x", "gyro_y", "gyro_z", "accl_x", "accl_y", "accl_z"])
    (0.001, [2, 6, 7, 8, 3, 4, 5])
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        places.setdefault(_channel(name) or "", []).append(place)
    if len(header) == CHANNELS + 1 and len(places) == 1 and (unit := _unit(header[0])) is not None:
        return unit, list(range(len(header)))
    times = [place for place in places.get("", []) if header[place] and _unit(header[place]) is not None]
    preferred = [place for place in times if header[place] == CANONICAL]
    preferred = preferred or [place for place in times if header[place] != COMPONENT] or times
    # A table may have its times as an index, whose column has no name.
    found = {"time": preferred or [place for place, name in enumerate(header) if not name]}
    found |= {name: places.get(name, []) for name in ORDER}
    for name, candidates in found.items():
        if len(candidates) > 1:
            both = " and ".join(repr(header[place]) for place in candidates[:2])
            raise Broken(f"its columns {both} are both {name}; keep one of them")
        if not candidates:
            raise Broken(
                f"a header of a time and six channels was due, such as time,{','.join(ORDER)}, "
                f"not {','.join(header)[:80]!r}: it has no {name}"
            )
    columns = [candidates[0] for candidates in found.values()]
    return _unit(header[columns[0]]) or 1.0, columns


def _channel(name: str) -> str | None:
    """The channel of a column by its name in lower case; None where it is none.

    >>> _channel("acc_x"), _channel("linear_acceleration.y (m/s2)"), _channel("gz"), _channel("temperature")
    ('accl_x', 'accl_y', 'gyro_z', None)
    """
    found = _SENSOR.fullmatch(_APART.sub("", _BRACKETS.sub("", name)))
    if found is None:
        return None
    return f"{'accl' if found['accl'] else 'gyro'}_{found['axis']}"


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


def _numbers(row: Sequence[str]) -> list[float]:
    """A time and six values; nothing where the time is empty."""
    try:
        return [float(cell) for cell in row]
    except ValueError:
        time, *values = ["" if cell.strip().lower() == "null" else cell.strip() for cell in row]
        numbers = [float(cell or 0) for cell in values]
        return [float(time), *numbers] if time else []


def _lines(file: BinaryIO) -> Iterator[str]:
    """Lines of UTF-8, one in memory at a time.

    Raises:
        Broken: one is longer than any row of numbers.
        Truncated: the last one ends after a comma.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    while line := file.readline(LINE_BYTES):
        if len(line) == LINE_BYTES:
            raise Broken(f"a line of {LINE_BYTES} bytes or more")
        if line.endswith(b","):
            raise Truncated("its last line ends after a comma")
        yield decoder.decode(line)
    decoder.decode(b"", final=True)
