"""What files of sound, and some of pictures, declare: their length in bytes, against what the file holds.

libsndfile reads what is there and names no shortfall for most formats. These headers are simple; each check reads a few
bytes. Sizes that programs write into a pipe, whose header they cannot return to, declare nothing.
"""

import os
import struct
from collections.abc import Callable
from io import BytesIO
from typing import BinaryIO

from anymal_eval.media.broken import Truncated
from anymal_eval.media.mp3 import check_frames

# 0: closed without a size (Python, sox). 0xFFFFFFFF: FFmpeg. 0x7FFFFFFF, 0x80000000: LAME, arecord. 0x7FFFF000: sox.
STREAMED = frozenset({0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF000})
STREAMED_RIFF = STREAMED | {0x7FFFF024, 0xFFFFFFFF - 8}
W64_STREAMED = 1 << 62
BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"meta"})
READ = 256 << 20
CHUNKS = 10_000  # before the sound; a file has about ten
LAST_PAGE = 4 << 20  # bytes from the end of an Ogg file in which its last page, of at most 65,307 bytes, is sought


def check_complete(file: BinaryIO) -> None:
    """Compare what a sound file declares with its size; formats that declare nothing here pass.

    Args:
        file: a seekable file; its position is moved.

    Raises:
        Truncated: names both lengths.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    for magic, check in CHECKS.items():
        if head.startswith(magic):
            try:
                check(file, size)
            except struct.error as error:
                raise Truncated("it ends in its header") from error
            return


def hold(declared: int, there: int, what: str = "bytes of sound") -> None:
    """Refuse a file that has less than it declares.

    Raises:
        Truncated: names both.
    """
    if there < declared:
        raise Truncated(f"it is truncated: {max(0, there)} of {declared} {what}")


def check_picture(content: bytes) -> None:
    """Compare what a WebP, TIFF or AVIF file declares with its size; PIL finds the shortfall of other formats.

    Raises:
        Truncated: names both lengths.
    """
    if content[:4] == b"RIFF" and len(content) >= 8:
        length: int = struct.unpack_from("<I", content, 4)[0]
        hold(length + 8 - length % 2, len(content), "bytes")
    elif content[:4] in (b"II*\0", b"MM\0*") and len(content) >= 8:
        order = "<" if content[:1] == b"I" else ">"
        hold(struct.unpack_from(order + "I", content, 4)[0] + 2, len(content), "bytes before its index")
    elif content[4:8] == b"ftyp" and (box := cut_box(BytesIO(content))) is not None:
        raise Truncated(f"it is truncated: its part {box!r} is cut off")


def cut_box(source: BinaryIO) -> str | None:
    """The box of a file of MPEG-4's layout (mp4, mov, AVIF) that has less bytes than it states; None: all are whole."""
    size = source.seek(0, os.SEEK_END)
    place = 0
    for _ in range(CHUNKS):
        if place + 8 > size:
            return None
        source.seek(place)
        head = source.read(16)
        length, kind = struct.unpack(">I4s", head[:8])
        if kind not in BOXES and place == 0:
            return None
        if length == 1 and len(head) == 16:
            length = struct.unpack(">Q", head[8:])[0]
        if kind in BOXES and length > size - place:
            return str(kind, "ascii")
        if length < 8:
            return None
        place += length
    return None


def riff(file: BinaryIO, size: int) -> None:
    """WAV, and RF64 and BW64, whose 64-bit sizes are in a chunk of their own."""
    file.seek(0)
    order = ">" if file.read(4) == b"RIFX" else "<"
    whole = _number(file, order + "I")
    if file.read(4) != b"WAVE":
        return
    long: int | None = None
    for _ in range(CHUNKS):
        kind, length = file.read(4), _number(file, order + "I")
        start = file.tell()
        if kind == b"ds64":
            _, long = struct.unpack("<QQ", _exactly(file, 16))
        if kind == b"data":
            _riff_data(start, whole, length if long is None else long, size, long is not None)
            return
        file.seek(start + length + length % 2)


