"""The structure of a JPEG file, and signs in it that a part of its picture is missing. Nothing is decoded here.

libjpeg fills what is missing with grey and continues; the warnings that it gives are lost in PIL. The signs below are
cheap and never refuse a picture by themselves, except a run of zeros that no encoder writes: a picture that shows one
is decoded a second time, by FFmpeg, which refuses damage.
"""

import re
import struct
from dataclasses import dataclass

SCAN, END = 0xDA, 0xD9
# A marker ends a scan's data: 0xFF followed by anything but stuffing, a restart or a fill byte.
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
SOF = frozenset({0xC0, 0xC1, 0xC2, 0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
HUFFMAN = frozenset({0xC0, 0xC1, 0xC2})
HOLE = bytes(24)
MOST_SCANS = 100  # a progressive picture has about ten; each is a walk over all blocks


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the markers of the first picture of a file state.

    Attributes:
        frame: the marker of its frame header, which names the coding.
        components: of colour.
        row: height of a row of coded blocks, in pixels.
        scans: of each the first and last coefficient, the bits it sends (high, low), and its components as a mask.
        begin, end: where the data of the first scan start, and where the end marker is; ``end`` None: there is none.
        hole: whether a scan holds a run of zeros that its Huffman tables rule out.
        zeros: whether it holds a run of zeros at all.
    """

    frame: int
    components: int
    row: int
    scans: tuple[tuple[int, int, int, int], ...]
    begin: int
    end: int | None
    hole: bool
    zeros: bool

    @property
    def progressive(self) -> bool:
        """Whether the picture gets finer from scan to scan: a missing scan leaves no gap in it."""
        return self.frame not in (0xC0, 0xC1)

    @property
    def verifiable(self) -> bool:
        """Whether FFmpeg decodes this coding: Huffman codes, sequential or progressive."""
        return self.frame in HUFFMAN and self.end is not None


def layout(content: bytes) -> Layout | None:
    """Read the markers of a JPEG file, up to the end of its first picture; None if they are no such sequence."""
    try:
        return _layout(content)
    except (IndexError, struct.error):
        return None


def _layout(content: bytes) -> Layout | None:
    place, frame, components, row, begin = 2, 0, 0, 0, 0
    scans: list[tuple[int, int, int, int]] = []
    tables: dict[int, int | None] = {}
    hole = zeros = False
    while True:
        found = MARKER.search(content, place)
        if found is None:
            break
        kind = content[found.start() + 1]
        place = found.end()
        if kind == END:
            return Layout(
                frame=frame, components=components, row=row, scans=tuple(scans), begin=begin, end=found.start(),
                hole=hole, zeros=zeros,
            )  # fmt: skip
        if kind in (0x01, 0xD8):
            continue
        length = struct.unpack_from(">H", content, place)[0]
        body = content[place + 2 : place + length]
        place += length
        if kind in SOF:
            frame, components = kind, body[5]
            row = 8 * max(body[7 + 3 * number] & 15 for number in range(components))
        elif kind == 0xC4:
            tables |= zero_codes(body)
        elif kind == SCAN:
            begin = begin or place
            scans.append(_scan(body))
            stop = MARKER.search(content, place)
            last = stop.start() if stop else len(content)
            if content.find(HOLE, place, last) >= 0:
                zeros = True
                hole = hole or (frame in (0xC0, 0xC1) and not _flat(body, tables))
            place = last
    if not scans:
        return None
    return Layout(
        frame=frame, components=components, row=row, scans=tuple(scans), begin=begin, end=None, hole=hole, zeros=zeros
    )


def zero_codes(body: bytes) -> dict[int, int | None]:
    """The symbol of the all-zero code of each Huffman table in a segment, by class and number (one byte)."""
    found: dict[int, int | None] = {}
    while body:
        counts = body[1:17]
        found[body[0]] = body[17] if sum(counts) else None
        body = body[17 + sum(counts) :]
    return found


def missing_scans(shape: Layout) -> bool:
    """Whether a progressive picture lacks a scan: the last bit of one of its coefficients was never sent."""
    if shape.frame != 0xC2:
        return False
    sent: dict[int, int] = {}  # of each component, the coefficients that came to their last bit, as a mask
    for start, stop, approximation, components in shape.scans:
        for component in (place for place in range(32) if components >> place & 1):
            done = ((1 << (stop + 1)) - (1 << start)) if approximation & 15 == 0 else 0
            sent[component] = sent.get(component, 0) | done
    return len(sent) < shape.components or any(mask != (1 << 64) - 1 for mask in sent.values())


def _scan(body: bytes) -> tuple[int, int, int, int]:
    count = body[0]
    named = 0
    for number in range(count):
        named |= 1 << (body[1 + 2 * number] & 31)
    start, stop, approximation = body[1 + 2 * count : 4 + 2 * count]
    return start, stop, approximation, named


def _flat(body: bytes, tables: dict[int, int | None]) -> bool:
    """Whether zeros in a scan's data can be an even area: the shortest codes mean "as before" and "block ends"."""
    numbers = [body[2 + 2 * number] for number in range(body[0])]
    return all(tables.get(each >> 4) == 0 and tables.get(0x10 | (each & 15)) == 0 for each in numbers)
