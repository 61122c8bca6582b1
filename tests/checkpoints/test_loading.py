"""The options of a model become one description of how it is loaded, for the network and for transformers models."""

from typing import Any

import pytest
import torch

from anymal_eval import catalog
from anymal_eval.checkpoints.loading import Loading, loading_of, pick_device, precision_name, with_precision
from anymal_eval.checkpoints.transformers_folder import LoadingOptions
from anymal_eval.errors import NeedsExtra, WrongUse


def options(**given: Any) -> LoadingOptions:
    return LoadingOptions(checkpoint="x", **given)


def test_what_options_mean() -> None:
    plain = loading_of(options(device="cpu"))
    assert plain == Loading()
    assert plain.arguments() == {}
    bf16 = loading_of(options(device="cpu", precision="bf16"))
    assert (bf16.precision, bf16.backbone.dtype) == (torch.bfloat16, torch.bfloat16)
    spread = loading_of(options(device_map='{"": "cpu"}'))
    assert spread.arguments() == {"device_map": {"": "cpu"}}
    with pytest.raises(WrongUse, match="give one of them"):
        loading_of(options(device="cpu", device_map="auto"))


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_quantization_puts_the_model_on_its_device(kind: str) -> None:
    arguments = loading_of(options(device="cpu", quantize=kind, precision="bf16")).arguments(["vision_tower"])
    assert arguments["device_map"] == {"": "cpu"}
    settings = arguments["quantization_config"]
    assert settings.llm_int8_skip_modules == ["vision_tower"]
    assert settings.load_in_8bit is (kind == "int8")
    if kind == "nf4":
        assert (settings.bnb_4bit_quant_type, settings.bnb_4bit_compute_dtype) == ("nf4", torch.bfloat16)
    spread = loading_of(options(device_map="auto", quantize=kind)).arguments()
    assert spread["device_map"] == "auto"
    assert spread["quantization_config"].llm_int8_skip_modules is None


WRAPPERS = ("anymal", "blip2", "hf", "hf_audio", "instructblip")


def test_every_local_wrapper_is_tried() -> None:
    known = catalog.models()
    local = {name for name in known.names() if hasattr(known.module(name).Options, "precision")}
    assert local - {"vllm"} == set(WRAPPERS)  # vLLM's server chooses for itself


@pytest.mark.parametrize("name", WRAPPERS)
def test_bf16_is_the_default_on_a_gpu_and_fp32_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = catalog.models().module(name).Options
    expected = [
        (True, {}, torch.bfloat16),
        (True, {"device": "cuda"}, torch.bfloat16),
        (True, {"device": "cpu"}, torch.float32),
        (True, {"device_map": "auto"}, torch.bfloat16),
        (True, {"device_map": '{"": "cpu"}'}, torch.float32),
        (True, {"precision": "fp32"}, torch.float32),
        (False, {}, torch.float32),
        (False, {"device_map": "auto"}, torch.float32),
        (False, {"precision": "bf16"}, torch.bfloat16),
    ]
    for gpu, given, dtype in expected:
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        loading = loading_of(made(checkpoint="x", **given))
        assert (gpu, given, loading.precision) == (gpu, given, dtype)
        assert with_precision(made(checkpoint="x", **given)).precision == precision_name(dtype)


@pytest.mark.parametrize("found", [True, False])
def test_devices(found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert pick_device("auto") == ("cuda" if found else "cpu")
    assert pick_device("cpu") == "cpu"
    if found:
        assert pick_device("cuda") == "cuda"
    else:
        with pytest.raises(NeedsExtra, match="torch finds no GPU here"):
            pick_device("cuda")
