"""Frames of clips: the very ones, or an error that names the file."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from anymal_eval.errors import MediaError
from anymal_eval.media.budget import MediaBudget
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Media

MakeClip = Callable[..., Path]
Numbers = Callable[[NDArray[np.uint8]], list[int]]
Steady = Callable[..., list[int]]

X264 = {"codec": "libx264", "pix_fmt": "yuv420p"}
KINDS: dict[str, dict[str, Any]] = {
    "a.mkv": {},
    "qp0.mp4": X264 | {"options": {"qp": "0", "g": "12", "bf": "3"}},
    "open.mp4": X264 | {"options": {"x264-params": "open-gop=1:keyint=10:min-keyint=10:bframes=3"}},
    "one.mkv": X264 | {"options": {"g": "250"}},
    "a.ts": X264 | {"options": {"g": "12"}},
    "a.webm": {"codec": "libvpx-vp9", "pix_fmt": "yuv420p", "options": {"g": "12"}},
    "vp8.webm": {"codec": "libvpx", "pix_fmt": "yuv420p", "options": {"g": "12", "auto-alt-ref": "1"}},
}


def clip(path: Path, start_s: float | None = None, end_s: float | None = None) -> Media:
    return Media(kind="video", uri=str(path), start_s=start_s, end_s=end_s)


@pytest.mark.parametrize("name", KINDS)
def test_the_middle_of_eight_parts(
    reader: MediaReader, make_clip: MakeClip, read_numbers: Numbers, steady: Steady, name: str
) -> None:
    """60 frames, 8 parts: their middles lie at 3.75, 11.25, 18.75 ... frames."""
    frames = reader.video(clip(make_clip(name, steady(60), **KINDS[name])), 8)
    assert frames.shape == (8, 64, 64, 3)
    assert frames.dtype == np.uint8
    assert frames.flags.writeable
    assert read_numbers(frames) == [3, 11, 18, 26, 33, 41, 48, 56]


def test_a_lossless_clip_gives_the_very_pixels(
    reader: MediaReader, make_clip: MakeClip, painting: Callable[..., NDArray[np.uint8]], steady: Steady
) -> None:
    frames = reader.video(clip(make_clip("a.mkv", steady(20), size=(48, 64))), 20)
    np.testing.assert_array_equal(frames, [painting(number, 48, 64) for number in range(20)])


@pytest.mark.parametrize("name", KINDS)
def test_any_window_agrees_with_a_plain_decoder(
    reader: MediaReader, make_clip: MakeClip, read_numbers: Numbers, steady: Steady, name: str
) -> None:
    """40 random windows and counts against the rule, applied to all frames decoded in order."""
    path, rng = make_clip(name, steady(60), **KINDS[name]), np.random.default_rng(3)
    with av.open(str(path)) as container:
        shown = [frame.pts * frame.time_base for frame in container.decode(video=0)]  # type: ignore[operator]
    shown = [time - shown[0] for time in shown]
    for _ in range(40):
        start, end = sorted(rng.uniform(0, 5.9, 2))
        count = int(rng.integers(1, 12))
        middles = [Fraction(start) + Fraction(end - start) * (2 * i + 1) / (2 * count) for i in range(count)]
        expected = [max(n for n, time in enumerate(shown) if time <= middle) for middle in middles]
        assert read_numbers(reader.video(clip(path, start, end), count)) == expected


def test_variable_frame_rate_by_hand(reader: MediaReader, make_clip: MakeClip, read_numbers: Numbers) -> None:
    path = make_clip("a.mkv", [0, 100, 150, 1000, 1900, 2000])
    # Middles of [0, 1.6] in four: 0.2, 0.6, 1.0, 1.4 s.
    assert read_numbers(reader.video(clip(path, 0, 1.6), 4)) == [2, 2, 3, 3]
    assert read_numbers(reader.video(clip(path, 1.85, 1.95), 2)) == [3, 4]


def test_windows(reader: MediaReader, make_clip: MakeClip, read_numbers: Numbers, steady: Steady) -> None:
    path = make_clip("a.mp4", steady(50), **KINDS["qp0.mp4"])
    assert read_numbers(reader.video(clip(path, 2.0, 4.0), 4)) == [22, 27, 32, 37]
    assert read_numbers(reader.video(clip(path, 4.0), 2)) == [42, 47]
    assert read_numbers(reader.video(clip(path, None, 1.0), 2)) == [2, 7]
    assert read_numbers(reader.video(clip(path, 4.5, 5.9), 1)) == [47]  # cut at the clip's end
    assert read_numbers(reader.video(clip(path, 3.05, 3.05), 2)) == [30, 30]
    for start, end in [(5.5, None), (99.0, 100.0), (3.0, 2.0), (-1.0, 2.0)]:
        with pytest.raises(MediaError, match=r"window starts|no part of a clip"):
            reader.video(clip(path, start, end), 2)
    with pytest.raises(ValueError, match="0 frames"):
        reader.video(clip(path), 0)


def test_short_clips_repeat_frames(
    reader: MediaReader, make_clip: MakeClip, read_numbers: Numbers, steady: Steady
) -> None:
    assert read_numbers(reader.video(clip(make_clip("a.mp4", steady(3), **X264)), 6)) == [0, 0, 1, 1, 2, 2]
    assert read_numbers(reader.video(clip(make_clip("b.mkv", steady(1))), 4)) == [0, 0, 0, 0]


def test_rows(make_clip: MakeClip, read_numbers: Numbers, steady: Steady) -> None:
    content = make_clip("a.mp4", steady(20), **X264).read_bytes()
    with MediaReader(opener=lambda uri: content) as reader:
        assert read_numbers(reader.video(Media(kind="video", uri="row:nextqa#5"), 2)) == [5, 15]


def test_a_turned_clip_is_shown_upright(reader: MediaReader, make_clip: MakeClip, steady: Steady) -> None:
    path = make_clip("a.mp4", steady(4), size=(48, 64), **X264)
    before = reader.video(clip(path), 1)[0]
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44  # version, flags, five words, two reserved, layer, group, volume
    one = (1 << 16).to_bytes(4, "big")
    assert content[matrix : matrix + 4] == one
    # A quarter turn clockwise: (0, 1; -1, 0).
    content[matrix : matrix + 20] = bytes(4) + one + bytes(4) + (-(1 << 16)).to_bytes(4, "big", signed=True) + bytes(4)
    path.write_bytes(content)
    np.testing.assert_array_equal(reader.video(clip(path), 1)[0], np.rot90(before, -1))


def refused(reader: MediaReader, item: Media, match: str) -> None:
    with pytest.raises(MediaError, match=match) as caught:
        reader.video(item, 8)
    assert str(caught.value).startswith(item.uri)
    assert "\n" not in str(caught.value)


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_what_has_no_frames_is_refused(
    reader: MediaReader, tmp_path: Path, make_clip: MakeClip, steady: Steady
) -> None:
    refused(reader, clip(write_sound(tmp_path / "sound.mp4")), "no frames")
    refused(reader, clip(make_clip("none.mkv", [])), "no frames")
    (tmp_path / "empty.mp4").touch()
    refused(reader, clip(tmp_path / "empty.mp4"), "0 bytes")
    (tmp_path / "text.mp4").write_text("no clip")
    refused(reader, clip(tmp_path / "text.mp4"), "decoded")
    refused(reader, clip(tmp_path / "missing.mp4"), "No such file")
    refused(reader, clip(tmp_path), "directory")
    make_clip("other.mkv", steady(4))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile other.mkv\n")
    refused(reader, clip(tmp_path / "list.mp4"), "decoded")


def test_frames_over_the_limit_are_refused(make_clip: MakeClip, steady: Steady) -> None:
    path = make_clip("a.mp4", steady(4), **X264)
    with MediaReader(budget=MediaBudget(pixels=4095)) as reader:
        refused(reader, clip(path), "64 x 64 is over 4095 pixels")
    with MediaReader(budget=MediaBudget(clip_pixels=4 * 4096)) as reader:
        assert len(reader.video(clip(path), 4)) == 4
        with pytest.raises(MediaError, match="5 frames of 64 x 64 is over 16384 pixels"):
            reader.video(clip(path), 5)


BREAKS = ["cut", "noise", "zeros"]


def break_tail(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    first, stop = int(len(content) * 0.8), int(len(content) * 0.97)
    if how == "cut":
        del content[int(len(content) * 0.7) :]
    else:
        noise = np.random.default_rng(0).integers(0, 256, stop - first, dtype=np.uint8).tobytes()
        content[first:stop] = noise if how == "noise" else bytes(stop - first)
    path.write_bytes(content)


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.webm", "a.ts", "x264.mkv", "a.avi"])
def test_a_broken_tail_is_refused_and_what_lies_before_is_not(
    reader: MediaReader, tmp_path: Path, read_numbers: Numbers, name: str, how: str
) -> None:
    path = tmp_path / name
    codec = {"a.mkv": "ffv1", "a.webm": "libvpx-vp9", "a.avi": "mpeg4"}.get(name, "libx264")
    from_start = {"movflags": "faststart"} if name == "a.mp4" else {}
    with av.open(str(path), "w", options=from_start) as container:
        stream: Any = container.add_stream(codec, rate=30, options={"b": "4000000", "g": "12"})
        stream.width = stream.height = 64
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        for number in range(60):
            pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            pixels[:32] = 255 * np.repeat(number >> np.arange(8) & 1, 8)[None, :, None]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    assert read_numbers(reader.video(clip(path), 2)) == [15, 45]
    break_tail(path, how)
    for count in (1, 2, 8, 30):
        with pytest.raises(MediaError, match=name):
            reader.video(clip(path), count)
    assert read_numbers(reader.video(clip(path, 0.0, 0.8), 2)) == [6, 18]


def test_a_clip_cut_before_its_index_is_refused(reader: MediaReader, make_clip: MakeClip, steady: Steady) -> None:
    path = make_clip("a.mp4", steady(30), **X264)
    os.truncate(path, path.stat().st_size // 2)
    refused(reader, clip(path), "decoded")


def test_damaged_bytes_raise_nothing_else(make_clip: MakeClip, steady: Steady) -> None:
    """100 random damages to the container and the stream: frames or a MediaError."""
    whole, rng = make_clip("a.mp4", steady(20), **X264).read_bytes(), np.random.default_rng(5)
    refusals = 0
    now = b""
    with MediaReader(opener=lambda uri: now, timeout_s=30) as reader:
        for number in range(100):
            content = bytearray(whole)
            low = 0 if number % 2 else len(whole) - 1500
            for place in rng.integers(low, len(whole), 6):
                content[place] = rng.integers(0, 256)
            now = bytes(content)
            try:
                assert reader.video(Media(kind="video", uri="row:a#1"), 4).shape[0] == 4
            except MediaError:
                refusals += 1
    assert refusals > 10


def test_frames_by_their_place_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for place in range(30):
            pixels = np.full((32, 32, 3), 8 * place, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(file)) as container:
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    whole, window = (
        Media(kind="video", uri=str(file), start_s=start, end_s=end) for start, end in ((None, None), (1, 2))
    )
    with MediaReader() as reader:
        found = reader.timeline(whole)
        assert (found.rate, found.length, found.seconds.tolist()) == (
            10,
            3.0,
            pytest.approx([n / 10 for n in range(30)]),
        )
        assert (reader.frames(whole, [0, 7, 7, 29]) == np.stack([every[n] for n in (0, 7, 7, 29)])).all()
        assert reader.timeline(window).seconds.tolist() == pytest.approx([n / 10 for n in range(10)])
        assert (reader.frames(window, [0, 9]) == np.stack([every[n] for n in (10, 19)])).all()
        with pytest.raises(MediaError, match="it has 10 frames in the window, frame 10 was requested"):
            reader.frames(window, [10])
