"""Clips that are cut, or that a header makes enormous: each named after its attack."""

import io
import struct
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.attacks.hostile import Attack

CODECS = {
    "mp4": ("mp4", "libx264", "yuv420p"),
    "mov": ("mov", "libx264", "yuv420p"),
    "mkv": ("matroska", "libx264", "yuv420p"),
    "webm": ("webm", "libvpx-vp9", "yuv420p"),
    "avi": ("avi", "mpeg4", "yuv420p"),
    "ts": ("mpegts", "libx264", "yuv420p"),
    "flv": ("flv", "flv", "yuv420p"),
}


def clip(name: str, frames: int = 50, side: tuple[int, int] = (64, 64), **options: str) -> bytes:
    """A clip at 10 frames a second."""
    kind, codec, pixels = CODECS[name]
    with tempfile.TemporaryDirectory() as folder:  # FFmpeg reads the file again to move its index
        path = Path(folder) / name
        write_clip(path, (kind, codec, pixels), frames, side, options)
        return path.read_bytes()


def write_clip(
    path: Path, how: tuple[str, str, str], frames: int, side: tuple[int, int], options: dict[str, str]
) -> None:
    kind, codec, pixels = how
    with av.open(str(path), "w", format=kind, options=options) as container:
        stream: Any = container.add_stream(codec, rate=10, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = *side, pixels
        for number in range(frames):
            rng = np.random.default_rng(number)
            shape = (side[1], side[0], 3)
            picture = rng.integers(0, 256, shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def large(width: int, height: int) -> bytes:
    """One grey frame of any size."""
    out = io.BytesIO()
    with av.open(out, "w", format="mov") as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        frame = av.VideoFrame(width, height, "yuvj420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, frame.time_base = 0, Fraction(1, 10)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def cuts() -> Iterator[Attack]:
    for name in CODECS:
        whole = clip(name)
        for part in (0.6, 0.9):
            yield Attack("video", f"cut_to_{part:.0%}.{name}", whole[: int(len(whole) * part)])
        yield Attack("video", f"noise_in_tail.{name}", overwritten(whole, 0.8, 0.97))
        yield Attack("video", f"half_as_long_as_requested.{name}", whole, start_s=2.0, end_s=9.0)
    faststart = clip("mp4", movflags="faststart")
    for part in (0.5, 0.8):
        yield Attack("video", f"cut_to_{part:.0%}_index_first.mp4", faststart[: int(len(faststart) * part)])
    fragments = clip("mp4", movflags="frag_keyframe+empty_moov")
    yield Attack("video", "cut_in_a_fragment.mp4", fragments[: int(len(fragments) * 0.7)])


def overwritten(whole: bytes, first: float, last: float) -> bytes:
    start, stop = int(len(whole) * first), int(len(whole) * last)
    return whole[:start] + np.random.default_rng(0).bytes(stop - start) + whole[stop:]


def boxed(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def sample_table(whole: bytes, kind: bytes, edit: Any) -> bytes:
    """An mp4 file with an edited table of samples."""
    changed = bytearray(whole)
    edit(changed, changed.index(kind) + 4)
    return bytes(changed)


def write(form: str, value: int, at: int) -> Any:
    def edit(content: bytearray, start: int) -> None:
        struct.pack_into(form, content, start + at, value)

    return edit


def bombs() -> Iterator[Attack]:
    yield Attack("video", "9408_x_9408.mov", large(9408, 9408))
    yield Attack("video", "16000_x_4096.mov", large(16_000, 4096))
    whole = clip("mp4", movflags="faststart")
    one_size = bytearray(whole)
    place = one_size.index(b"stsz") + 4
    struct.pack_into(">II", one_size, place + 4, 1, 400_000_000)
    yield Attack("video", "states_400_million_samples.mp4", bytes(one_size))
    one_size = bytearray(whole)
    place = one_size.index(b"stts") + 4
    struct.pack_into(">III", one_size, place + 4, 1, 0xFFFFFFF, 1)
    yield Attack("video", "states_268_million_times.mp4", bytes(one_size))
    yield Attack("video", "states_4_billion_sizes.mp4", sample_table(whole, b"stsz", write(">I", 0xFFFFFFFF, 8)))
    yield Attack("video", "data_outside.mp4", sample_table(whole, b"stco", write(">I", 0xFFFFFF00, 8)))
    yield Attack("video", "nested_boxes.mp4", nested(2000))
    yield Attack(
        "video", "endless_box.mp4", whole[:28] + struct.pack(">I4sQ", 1, b"moov", (1 << 63) - 1) + whole[28:60]
    )
    gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
    yield Attack(
        "video",
        "clip_of_65535_x_65535.gif",
        gif + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x4c\x01\x00;",
    )


def nested(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = boxed(b"moov", content)
    return boxed(b"ftyp", b"isom\0\0\0\0isom") + content


def oddities() -> Iterator[Attack]:
    yield Attack("video", "empty.mp4", b"")
    yield Attack("video", "page.mp4", b"<html>404 not found</html>\n" * 10)
    yield Attack("video", "noise.mkv", b"\x1a\x45\xdf\xa3" + np.random.default_rng(0).bytes(3000))
    yield Attack("video", "noise.mp4", boxed(b"ftyp", b"isom\0\0\0\0isom") + np.random.default_rng(1).bytes(3000))
    yield Attack("video", "playlist.mp4", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n")
    yield Attack("video", "list_of_files.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n")
    yield Attack("video", "header_alone.mkv", clip("mkv")[:500])
    yield Attack("video", "hole_of_zeros.mp4", zeros(clip("mp4", movflags="faststart"), 0.4, 0.6))
    yield Attack("video", "changing_size.ts", clip("ts", 20) + clip("ts", 20, (96, 64)))
    yield Attack("video", "sparse_tb.mp4", boxed(b"ftyp", b"isom\0\0\0\0isom"), sparse=1 << 40)
    yield Attack("video", "after_its_end.mp4", clip("mp4", 10), start_s=50.0, end_s=60.0)


def zeros(whole: bytes, first: float, last: float) -> bytes:
    start, stop = int(len(whole) * first), int(len(whole) * last)
    return whole[:start] + bytes(stop - start) + whole[stop:]


def attacks(_: Path) -> Iterator[Attack]:
    """All of them."""
    yield from cuts()
    yield from bombs()
    yield from oddities()
