"""ImageBind's towers against a second computation, and its preprocessing against transformers' extractors."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as typed
from numpy.typing import NDArray
from torch import Tensor

from anymal_eval.anymal import encoders
from anymal_eval.anymal.config import AnyMALConfig, LLMConfig, ModalityConfig
from anymal_eval.anymal.encoders.imagebind import ImageBind, Options
from anymal_eval.anymal.inspection import inspect
from anymal_eval.anymal.model import build_encoders
from anymal_eval.anymal.projectors.linear import Options as LinearOptions
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.errors import BadCheckpoint, BadDefinition, MediaError
from tests.anymal import imagebind_layout as layout
from tests.checkpoints.fake_hub import serving

transformers: Any = typed  # its classes are typed by halves
Draw = Callable[..., NDArray[Any]]
MEDIA = {"image": "vision", "video": "vision", "audio": "audio", "imu": "imu"}
LENGTHS = {"vision": 1.0, "audio": 20.0, "imu": 5.0}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Converted weights go to a cache of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layout.write(tmp_path_factory.mktemp("imagebind"))


def built(path: Path, medium: str, **options: Any) -> ImageBind:
    given: dict[str, Any] = {"medium": medium, **options}
    found = encoders.build(Options(kind="imagebind", path=str(path), **given), BackboneLoading())
    assert isinstance(found, ImageBind)
    return found


def windows_of(encoder: ImageBind, draw: Draw) -> Tensor:
    medium = encoder.medium
    clip = draw(medium, seconds=7.0, frames=12) if medium != "image" else draw(medium)
    return encoder.preprocess(clip, 48_000 if medium == "audio" else None)


@pytest.mark.parametrize(("medium", "count"), [("image", 1), ("video", 5), ("audio", 3), ("imu", 2)])
def test_features_equal_a_second_computation(file: Path, draw: Draw, medium: str, count: int) -> None:
    encoder = built(file, medium)
    windows = windows_of(encoder, draw)
    assert windows.shape == (count, *encoder.window_shape)
    tower = MEDIA[medium]
    seen = torch.stack([windows, windows], dim=1) if medium == "image" else windows
    patches, vectors = zip(*(layout.second(layout.released(), tower, window) for window in seen), strict=True)
    with torch.no_grad():
        features = encoder(windows)
        by_patch = built(file, medium, output="patches")
        torch.testing.assert_close(by_patch(windows), torch.stack(patches), rtol=0, atol=1e-5)
    torch.testing.assert_close(features[:, 0], LENGTHS[tower] * torch.stack(vectors), rtol=0, atol=1e-5)
    assert features.shape == (count, 1, encoder.width)
    assert by_patch.width == layout.WIDTHS[tower]
    assert encoder.fingerprint != by_patch.fingerprint
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_the_towers_of_one_file_have_one_fingerprint_and_other_keys(file: Path) -> None:
    image, video, audio = (built(file, medium) for medium in ("image", "video", "audio"))
    assert image.weights == video.weights == audio.weights
    assert len({image.fingerprint, video.fingerprint, audio.fingerprint}) == 3
    assert video.frames == 10
    assert image.frames is audio.frames is None


@pytest.mark.filterwarnings("ignore:At least one mel filter:UserWarning")  # transformers', on its own filters
def test_spectrograms_are_kaldi_s(file: Path, draw: Draw) -> None:
    encoder = built(file, "audio")
    sound = draw("audio", seconds=5.0)[: 16_000 * 5 + 7]
    extractor = transformers.ASTFeatureExtractor(max_length=204, do_normalize=False)
    last = len(sound) - 32_000
    for window, start in zip(encoder.preprocess(sound, 16_000), (0, last // 2, last), strict=True):
        part = sound[start : start + 32_000]
        wanted = extractor((part - part.mean()).copy(), sampling_rate=16_000, return_tensors="pt").input_values[0].T
        torch.testing.assert_close(window[0], (wanted + 4.268) / 9.138, rtol=0, atol=2e-4)
    # 198 frames of 2 s, then zeros
    behind = encoder.preprocess(sound, 16_000)[:, :, :, 198:]
    assert torch.equal(behind, torch.full_like(behind, 4.268 / 9.138))
    assert len(encoder.preprocess(sound[:100], 16_000)) == 1
    assert len(built(file, "audio", clips=0).preprocess(sound, 16_000)) == 3
    with pytest.raises(MediaError, match="sample rate"):
        encoder.preprocess(sound)


def test_pictures_are_clip_s_and_motions_are_interpolated(file: Path, draw: Draw) -> None:
    picture = draw("image")
    square = {"height": layout.SIDE, "width": layout.SIDE}
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": layout.SIDE}, crop_size=square)
    wanted = processor([picture], return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    assert torch.equal(built(file, "image").preprocess(picture), wanted)
    motion = draw("imu", seconds=5.0)
    at_400 = built(file, "imu").preprocess(motion)[0]
    # half a sample lies between two: the middle of each new one is a quarter from the nearest old one
    assert at_400.shape == (6, 2000)
    torch.testing.assert_close(at_400[:, 1], torch.from_numpy(0.75 * motion[:, 0] + 0.25 * motion[:, 1]))
    torch.testing.assert_close(at_400[:, 2], torch.from_numpy(0.25 * motion[:, 0] + 0.75 * motion[:, 1]))
    with pytest.raises(MediaError, match="image: expected uint8"):
        built(file, "image").preprocess(motion)


def test_the_pickle_is_converted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = layout.write(tmp_path / "weights", layout.released(seed=3))
    with caplog.at_level(logging.WARNING):
        first = built(file, "imu")
        in_folder = built(tmp_path / "weights", "imu")
    assert [record.message for record in caplog.records if "converted" in record.message] == [caplog.messages[0]]
    assert first.weights == in_folder.weights
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadCheckpoint, match=r"must hold imagebind_huge\.pth"):
        built(tmp_path / "empty", "imu")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"modality_preprocessors.audio.rgbt_stem.proj.weight": None}, "no checkpoint of ImageBind: .*rgbt_stem.proj"),
        ({"modality_trunks.audio.blocks.1.attn.bias_k": None}, r"blocks\.1\.attn\.bias_k"),
        ({"modality_heads.audio.2.weight": torch.ones(4)}, r"modality_heads\.audio\.2\.weight is missing or"),
        ({"modality_preprocessors.audio.pos_embedding_helper.pos_embed": torch.ones(1, 181, 25)}, "multiple of 12"),
    ],
)
def test_other_checkpoints_are_refused(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    tensors = {name: value for name, value in {**layout.released(), **change}.items() if value is not None}
    with pytest.raises(BadCheckpoint, match=line):
        built(layout.write(tmp_path / "other", tensors), "audio")


def test_the_released_sizes_need_no_weights() -> None:
    counts = {}
    for medium in MEDIA:
        options = Options(kind="imagebind", path="not/here", medium=medium)  # type: ignore[arg-type]
        encoder = encoders.build(options, BackboneLoading(weights=False))
        assert encoder.width == 1024
        assert encoder(torch.empty(1, *encoder.window_shape, device="meta")).shape == (1, 1, 1024)
        counts[medium] = sum(parameter.numel() for parameter in encoder.parameters())
    # OpenCLIP's ViT-H/14 with a second frame in its patches; ViT-B; six layers of width 512
    assert counts["image"] == counts["video"] == 632_076_800 + 3 * 14 * 14 * 1280
    assert 85e6 < counts["audio"] < 88e6
    assert 19e6 < counts["imu"] < 21e6


def test_an_encoder_of_another_medium_and_odd_frames_are_refused(file: Path) -> None:
    options = Options(kind="imagebind", path=str(file), medium="audio")
    modality = ModalityConfig(encoder=options, projector=LinearOptions(kind="linear"))
    config = AnyMALConfig(llm=LLMConfig(path=""), modalities={"image": modality})
    with pytest.raises(BadDefinition, match=r"modalities\.image: the encoder imagebind takes audio"):
        build_encoders(config, BackboneLoading())
    with pytest.raises(BadDefinition, match="5 frames"):
        built(file, "video", frames=5)


def test_check_names_the_licence(file: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "patch_size": layout.KERNEL, "projection_size": layout.SPACE}
    options = Options(kind="imagebind", path=str(file), medium="imu", architecture=sizes)
    modality = ModalityConfig(encoder=options, projector=LinearOptions(kind="linear"))
    report = inspect(AnyMALConfig(llm=LLMConfig(path="not/here"), modalities={"imu": modality}), offline=True)[1]
    assert (report.licence, report.weights, report.files) == ("CC BY-NC 4.0, no commercial use", "pickles", 1)
    assert report.problem == ""


@pytest.mark.parametrize("name", ["owner/imagebind", "owner/imagebind/imagebind_huge.pth"])
def test_it_loads_from_a_hub(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw, name: str
) -> None:
    layout.write(tmp_path / "hub" / "owner" / "imagebind")
    (tmp_path / "hub" / "owner" / "imagebind" / "consolidated.bin").write_bytes(b"not read")
    with serving(tmp_path / "hub", tmp_path / "cache", monkeypatch) as hub:
        options = Options(kind="imagebind", path=name, medium="imu")
        encoder = encoders.build(options, BackboneLoading())
        assert hub.read == ["owner/imagebind/imagebind_huge.pth"]
    windows = encoder.preprocess(draw("imu", seconds=5.0))
    with torch.no_grad():
        assert torch.equal(encoder(windows), built(file, "imu")(windows))
