"""Audio: a medium to mono float32 at the sample rate of the model."""

import numpy as np
from numpy.typing import NDArray

from anymal_eval.media.broken import NotThisKind, failures_of
from anymal_eval.media.location import Opener, file_path, read_bytes, window
from anymal_eval.media.pool import DecoderPool
from anymal_eval.media.sounds import decode, is_known, plan
from anymal_eval.records import Media

HERE = 64 << 20
"""Bytes of decoding up to which a sound is decoded in this process: two minutes at 48 kHz."""


def load_audio(media: Media, sample_rate: int, pool: DecoderPool, opener: Opener | None = None) -> NDArray[np.float32]:
    """Decode audio: float32 (samples,) in [-1, 1] at ``sample_rate`` Hz, the mean of its channels.

    ``start_s`` and ``end_s`` cut before resampling, at the nearest sample. A window may end after the recording by 1 s
    and a tenth of its length, and is then cut at the recording's end. libsndfile (wav, flac, mp3, ogg, aiff) reads
    first; FFmpeg, in the pool, reads what libsndfile cannot open, such as a video's sound track. Long sounds are
    decoded in the pool, under its limits of memory and time. Resampling is soxr's HQ, its overshoot clipped.

    Raises:
        MediaTruncated: it is shorter than its header states, or ends long before the window.
        MediaError: the file is missing, no audio, damaged, over the budget, holds NaN, or has 0 s in the window.
        MediaTimeout: the decoder did not finish in time.
    """
    with failures_of(media):
        part = window(media)
        path = file_path(media)
        content = None if path is not None else read_bytes(media, opener, budget=pool.budget)
        source = path or content or b""
        try:
            if is_known(source) and plan(source, part, sample_rate, pool.budget).cost <= HERE:
                return decode(source, part, sample_rate)
        except NotThisKind:
            pass
        return pool.audio(media, sample_rate, content)
