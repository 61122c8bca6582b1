"""IMU recordings: a medium to six channels at 200 Hz."""

import numpy as np
from numpy.typing import NDArray

from anymal_eval.media.broken import failures_of
from anymal_eval.media.location import Opener, file_path, read_bytes, window
from anymal_eval.media.motions import decode
from anymal_eval.media.pool import DecoderPool
from anymal_eval.records import Media

HERE = 8 << 20
"""Bytes of a file up to which it is read in this process: ten minutes of csv at 200 Hz."""


def load_imu(media: Media, pool: DecoderPool, opener: Opener | None = None) -> NDArray[np.float32]:
    """Read an IMU recording: float32 (6, samples) at 200 Hz, accelerometer x y z then gyroscope x y z, in its units.

    Three layouts: npy (6, n), taken as 200 Hz from 0 s; npy (n, 7), its first column in seconds; csv with a header,
    whose columns are found by their names, in any order: a time (``time``, ``t``, or a name with ``time`` in it; in
    seconds, or by the suffix ``_ms``, ``_us``, ``_ns``; ``canonical_timestamp_ms`` before any other) and six channels
    (``accl_x``, ``acc_x``, ``ax``, ``gyro_x``, ``gyr_x``, ``gx`` and the like). An empty cell is 0, a row without a
    time is left out. The channels of an npy are in that order already.

    The window [start_s, end_s) is in the file's own time, cut to the recording, and may end after it by 1 s and a tenth
    of its length. Sample j is at start + j / 200 s. Values are interpolated linearly; a recording faster than 200 Hz is
    first interpolated to a multiple of 200 Hz, then reduced with the anti-alias filter of
    ``scipy.signal.resample_poly``.

    Large files are read in the pool, under its limits of memory and time.

    Raises:
        MediaTruncated: it has less than its header states, half a last line, or ends long before the window.
        MediaError: the file is missing or of another layout, over the budget, holds NaN, or in the window times that do
            not increase, a gap of over 0.5 s, or nothing.
        MediaTimeout: the decoder did not finish in time.
    """
    with failures_of(media):
        window(media)
        path = file_path(media)
        content = None if path is not None else read_bytes(media, opener, budget=pool.budget)
        size = path.stat().st_size if path is not None else len(content or b"")
        if path is not None and size == 0:
            read_bytes(media)  # refuses an empty file
        if size > HERE:
            return pool.imu(media, content)
        return decode(path or content or b"", media.start_s, media.end_s, pool.budget)
