"""Presets and configs are read strictly."""

from pathlib import Path

import pytest

from anymal_eval.anymal import config, encoders, projectors
from anymal_eval.errors import BadDefinition, NotInCatalog


@pytest.mark.parametrize("name", config.preset_names())
def test_every_preset_is_read_and_written_back(name: str) -> None:
    found = config.preset(name)
    assert config.read_config(config.write_config(found), name) == found


def test_the_presets_are_the_papers() -> None:
    assert set(config.preset_names()) >= {
        "13b-image", "13b-video", "70b-image-dinov2", "70b-image-vit-g", "70b-image-vit-l", "70b-video",
        "13b-video-frames", "70b-video-frames", "7b-audio", "7b-imu", "7b-any", "13b-any", "70b-any", "demo", "tiny",
    }  # fmt: skip
    lora = config.preset("70b-image-vit-l").lora
    assert lora is not None
    assert (lora.rank, lora.alpha, lora.targets) == (64, 16, ("all-linear",))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("7b-any", {"llm": "7b-audio", "image": "13b-image", "video": "13b-video"}),
        ("13b-any", {"llm": "13b-image", "image": "13b-image", "video": "13b-video"}),
        ("70b-any", {"llm": "70b-video", "image": "70b-image-vit-l", "video": "70b-video"}),
    ],
)
def test_a_network_of_every_medium_is_made_of_those_of_one(name: str, parts: dict[str, str]) -> None:
    whole = config.preset(name)
    assert whole.llm == config.preset(parts["llm"]).llm
    origin = {"image": parts["image"], "video": parts["video"], "audio": "7b-audio", "imu": "7b-imu"}
    single = {medium: config.preset(own).modalities[medium] for medium, own in origin.items()}  # type: ignore[index]
    assert whole.modalities == single
    assert whole.lora == config.preset(parts["image"]).lora


def test_every_file_is_an_encoder_or_a_projector() -> None:
    videos = ["frames", "internvideo", "resnet_frames", "viclip", "videomae"]
    assert set(encoders.names()) >= {"clap", "clip", "dinov2", "imu2clip", "resnet", "siglip", *videos}
    assert set(projectors.names()) >= {"linear", "mlp", "perceiver", "resampler"}
    for name in encoders.names():
        assert issubclass(encoders.options_of(name), encoders.EncoderOptions)
    for name in projectors.names():
        assert issubclass(projectors.options_of(name), projectors.ProjectorOptions)


WHOLE = """
[llm]
path = "x"
[modalities.image.encoder]
kind = "clip"
path = "y"
[modalities.image.projector]
kind = "mlp"
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WHOLE + "[extra]\n", "extra: unknown key; it may hold llm, lora, modalities"),
        (
            WHOLE.replace('path = "y"', 'path = "y"\nlayers = 2'),
            "modalities.image.encoder: layers: unknown key; did you mean layer; it may hold architecture, class_token",
        ),
        (WHOLE.replace('path = "y"', 'path = "y"\nlayer = "last"'), "layer: .* a valid integer, got 'last'"),
        (WHOLE.replace('path = "y"', 'path = "y"\nlayer = true'), "layer: .* a valid integer, got True"),
        (WHOLE.replace('path = "x"', ""), r"llm\.path: it is missing"),
        (WHOLE.replace('kind = "mlp"', ""), "projector: 'kind' is missing"),
        (WHOLE.replace('kind = "mlp"', 'kind = "linear"\nreading = "both"'), "be 'pool' or 'expand', got 'both'"),
        (WHOLE.replace("modalities.image", "modalities.smell"), "be 'image', 'audio', 'video' or 'imu', got 'smell'"),
        (WHOLE.replace('kind = "clip"', 'kind = "vit"'), "no encoder named 'vit'"),
        ("[llm]\npath=", "Invalid value"),
        ('[llm]\npath = "x"\n', "modalities: it is missing"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(BadDefinition, match=message):
        config.read_toml(file)


def test_an_unknown_preset_offers_the_nearest() -> None:
    with pytest.raises(NotInCatalog, match="13b-image"):
        config.preset("13b-imagee")


def test_paths_can_be_replaced_by_name() -> None:
    moved = config.with_paths(config.preset("tiny"), {"llm": "/a", "audio": "/b"})
    assert moved.llm.path == "/a"
    assert moved.modalities["audio"].encoder.path == "/b"
    assert moved.modalities["image"] == config.preset("tiny").modalities["image"]
    with pytest.raises(BadDefinition, match="'text' is no part"):
        config.with_paths(moved, {"text": "/c"})
