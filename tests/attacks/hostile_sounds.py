"""Sounds that are cut, or whose header promises hours: each named after its attack."""

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.attacks.hostile import Attack

RATE = 16_000
WRITTEN = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "ulaw.wav": ("WAV", "ULAW"),
    "adpcm.wav": ("WAV", "IMA_ADPCM"),
}
MUXED = {"m4a": ("ipod", "aac"), "mka": ("matroska", "aac"), "sound.webm": ("webm", "libopus"), "aac": ("adts", "aac")}


def noise(seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    """A tone with noise: no coder can leave out much of it."""
    at = np.arange(int(seconds * rate)) / rate
    hiss = np.random.default_rng(0).uniform(-0.2, 0.2, len(at))
    return (0.4 * np.sin(2 * np.pi * 440 * at) + hiss).astype(np.float32)


def written(kind: str, subtype: str, sound: NDArray[np.float32], rate: int = RATE) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, sound, rate, format=kind, subtype=subtype)
    return out.getvalue()


def muxed(kind: str, codec: str, sound: NDArray[np.float32], rate: int = 48_000, **options: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=kind, options=options) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        fifo = av.AudioFifo()
        for part in resampler.resample(frame):
            fifo.write(part)
        while (rest := fifo.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
            container.mux(stream.encode(rest))
        container.mux(stream.encode(None))
    return out.getvalue()


def every_kind(seconds: float = 2.0) -> dict[str, bytes]:
    """A whole file of each kind."""
    found = {name: written(*how, noise(seconds)) for name, how in WRITTEN.items()}
    found |= {name: muxed(*how, noise(seconds, 48_000)) for name, how in MUXED.items()}
    found["without_length.mp3"] = muxed("mp3", "libmp3lame", noise(seconds, 48_000), write_xing="0")
    return found


def cuts() -> Iterator[Attack]:
    for name, whole in every_kind().items():
        for part in (0.6, 0.87):
            yield Attack("audio", f"cut_to_{part:.0%}.{name}", whole[: int(len(whole) * part)])
    yield Attack("audio", "half_as_long_as_requested.wav", every_kind()["wav"], end_s=4.5, start_s=0.5)


def wav(rate: int, channels: int, bits: int, data: bytes, form: int = 1, length: int | None = None) -> bytes:
    """A WAV file with any header."""
    step = max(1, channels * bits // 8) % 65536
    head = struct.pack("<HHIIHH", form, channels, rate % 2**32, rate * step % 2**32, step, bits)
    size = len(data) if length is None else length
    body = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def flac(rate: int, samples: int, whole: bytes | None = None) -> bytes:
    """A FLAC file whose header states any rate and length."""
    content = bytearray(whole or written("FLAC", "PCM_16", noise(0.5)))
    packed = int.from_bytes(content[18:26], "big")
    packed = (packed & ((1 << 44) - 1)) | rate << 44
    packed = (packed >> 36 << 36) | samples
    content[18:26] = packed.to_bytes(8, "big")
    return bytes(content)


def caf_header() -> bytes:
    """The first part of a CAF file. Zeros after it are parts of 12 bytes each."""
    described = struct.pack(">d4sIIIII", RATE, b"lpcm", 0, 2, 1, 1, 16)
    return b"caff\0\1\0\0desc" + struct.pack(">q", len(described)) + described


def bombs() -> Iterator[Attack]:
    silence = np.zeros(400_000, np.float32)
    yield Attack("audio", "claims_4_gb.wav", wav(RATE, 1, 16, bytes(8000), length=4_000_000_000))
    yield Attack("audio", "claims_2_gb.wav", wav(RATE, 1, 16, bytes(8000), length=2_000_000_000))
    yield Attack("audio", "claims_all_but_the_file.wav", wav(RATE, 1, 16, bytes(8000), length=0xFFFFFFFE))
    yield Attack("audio", "at_1_hz.wav", wav(1, 1, 16, bytes(60_000)))
    yield Attack("audio", "at_2_hz_in_8_bits.wav", wav(2, 1, 8, bytes(60_000)))
    yield Attack("audio", "at_0_hz.wav", wav(0, 1, 16, bytes(6000)))
    yield Attack("audio", "at_4_ghz.wav", wav(2**32 - 1, 1, 16, bytes(6000)))
    yield Attack("audio", "without_channels.wav", wav(RATE, 0, 16, bytes(6000)))
    yield Attack("audio", "60000_channels.wav", wav(RATE, 60_000, 8, bytes(600)))
    yield Attack("audio", "0_bits.wav", wav(RATE, 1, 0, bytes(6000)))
    yield Attack("audio", "not_a_number.wav", wav(RATE, 1, 32, np.full(800, np.nan, "<f4").tobytes(), form=3))
    yield Attack("audio", "infinity.wav", wav(RATE, 1, 32, np.full(800, np.inf, "<f4").tobytes(), form=3))
    yield Attack("audio", "unknown_coding.wav", wav(RATE, 1, 16, bytes(6000), form=0xFFFE))
    yield Attack("audio", "states_12_days.flac", flac(RATE, 1 << 34))
    yield Attack("audio", "states_at_1_hz.flac", flac(1, 1 << 30))
    yield Attack("audio", "silence_at_1_hz.flac", flac(1, 400_000, written("FLAC", "PCM_16", silence)))
    yield Attack("audio", "silence_of_14_hours.flac", flac(8, 400_000, written("FLAC", "PCM_16", silence)))
    yield Attack("audio", "states_36_bits.flac", flac(48_000, (1 << 36) - 1))
    yield Attack("audio", "states_4_gb.au", b".snd" + struct.pack(">IIIII", 24, 0xFFFFFFF0, 3, RATE, 1) + bytes(6000))
    yield Attack("audio", "at_1_hz.au", b".snd" + struct.pack(">IIIII", 24, 60_000, 3, 1, 1) + bytes(60_000))


def oddities() -> Iterator[Attack]:
    yield Attack("audio", "empty.wav", b"")
    yield Attack("audio", "without_sound.wav", wav(RATE, 1, 16, b""))
    yield Attack("audio", "page.mp3", b"<html>404 not found</html>\n" * 20)
    yield Attack("audio", "noise.mp3", b"ID3\x04\0\0\0\0\0\0" + np.random.default_rng(0).bytes(3000))
    yield Attack("audio", "noise.flac", b"fLaC" + np.random.default_rng(1).bytes(3000))
    yield Attack("audio", "noise.ogg", b"OggS" + np.random.default_rng(2).bytes(3000))
    yield Attack("audio", "headless.raw", noise(0.2).tobytes())
    yield Attack("audio", "after_its_end.wav", every_kind(0.5)["wav"], start_s=9.0, end_s=10.0)
    whole = every_kind()["ogg"]
    last = whole.rindex(b"OggS")
    yield Attack("audio", "without_last_page.ogg", whole[:last])
    flacs = bytearray(every_kind()["flac"])
    flacs[len(flacs) // 2 : len(flacs) // 2 + 3000] = bytes(3000)
    yield Attack("audio", "hole_of_zeros.flac", bytes(flacs))
    yield Attack("audio", "sparse_tb.wav", wav(RATE, 1, 16, bytes(100), length=0xFFFFFFFF), sparse=1 << 40)
    yield Attack("audio", "sparse.caf", caf_header(), sparse=16 << 20)
    yield Attack("audio", "sparse.ogg", whole[:4000], sparse=1 << 30)


def attacks(_: Path) -> Iterator[Attack]:
    """All of them."""
    yield from cuts()
    yield from bombs()
    yield from oddities()