def _riff_data(start: int, whole: int, length: int, size: int, long: bool) -> None:
    if long:
        if length not in (*STREAMED, (1 << 64) - 1):
            hold(length, size - start)
    elif length not in STREAMED and not (length > 0xFFFFFF00 < whole):
        hold(length, size - start)
    elif whole not in STREAMED_RIFF and length and whole <= 0xFFFFFF00:
        # The size of the data is open and that of the whole file is not.
        hold(whole + 8, size, "bytes")


def w64(file: BinaryIO, size: int) -> None:
    """Sony Wave64: names of 16 bytes, and sizes that count the header."""
    file.seek(40)
    for _ in range(CHUNKS):
        kind, length = _exactly(file, 16), _number(file, "<Q")
        start = file.tell()
        if kind.startswith(b"data"):
            if 24 <= length < W64_STREAMED:
                hold(length - 24, size - start)
            return
        if length < 24:
            return
        file.seek(start - 24 + (length + 7) // 8 * 8)


def au(file: BinaryIO, size: int) -> None:
    """Sun AU, of either byte order."""
    file.seek(0)
    order = ">" if file.read(4) == b".snd" else "<"
    start, length = struct.unpack(order + "II", _exactly(file, 8))
    if length not in STREAMED:
        hold(length, size - start)


def aiff(file: BinaryIO, size: int) -> None:
    """AIFF and AIFF-C."""
    file.seek(8)
    if file.read(4) not in (b"AIFF", b"AIFC"):
        return
    for _ in range(CHUNKS):
        kind, length = file.read(4), _number(file, ">I")
        start = file.tell()
        if kind == b"SSND":
            if length not in STREAMED:
                hold(length, size - start)
            return
        file.seek(start + length + length % 2)


def caf(file: BinaryIO, size: int) -> None:
    """Apple's Core Audio Format; -1 says that the data go to the end of the file."""
    file.seek(8)
    for _ in range(CHUNKS):
        kind = file.read(4)
        if len(kind) < 4:
            return
        length = _number(file, ">q")
        start = file.tell()
        if length >= 0:
            hold(length, size - start, f"bytes of its part {kind.decode('latin-1')!r}")
        if length < 0 or kind == b"data":
            return
        file.seek(start + length)


def ogg(file: BinaryIO, size: int) -> None:
    """Ogg: the last page is whole, and marked as the last of its stream."""
    tail = b""
    place = size
    while place > max(0, size - LAST_PAGE) and b"OggS" not in tail:
        place = max(0, place - (1 << 17))
        file.seek(place)
        tail = file.read(min(size - place, (1 << 17) + 4))
    last = tail.rfind(b"OggS")
    page = tail[last:]
    if len(page) < 27 or len(page) < 27 + page[26]:
        raise Truncated("its last page is cut off")
    hold(27 + page[26] + sum(page[27 : 27 + page[26]]), len(page), "bytes of its last page")
    if not page[5] & 4:
        raise Truncated("it is truncated: no page is marked as the last one")


def frames(file: BinaryIO, _: int) -> None:
    """MP3 and raw AAC, which are nothing but frames."""
    file.seek(0)
    check_frames(file.read(READ))


def _number(file: BinaryIO, form: str) -> int:
    found: int = struct.unpack(form, _exactly(file, struct.calcsize(form)))[0]
    return found


def _exactly(file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise Truncated("it ends before its sound")
    return content


CHECKS: dict[bytes, Callable[[BinaryIO, int], None]] = {
    b"RIFF": riff,
    b"RIFX": riff,
    b"RF64": riff,
    b"BW64": riff,
    b"riff": w64,
    b".snd": au,
    b"dns.": au,
    b"FORM": aiff,
    b"caff": caf,
    b"OggS": ogg,
    b"ID3": frames,
    b"\xff": frames,
}
