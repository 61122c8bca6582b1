"""Odd but whole media, as real data sets hold them: none of the checks for damage refuses one."""

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from anymal_eval.errors import MediaTruncated
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Media, MediaKind
from tests.attacks.hostile_clips import CODECS, clip
from tests.attacks.hostile_pictures import FILES, encoded, jpegs, photograph
from tests.attacks.hostile_sounds import RATE, every_kind, muxed, noise, wav

Read = Callable[..., Any]


@pytest.fixture
def read(tmp_path: Path, reader: MediaReader) -> Read:
    """Reads bytes as a file of a name."""

    def make(kind: MediaKind, name: str, content: bytes, **window: float) -> Any:
        (tmp_path / name).write_bytes(content)
        media = Media(kind=kind, uri=str(tmp_path / name), **window)  # type: ignore[arg-type]
        if kind == "image":
            return reader.image(media)
        if kind == "audio":
            return reader.audio(media, RATE)
        return reader.video(media, 4) if kind == "video" else reader.imu(media)

    return make


def jpeg_structure() -> dict[str, bytes]:
    photo = photograph()
    jpeg = jpegs()["baseline"]
    bars = np.asarray(photo).copy()
    bars[-70:] = 0
    found = {
        "trailing bytes": jpeg + b"\r\n\0\0more",
        "trailing zeros": jpeg + bytes(4000),
        "black bars": encoded(Image.fromarray(bars), "JPEG", quality=85),
        "black": encoded(Image.new("RGB", (320, 240)), "JPEG"),
        "grey": encoded(Image.new("RGB", (320, 240), (128, 128, 128)), "JPEG"),
        "a page": encoded(Image.new("RGB", (1200, 1600), "white"), "JPEG", optimize=True),  # long runs of zeros
        "a white page": encoded(Image.new("RGB", (1200, 1600), "white"), "JPEG", progressive=True),
        "small": encoded(photo.resize((20, 9)), "JPEG"),
        "one row": encoded(photo.resize((150, 1)), "JPEG"),
        "4:1:1": encoded(photo, "JPEG", subsampling=2),
        "comment": encoded(photo, "JPEG", comment=b"\xff\xd9\xff\xda" * 20),
        "thumbnail": encoded(photo, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + jpeg),
        "fill bytes": jpeg[:-2] + b"\xff\xff\xff\xd9",
    }
    out = io.BytesIO()
    photo.save(out, "MPO", save_all=True, append_images=[photo.transpose(Image.Transpose.ROTATE_180)])
    return {**jpegs(), **found, "two pictures": out.getvalue()}


def test_jpegs(read: Read) -> None:
    for name, content in jpeg_structure().items():
        with Image.open(io.BytesIO(content)) as image:
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(read("image", "a.jpg", content), expected, err_msg=name)


def test_pictures_of_every_kind(read: Read) -> None:
    for name, (kind, how) in FILES.items():
        pixels = read("image", name, encoded(photograph(), kind, **how))
        assert np.abs(pixels.astype(int) - np.asarray(photograph())).mean() < 12, name


@pytest.mark.parametrize("coding", ["baseline", "progressive"])
def test_photographs_of_a_telephone(read: Read, coding: str) -> None:
    wide = photograph(3008, 4000)
    content = encoded(wide, "JPEG", quality=80, progressive=coding == "progressive")
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(read("image", "a.jpg", content), np.asarray(image))


def test_sounds_of_every_kind(read: Read) -> None:
    for name, content in every_kind().items():
        assert abs(len(read("audio", name, content)) - 2 * RATE) < RATE // 10, name


def open_wav(size: int, whole: int) -> bytes:
    """A WAV file as a program writes it into a pipe."""
    content = bytearray(wav(RATE, 1, 16, (noise(1.0) * 32767).astype("<i2").tobytes()))
    struct.pack_into("<I", content, 4, whole)
    struct.pack_into("<I", content, 40, size)
    return bytes(content)


@pytest.mark.parametrize(
    ("size", "whole"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),  # FFmpeg
        (0, 0),  # Python's wave
        (0x7FFFFFFF, 0x7FFFFFFF),
        (0x7FFFF000, 0x7FFFF024),  # sox
        (0xFFFFFFFF, 36 + 32_000),
        (0xFFFFFFDB, 0xFFFFFFFF),
    ],
)
def test_wavs_written_into_a_pipe(read: Read, size: int, whole: int) -> None:
    assert len(read("audio", "a.wav", open_wav(size, whole))) == RATE


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def __init__(self) -> None:
        self.content = b""

    def writable(self) -> bool:
        return True

    def write(self, content: Any, /) -> int:
        self.content += bytes(content)
        return len(content)


@pytest.mark.parametrize(
    ("kind", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("ogg", "libopus"), ("mp3", "libmp3lame")]
)
def test_what_ffmpeg_writes_into_a_pipe(read: Read, kind: str, codec: str) -> None:
    pipe = Pipe()
    with av.open(pipe, "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(noise(2.0, 48_000)[None], format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        fifo = av.AudioFifo()
        for part in av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=48_000).resample(frame):
            fifo.write(part)
        while (rest := fifo.read(stream.codec_context.frame_size or 4096, partial=True)) is not None:
            container.mux(stream.encode(rest))
        container.mux(stream.encode(None))
    assert abs(len(read("audio", f"a.{kind}", pipe.content)) - 2 * RATE) < RATE // 10


def test_mp3_with_tags_around_it(read: Read) -> None:
    plain = muxed("mp3", "libmp3lame", noise(2.0, 48_000), write_xing="0", id3v2_version="0")
    name = b"ID3\x04\0\0\0\0\x02\x00" + bytes(256)
    for content in (plain, name + plain, name + bytes(500) + plain, plain + b"TAG" + bytes(125)):
        assert abs(len(read("audio", "a.mp3", content)) - 2 * RATE) < RATE // 10


@pytest.mark.parametrize("name", [*CODECS])
def test_clips_of_every_kind(read: Read, name: str) -> None:
    assert read("video", name, clip(name, 20)).shape == (4, 64, 64, 3)


def test_parts_that_end_a_little_after_the_medium(read: Read) -> None:
    """AudioCaps names 10 s of a video that may end before; annotators of clips round."""
    assert len(read("audio", "a.flac", every_kind(8.5)["flac"], start_s=0.0, end_s=10.0)) == int(8.5 * RATE)
    assert len(read("video", "a.mp4", clip("mp4", 20), start_s=1.0, end_s=3.0)) == 4
    with pytest.raises(MediaTruncated, match=r"ends at 10.00 s, and the medium at 7.50 s"):
        read("audio", "b.flac", every_kind(7.5)["flac"], start_s=0.0, end_s=10.0)
    with pytest.raises(MediaTruncated, match=r"ends at 4.00 s, and the medium at 2.00 s"):
        read("video", "b.mp4", clip("mp4", 20), start_s=1.0, end_s=4.0)


def test_a_table_without_its_last_line_break(read: Read) -> None:
    rows = "\n".join(f"{number / 200},1,2,3,4,5,6" for number in range(100))
    assert read("imu", "a.csv", f"t,a,b,c,d,e,f\n{rows}".encode()).shape == (6, 100)
