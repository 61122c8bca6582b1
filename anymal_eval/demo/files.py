"""Media and tables on disk, without loss: what is decoded from these files is what was drawn, on every machine."""

import csv
import json
import wave
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_json(path: Path, content: object) -> None:
    """Write one JSON document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def write_jsonl(path: Path, rows: Iterable[object]) -> None:
    """Write one JSON value a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a comma-separated table with its header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)


def write_picture(path: Path, array: NDArray[np.uint8]) -> None:
    """Write (h, w, 3) RGB as PNG whatever the name's ending: readers go by content, and JPEG would lose bits."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, format="PNG", compress_level=1)


def write_sound(path: Path, array: NDArray[np.int16], rate: int) -> None:
    """Write (n,) PCM16 as a mono WAV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(array.astype("<i2").tobytes())


def write_clip(path: Path, array: NDArray[np.uint8], rate: int) -> None:
    """Write (n, h, w, 3) RGB as lossless H.264 in RGB planes: no colour conversion stands between it and a decoder."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"qp": "0", "preset": "ultrafast", "threads": "1"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264rgb", rate=rate, options=options)
        stream.height, stream.width = array.shape[1:3]
        stream.pix_fmt = "rgb24"
        for image in array:
            frame: Any = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_motion(path: Path, array: NDArray[np.float32]) -> None:
    """Write (6, n) float32 as .npy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array.astype("<f4"), allow_pickle=False)
