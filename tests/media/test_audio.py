"""Sounds: kinds, windows, resampling against scipy, and bytes that are none."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from anymal_eval.errors import MediaError
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Media

Sound = NDArray[np.float32]


def sine(rate: int, seconds: float, hertz: float = 440.0, level: float = 0.5) -> Sound:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def save(path: Path, sound: Sound, rate: int, **cut: float) -> Media:
    soundfile.write(path, sound, rate)
    return Media(kind="audio", uri=str(path), **cut)  # type: ignore[arg-type]


def save_with_ffmpeg(path: Path, sound: Sound, rate: int, codec: str, **options: str) -> Media:
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        if codec == "libmp3lame":
            stream.codec_context.options = {"flags": "qscale", "global_quality": str(9 * 118)}  # variable rate
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        fifo = av.AudioFifo()
        fifo.write(frame)
        while part := fifo.read(stream.codec_context.frame_size or 1024, partial=True):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return Media(kind="audio", uri=str(path))


def pitch(sound: Sound, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 8 * len(sound)))
    return float(spectrum.argmax() * rate / (8 * len(sound)))


@pytest.mark.parametrize(("suffix", "tolerance"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.05), ("mp3", 0.05)])
def test_kinds_keep_the_samples(tmp_path: Path, reader: MediaReader, suffix: str, tolerance: float) -> None:
    wave = sine(16_000, 1.0)
    sound = reader.audio(save(tmp_path / f"a.{suffix}", wave, 16_000), 16_000)
    assert sound.dtype == np.float32
    assert sound.shape == wave.shape
    np.testing.assert_allclose(sound[800:-800], wave[800:-800], atol=tolerance)


def test_8_khz_stereo_becomes_16_khz_mono(tmp_path: Path, reader: MediaReader) -> None:
    stereo = np.stack([sine(8_000, 1.0, level=0.8), np.zeros(8_000, np.float32)], axis=1)
    sound = reader.audio(save(tmp_path / "a.wav", stereo, 8_000), 16_000)
    assert sound.shape == (16_000,)
    assert np.abs(sound[1000:-1000]).max() == pytest.approx(0.4, rel=0.01)
    assert pitch(sound, 16_000) == pytest.approx(440, abs=0.5)


@pytest.mark.parametrize(("given", "wanted"), [(44_100, 16_000), (48_000, 16_000), (8_000, 48_000)])
def test_resampling_agrees_with_scipy(tmp_path: Path, reader: MediaReader, given: int, wanted: int) -> None:
    wave = sine(given, 1.0, hertz=1000)
    soundfile.write(tmp_path / "a.wav", wave, given, subtype="FLOAT")
    sound = reader.audio(Media(kind="audio", uri=str(tmp_path / "a.wav")), wanted)
    common = int(np.gcd(given, wanted))
    other = resample_poly(wave, wanted // common, given // common)
    assert len(sound) == wanted
    middle = slice(wanted // 10, -wanted // 10)
    np.testing.assert_allclose(sound[middle], other[: len(sound)][middle], atol=2e-3)
    np.testing.assert_allclose(sound[middle], sine(wanted, 1.0, hertz=1000)[middle], atol=1e-4)


def test_what_the_new_rate_cannot_hold_is_filtered_out(tmp_path: Path, reader: MediaReader) -> None:
    sound = reader.audio(save(tmp_path / "a.wav", sine(48_000, 1.0, hertz=11_000), 48_000), 16_000)
    assert np.abs(sound[500:-500]).max() < 1e-3


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_windows_are_cut_at_the_sample(tmp_path: Path, reader: MediaReader, suffix: str) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000).astype(np.float32)
    whole = reader.audio(save(tmp_path / f"a.{suffix}", noise, 16_000), 16_000)
    part = reader.audio(save(tmp_path / f"a.{suffix}", noise, 16_000, start_s=0.5, end_s=1.25), 16_000)
    np.testing.assert_allclose(part, whole[8_000:20_000], atol=1e-4)
    tail = reader.audio(save(tmp_path / f"a.{suffix}", noise, 16_000, start_s=1.5, end_s=3.0), 16_000)
    np.testing.assert_allclose(tail, whole[24_000:], atol=1e-4)


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.mp4", "aac"), ("a.mka", "ac3")])
def test_what_soundfile_cannot_open_ffmpeg_does(tmp_path: Path, reader: MediaReader, name: str, codec: str) -> None:
    wave = sine(16_000 if codec == "aac" else 48_000, 1.0)
    rate = len(wave)
    item = save_with_ffmpeg(tmp_path / name, wave, rate, codec)
    sound = reader.audio(item, rate)
    assert len(sound) == pytest.approx(rate, abs=2048)
    assert pitch(sound, rate) == pytest.approx(440, abs=1)
    part = reader.audio(Media(kind="audio", uri=item.uri, start_s=0.25, end_s=0.5), rate)
    np.testing.assert_array_equal(part, sound[rate // 4 : rate // 2])


def test_ffmpeg_sounds_from_a_row(tmp_path: Path) -> None:
    content = Path(save_with_ffmpeg(tmp_path / "a.m4a", sine(16_000, 1.0), 16_000, "aac").uri).read_bytes()
    with MediaReader(opener={"row:a#3": content}.__getitem__) as reader:
        assert len(reader.audio(Media(kind="audio", uri="row:a#3"), 16_000)) > 15_000


@pytest.mark.parametrize("loud_first", [True, False])
@pytest.mark.parametrize("xing", ["0", "1"])
def test_mp3_of_variable_rate_is_read_to_its_end(
    tmp_path: Path, reader: MediaReader, loud_first: bool, xing: str
) -> None:
    """Without a Xing header libsndfile guesses 1.8 times, or a quarter of, the true length."""
    wave = np.concatenate([np.random.default_rng(0).uniform(-0.7, 0.7, 80_000), np.zeros(80_000)]).astype(np.float32)
    wave = wave if loud_first else wave[::-1].copy()
    item = save_with_ffmpeg(tmp_path / "a.mp3", wave, 16_000, "libmp3lame", write_xing=xing)
    sound = reader.audio(item, 16_000)
    assert len(sound) == pytest.approx(160_000, abs=2400)
    assert (np.abs(sound[10_000:70_000]).mean() > 0.2) == loud_first
    assert (np.abs(sound[90_000:150_000]).mean() > 0.2) != loud_first


def test_loud_floats_are_clipped(tmp_path: Path, reader: MediaReader) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.5, 3.0, -3.0]), 16_000, subtype="FLOAT")
    assert reader.audio(Media(kind="audio", uri=str(tmp_path / "a.wav")), 16_000).tolist() == [0.5, 1.0, -1.0]


def refused(reader: MediaReader, item: Media, match: str) -> None:
    with pytest.raises(MediaError, match=match) as caught:
        reader.audio(item, 16_000)
    assert str(caught.value).startswith(item.uri)
    assert "\n" not in str(caught.value)


def test_silence_of_0_s_is_refused(tmp_path: Path, reader: MediaReader) -> None:
    refused(reader, save(tmp_path / "a.wav", sine(16_000, 0.0), 16_000), r"no sound \(0 s\)")
    refused(reader, save(tmp_path / "b.wav", sine(16_000, 1.0), 16_000, start_s=2.0), r"no sound \(0 s\)")
    refused(reader, save(tmp_path / "c.wav", sine(16_000, 1.0), 16_000, start_s=0.5, end_s=0.5), r"no sound \(0 s\)")
    refused(reader, save(tmp_path / "d.wav", sine(16_000, 1.0), 16_000, start_s=0.5, end_s=0.2), "no part of a clip")
    refused(reader, save(tmp_path / "e.wav", sine(16_000, 1.0), 16_000, start_s=-1.0), "no part of a clip")


def test_what_is_no_sound_is_refused_by_name(tmp_path: Path, reader: MediaReader) -> None:
    (tmp_path / "empty.wav").touch()
    refused(reader, Media(kind="audio", uri=str(tmp_path / "empty.wav")), "0 bytes")
    (tmp_path / "text.mp3").write_text("no sound")
    refused(reader, Media(kind="audio", uri=str(tmp_path / "text.mp3")), "decoded")
    (tmp_path / "a.raw").write_bytes(bytes(100))
    refused(reader, Media(kind="audio", uri=str(tmp_path / "a.raw")), "decoded")
    refused(reader, Media(kind="audio", uri=str(tmp_path / "missing.wav")), "No such file")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 16_000, subtype="FLOAT")
    refused(reader, Media(kind="audio", uri=str(tmp_path / "nan.wav")), "NaN")


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.flac", "a.mp3"])
def test_truncated_sounds_are_refused(tmp_path: Path, reader: MediaReader, name: str) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000).astype(np.float32)
    item = save(tmp_path / name, noise, 16_000)
    content = Path(item.uri).read_bytes()
    Path(item.uri).write_bytes(content[: len(content) // 2])
    refused(reader, item, "decoded")


def test_a_truncated_sound_track_is_refused(tmp_path: Path, reader: MediaReader) -> None:
    item = save_with_ffmpeg(tmp_path / "a.m4a", sine(16_000, 4.0), 16_000, "aac", movflags="faststart")
    content = Path(item.uri).read_bytes()
    Path(item.uri).write_bytes(content[: len(content) * 7 // 10])
    refused(reader, item, "broken|decoded")
