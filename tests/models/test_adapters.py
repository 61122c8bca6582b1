"""``-o adapter=``: PEFT's adapters are merged into the weights, and those of another model are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from anymal_eval.checkpoints.adapters import merged
from anymal_eval.checkpoints.loading import quiet
from anymal_eval.errors import AnyMALEvalError
from anymal_eval.models import choose_model
from tests.models.conftest import Open, Tiny


def adapters(base: Path, folder: Path, **more: Any) -> Path:
    """Adapters of rank 2 on the queries of the language model, of random numbers."""
    import peft

    with quiet():
        model = transformers.AutoModelForImageTextToText.from_pretrained(base)
        config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=r".*language_model.*\.q_proj", **more)
        tuned = peft.get_peft_model(model, config)
    torch.manual_seed(3)
    for name, value in tuned.named_parameters():
        if "lora_" in name:
            value.data = torch.randn_like(value) * 0.3
    tuned.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def lora(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapters(tiny("llava"), tmp_path_factory.mktemp("lora"))


def test_the_weights_are_those_of_base_and_adapters(tiny: Tiny, lora: Path) -> None:
    with quiet():
        base = transformers.AutoModelForImageTextToText.from_pretrained(tiny("llava"))
    before = {name: value.clone() for name, value in base.state_dict().items()}
    found = merged(base, lora).state_dict()
    assert found.keys() == before.keys()
    parts = load_file(lora / "adapter_model.safetensors")
    changed = 0
    for name, value in before.items():
        key = f"base_model.model.{name.removesuffix('.weight')}"
        wanted = value
        if (up := parts.get(f"{key}.lora_B.weight")) is not None:
            wanted, changed = value + 3 * up @ parts[f"{key}.lora_A.weight"], changed + 1
        torch.testing.assert_close(found[name], wanted)
    assert changed == len(parts) // 2 > 0


def test_a_model_with_adapters_is_another(tiny: Tiny, lora: Path, opened: Open) -> None:
    spec = choose_model(f"hf:{tiny('llava')}", {"device": "cpu", "adapter": str(lora)})
    model: Any = spec.load()
    try:
        assert model.fingerprint != opened("hf", "llava").fingerprint
        assert model.remark == f"adapter {lora.name}"
    finally:
        model.close()


@pytest.mark.parametrize(("wrapper", "kind"), [("blip2", "blip2-opt"), ("instructblip", "instructblip-llama")])
def test_the_blip_families_take_adapters_too(wrapper: str, kind: str, tiny: Tiny, opened: Open, tmp_path: Path) -> None:
    folder = adapters(tiny(kind), tmp_path / "lora")
    spec = choose_model(f"{wrapper}:{tiny(kind)}", {"device": "cpu", "adapter": str(folder)})
    model: Any = spec.load()
    try:
        plain: Any = opened(wrapper, kind)
        assert (model.remark, plain.remark) == ("adapter lora", "")
        assert model.fingerprint != plain.fingerprint
        found, before = (each.generator.model.state_dict() for each in (model, plain))
        changed = {name for name, value in before.items() if not torch.equal(found[name], value)}
        parts = {name for name in load_file(folder / "adapter_model.safetensors") if "lora_A" in name}
        assert len(changed) == len(parts) > 0
        assert all(name.endswith("q_proj.weight") for name in changed)
    finally:
        model.close()


def test_adapters_that_do_not_fit(tiny: Tiny, lora: Path, tmp_path: Path) -> None:
    def refused(name: str, **options: str) -> str:
        with pytest.raises(AnyMALEvalError) as caught:
            choose_model(f"hf:{tiny('llava')}", {"device": "cpu", "adapter": name, **options}).load()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert refused(str(tmp_path)) == (
        f"-o adapter={tmp_path}: {tmp_path} holds no adapter_config.json and adapter_model.safetensors, as PEFT writes "
        "them"
    )
    assert refused(str(lora), quantize="int8") == (
        f"-o adapter={lora}: adapters are merged into the weights, which goes without --quantize"
    )
    other = Path(shutil.copytree(lora, tmp_path / "other"))
    settings = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**settings, "peft_type": "IA3"}))
    assert refused(str(other)) == f"-o adapter={other}: its kind is 'IA3'; LORA alone is read"
    (other / "adapter_config.json").write_text(json.dumps({**settings, "target_modules": r".*vision.*\.q_proj"}))
    message = f"-o adapter: {other} holds adapters of another model than LlavaForConditionalGeneration"
    assert refused(str(other)) == message
