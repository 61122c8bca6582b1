"""Encoders, each and as the presets name it, tiny, in the released layout, by its id from a hub on this machine."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from anymal_eval.anymal import encoders
from anymal_eval.anymal.config import preset, preset_names
from anymal_eval.anymal.encoders import EncoderOptions
from anymal_eval.anymal.projectors import perceiver
from anymal_eval.checkpoints.loading import BackboneLoading
from tests.checkpoints.fake_hub import FakeHub, serving
from tests.checkpoints.released_encoders import CASES, small, write
from tests.checkpoints.test_conversion import pickled

# Repositories that hold pickles alone, as huggingface.co lists them.
PICKLES = {"laion/clap-htsat-unfused", "openai/clip-vit-large-patch14-336"}
# Encoders whose weights are on no hub, and the tests that prove them over the released layout.
ELSEWHERE = {"imagebind": "anymal/test_imagebind.py"}


def named() -> dict[str, EncoderOptions]:
    """The encoders of the presets that are parts of the paper's networks, each once."""
    networks = {name: preset(name) for name in preset_names() if name not in ("demo", "tiny")}
    found: dict[str, tuple[str, EncoderOptions]] = {}
    for name, config in networks.items():
        for medium, part in config.modalities.items():
            if part.encoder.kind not in ELSEWHERE:
                found.setdefault(repr(part.encoder), (f"{name} {medium}", part.encoder))
    return dict(found.values())


def features(options: EncoderOptions, windows: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows, and their features."""
    encoder = encoders.build(options, BackboneLoading())
    if windows is None:
        windows = torch.randn(2, *encoder.window_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return windows, encoder(windows)


def test_every_encoder_has_a_case() -> None:
    lacking = sorted(set(encoders.names()) - CASES.keys() - ELSEWHERE.keys())
    assert not lacking, f"add {lacking[0]} to tests/checkpoints/released_encoders.py: its layout and a second forward"
    tests = Path(__file__).parents[1]
    assert all((tests / file).is_file() for name, file in ELSEWHERE.items() if name in encoders.names())
    assert {options.kind for options in named().values()} <= CASES.keys()


@pytest.mark.parametrize("name", [*named(), *CASES])
def test_it_loads_by_its_id_and_equals_an_independent_forward(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "own"))
    given = named().get(name)
    kind = given.kind if given is not None else name
    # The preset of IMU2CLIP names a file of one's own; any other path is a repository.
    identity = given.path if given is not None and "/" in given.path else CASES[kind].repository
    repository = tmp_path / "hub" / identity
    write(kind, repository)
    reference = tmp_path / "reference"
    write(kind, reference)
    if identity in PICKLES:
        pickled(repository)
    if CASES[kind].architecture is not None:  # beside them, what other libraries read
        save_file({"a": torch.zeros(1)}, repository / "open_clip_model.safetensors")
    (repository / "tf_model.h5").write_bytes(b"not read")
    with serving(tmp_path / "hub", tmp_path / "cache", monkeypatch) as hub:
        options = small(kind, identity, given)
        windows, found = features(options)
        used = only_used(hub, identity)
        # and once more without a request for a file
        assert torch.equal(features(options, windows)[1], found)
        assert only_used(hub, identity) == used
    with torch.no_grad():
        torch.testing.assert_close(found, CASES[kind].forward(reference, options, windows), rtol=0, atol=1e-5)


def only_used(hub: FakeHub, repository: str) -> list[str]:
    read = [file.removeprefix(f"{repository}/") for file in hub.read]
    assert not [file for file in read if "open_clip" in file or file.endswith(".h5")]
    return read


@pytest.mark.parametrize(("kind", "times"), [("frames", True), ("viclip", False), ("videomae", False)])
def test_a_reversed_clip_gives_other_tokens(
    kind: str, times: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the paper's resampler, which ignores the order of its input: the features tell time, or it does."""
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "own"))
    write(kind, tmp_path / kind)
    encoder = encoders.build(small(kind, str(tmp_path / kind)), BackboneLoading())
    count = encoder.frames or 0
    sizes: dict[str, Any] = {"kind": "perceiver", "tokens": 4, "layers": 1, "width": 16, "heads": 2, "head_size": 8}
    projectors = [
        perceiver.build(perceiver.Options(**sizes, frames=frames), encoder.width, 24) for frames in (0, count)
    ]
    random = torch.Generator().manual_seed(2)
    # Each frame brighter than the one before, as where something comes into view.
    noise = torch.randint(0, 60, (count, 36, 44, 3), generator=random)
    frames = (noise + torch.linspace(0, 190, count).long()[:, None, None, None]).to(torch.uint8).numpy()
    with torch.no_grad():
        ahead, back = (encoder(encoder.preprocess(clip)).flatten(0, 1) for clip in (frames, frames[::-1].copy()))
        assert (ahead - back).abs().max() > 0.1 * ahead.std()
        plain, timed = (
            float((projector(ahead[None]) - projector(back[None])).abs().max() / projector(ahead[None]).std())
            for projector in projectors
        )
    assert (plain < 1e-4 and timed > 0.02) if times else plain > 1e-3
