"""The frames of an MP3 or AAC file, found without decoding: whether the last one is whole."""

import re
from collections.abc import Callable

from anymal_eval.media.broken import Truncated

V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
RATES = (44_100, 48_000, 32_000)
SYNC = re.compile(rb"\xff[\xe0-\xff]")
SEARCHED = 1 << 16  # bytes after the tag
SURE = 2  # frames before the one that is cut off: a header is only 11 bits that bytes of another format may have

Form = Callable[[bytes], tuple[int, int, int] | None]


def frame(head: bytes) -> tuple[int, int, int] | None:
    """Bytes, samples and sample rate in Hz of the layer III frame with this header of 4 bytes; None: it is no header.

    >>> frame(bytes([0xFF, 0xFB, 0x90, 0x00]))
    (417, 1152, 44100)
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version = head[1] >> 3 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bits in (0, 15) or rate == 3:
        return None
    kilobits = (V1 if version == 3 else V2)[bits]
    hertz = RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 1152 if version == 3 else 576
    return samples // 8 * kilobits * 1000 // hertz + (head[2] >> 1 & 1), samples, hertz


def after_tag(content: bytes) -> int:
    """Where the sound starts: behind an ID3v2 tag, whose size is in four times seven bits."""
    if content[:3] != b"ID3" or len(content) < 10:
        return 0
    return 10 + sum(byte << 7 * (3 - place) for place, byte in enumerate(content[6:10]))


def adts_frame(head: bytes) -> tuple[int, int, int] | None:
    """As ``frame``, of raw AAC (ADTS)."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return (length, 1024, head[2] >> 2 & 15) if length >= 7 else None


def check_frames(content: bytes) -> int:
    """The number of frames of MP3 or raw AAC that follow each other; 0 where there are none.

    Raises:
        Truncated: the last one is cut off.
    """
    place = after_tag(content)
    found = None if content[place : place + 4] == b"fLaC" else first_frame(content[: place + SEARCHED], place)
    return 0 if found is None else _walk(content, *found)


def first_frame(content: bytes, place: int = 0) -> tuple[int, Form] | None:
    """Where two frames follow each other, and of which form; None: nowhere in the first kilobytes."""
    for form in (frame, adts_frame):
        first = _first(content, place, form)
        if first is not None:
            return first, form
    return None


def _first(content: bytes, place: int, form: Form) -> int | None:
    # Encoders pad their tags.
    for found in SYNC.finditer(content, place, place + SEARCHED):
        one = form(content[found.start() : found.start() + 7])
        if one is not None and form(content[found.start() + one[0] : found.start() + one[0] + 7]) is not None:
            return found.start()
    return None


def _walk(content: bytes, place: int, form: Form) -> int:
    count, hertz = 0, 0
    while (one := form(content[place : place + 7])) is not None and (not hertz or one[2] == hertz):
        length, _, hertz = one
        if place + length > len(content) and count >= SURE:
            raise Truncated(f"it is truncated: {len(content) - place} of {length} bytes of its last frame")
        place, count = place + length, count + 1
    return count
