"""Tiny checkpoints, pictures, clips and requests for the wrappers of transformers classes. Built once a session."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.models import choose_model
from anymal_eval.records import Media
from tests.models import tiny_chats, tiny_models, tiny_omni, tiny_speech, tiny_vision
from tests.models.example_requests import medium

Tiny = Callable[[str], Path]
Open = Callable[..., Any]


@pytest.fixture(scope="session", autouse=True)
def _offline() -> Iterator[None]:
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    yield
    if before is None:
        del os.environ["HF_HUB_OFFLINE"]
    else:
        os.environ["HF_HUB_OFFLINE"] = before


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The folder of a tiny model, by the name of its builder."""
    home = tmp_path_factory.mktemp("tiny")
    parts = (tiny_models, tiny_chats, tiny_vision, tiny_omni, tiny_speech)
    builders = {name: build for part in parts for name, build in part.BUILDERS.items()}

    @cache
    def build(name: str) -> Path:
        from anymal_eval.checkpoints.loading import quiet

        folder = home / name
        with quiet():
            builders[name](folder)
        return folder

    return build


@pytest.fixture(scope="session")
def opened(tiny: Tiny) -> Iterator[Open]:
    """A loaded wrapper, kept for the session: ``opened("blip2", "blip2-opt")``."""
    models: dict[tuple[str, ...], Any] = {}

    def get(wrapper: str, name: str, **options: str) -> Any:
        key = (wrapper, name, *(f"{option}={value}" for option, value in sorted(options.items())))
        if key not in models:
            models[key] = choose_model(f"{wrapper}:{tiny(name)}", {"device": "cpu", **options}).load()
        return models[key]

    yield get
    for model in models.values():
        model.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six pictures of noise in different shapes and colours."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    drawn = np.random.default_rng(3)
    files = []
    for place in range(6):
        height, width = 40 + 8 * place, 80 - 8 * place
        pixels = drawn.integers(0, 256, (height, width, 3)) * drawn.random(3) + 20 * place
        files.append(folder / f"{place}.png")
        Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(files[-1])
    return files


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of sixteen frames that change."""
    import av
    import numpy as np

    file = tmp_path_factory.mktemp("clips") / "clip.mp4"
    drawn = np.random.default_rng(5)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for place in range(16):
            pixels = np.full((48, 64, 3), 16 * place, dtype=np.uint8)
            pixels[: 3 * place] = drawn.integers(0, 256, 3)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five sounds of other lengths and pitches, at the extractor's rate."""
    import numpy as np
    import soundfile

    folder = tmp_path_factory.mktemp("sounds")
    drawn = np.random.default_rng(9)
    files = []
    for place in range(5):
        seconds = np.arange(int(16_000 * (0.3 + 0.12 * place))) / 16_000
        wave = 0.3 * np.sin(2 * np.pi * 200 * (place + 1) * seconds) + 0.05 * drawn.normal(size=len(seconds))
        files.append(folder / f"{place}.wav")
        soundfile.write(files[-1], wave.astype("float32"), 16_000, subtype="FLOAT")
    return files


@pytest.fixture
def media(request: pytest.FixtureRequest) -> list[Media]:
    """Pictures, or sounds where the test is of an audio model."""
    wrapper = request.node.callspec.params["wrapper"]
    if wrapper != "hf_audio":
        return [medium(file) for file in request.getfixturevalue("pictures")]
    return [medium(file, "audio") for file in request.getfixturevalue("sounds")]
