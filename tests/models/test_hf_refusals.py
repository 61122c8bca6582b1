"""What ``hf`` and ``hf_audio`` refuse, each in one clear line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import BadCheckpoint, ContextTooLong, NeedsExtra, RequestFailed
from anymal_eval.models import choose_model
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import medium, request


def refused(typed: str, **options: str) -> str:
    with pytest.raises((BadCheckpoint, NeedsExtra)) as caught:
        choose_model(typed, options).load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_without_a_chat_template(tmp_path: Path) -> None:
    from anymal_eval.checkpoints.loading import quiet
    from tests.models.tiny_chats import llava

    with quiet():
        llava(tmp_path / "base", chat=None)
    message = refused(f"hf:{tmp_path / 'base'}")
    assert "its processor (LlavaProcessor) has no chat template" in message


@pytest.mark.parametrize(
    ("wrapper", "name", "message"),
    [
        ("hf", "blip2-opt", "it is a Blip2ForConditionalGeneration; use --model blip2:"),
        ("hf", "qwen2-audio", "it is a Qwen2AudioForConditionalGeneration; use --model hf_audio:"),
        ("hf_audio", "gemma3", "it is a Gemma3ForConditionalGeneration; use --model hf:"),
    ],
)
def test_another_architecture(wrapper: str, name: str, message: str, tiny: Tiny) -> None:
    assert message in refused(f"{wrapper}:{tiny(name)}")


def test_a_language_model_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    assert "it is a LlamaForCausalLM; no wrapper takes that class" in refused(f"hf:{tmp_path}")


def test_more_pictures_than_it_takes(tiny: Tiny, pictures: list[Path]) -> None:
    spec = choose_model(f"hf:{tiny('llava')}", {"max_images": "1"})
    assert spec.accepts == {"image"}
    model = spec.load()
    two = request("1", [medium(pictures[0]), medium(pictures[1])], "?")
    with pytest.raises(RequestFailed, match="2 pictures or frames, the model takes 1"):
        model.prepare(two)
    model.close()
    assert choose_model(f"hf:{tiny('llava')}", {}).accepts == {"image", "video"}


def test_requests_that_cannot_be_answered(opened: Open, pictures: list[Path]) -> None:
    model = opened("hf", "llava")
    with pytest.raises(RequestFailed, match="takes image and video, not audio"):
        model.prepare(request("1", [medium(pictures[0], "audio")], "?"))
    with pytest.raises(ContextTooLong, match="the model's context is 1024"):
        model.prepare(request("1", [medium(pictures[0])], "why " * 1024))


def test_code_of_the_checkpoints_own(tiny: Tiny, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    from safetensors.torch import save_file

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = Path(shutil.copytree(tiny("llava"), tmp_path / "coded"))
    (folder / "modeling_own.py").write_text(
        "from transformers import LlavaConfig, LlavaForConditionalGeneration\n\n\n"
        "class OwnConfig(LlavaConfig):\n    model_type = 'own'\n\n\n"
        "class OwnModel(LlavaForConditionalGeneration):\n    config_class = OwnConfig\n"
    )
    # Under their names inside the class: transformers renames LLaVA's own only for checkpoints of LLaVA's type.
    save_file(opened("hf", "llava").network.state_dict(), folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own", "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForImageTextToText": "modeling_own.OwnModel"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    assert "runs with -o trust_remote_code=true only" in refused(f"hf:{folder}")
    model: Any = choose_model(f"hf:{folder}", {"trust_remote_code": "true"}).load()
    assert model.remark == "trust_remote_code"
    assert model.provenance["class"] == "OwnModel"
    model.close()
