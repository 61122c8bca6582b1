"""A passed self-test is remembered for the same class, libraries and device; whatever is odd makes it run anew."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.generation.self_test import ON
from anymal_eval.models import _chat_loading, _self_test_memory, choose_model
from tests.models.conftest import Tiny


@pytest.fixture
def load(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, int]]:
    """Loads a model; gives the outcome that the manifest gets, and how many tests ran."""
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))
    calls: list[object] = []

    def counted(chat: Any, wanted: bool, *, exact: bool, known: object) -> Any:
        calls.append(chat)
        if wanted:
            chat.prefix_sharing, chat.provenance["prefix_sharing"] = object(), ON
        else:
            chat.provenance["prefix_sharing"] = "off: -o share=false"
        return chat

    monkeypatch.setattr(_chat_loading, "try_sharing", counted)

    def call(folder: Path | None = None, **options: str) -> tuple[str, int]:
        calls.clear()
        model: Any = choose_model(f"hf:{folder or tiny('llava')}", options).load()
        if model.prefix_sharing is not None and calls:
            model.prefix_sharing = None  # it stood for a real one
        model.close()
        return model.provenance["prefix_sharing"], len(calls)

    return call


def test_a_passed_test_is_remembered(load: Callable[..., tuple[str, int]], tmp_path: Path, tiny: Tiny) -> None:
    assert load() == (ON, 1)
    assert load() == (ON, 0)
    assert load(share="false") == ("off: -o share=false", 1)
    assert load(precision="bf16") == (ON, 1)
    # Other weights of the same network: in fp32 the class decides, in bf16 rounding may.
    other = Path(shutil.copytree(tiny("llava"), tmp_path / "other"))
    from safetensors.torch import load_file, save_file

    tensors = {name: value * 1.01 for name, value in load_file(other / "model.safetensors").items()}
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    assert load(other) == (ON, 0)
    assert load(other, precision="bf16") == (ON, 1)
    # Another template is another prompt.
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>"
                        "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %} A:")  # fmt: skip
    assert load(chat_template=str(template)) == (ON, 1)
    (first, *_) = sorted((tmp_path / "cache" / "self-tests").glob("*.json"))
    facts = json.loads(first.read_text())["facts"]
    assert facts["class"] == "transformers.models.llava.modeling_llava.LlavaForConditionalGeneration"
    assert {"torch", "transformers"} <= set(facts["versions"])


def test_odd_files_count_as_none(
    load: Callable[..., tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load() == (ON, 1)
    (file,) = (tmp_path / "cache" / "self-tests").glob("*.json")
    whole = file.read_bytes()
    for damaged in (b"", whole[:100], whole.replace(b"LlavaFor", b"LlavbFor"), b"[" * 10_000, b"{}", b"\xff" * 100):
        file.write_bytes(damaged)
        assert load() == (ON, 1), damaged[:40]
        assert file.read_bytes() == whole
    elsewhere = tmp_path / "elsewhere.json"
    shutil.move(file, elsewhere)
    file.symlink_to(elsewhere)
    assert load() == (ON, 1)
    owner = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr("os.geteuid", lambda: owner + 1)
        assert load() == (ON, 1)
    assert load() == (ON, 0)
    with monkeypatch.context() as patch:
        patch.setattr(_self_test_memory, "_version", lambda package: "0")
        assert load() == (ON, 1)
    # A cache that cannot be written is no reason to stop.
    (tmp_path / "plain").write_text("")
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "plain"))
    assert load() == (ON, 1)


def test_a_failed_test_is_not_remembered(
    load: Callable[..., tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(chat: Any, wanted: bool, *, exact: bool, known: object) -> Any:
        chat.provenance["prefix_sharing"] = "off: self-test failed, scores differ by 1.0e+00"
        return chat

    with monkeypatch.context() as patch:
        patch.setattr(_chat_loading, "try_sharing", failed)
        assert load()[0].startswith("off: self-test failed")
    assert not (tmp_path / "cache" / "self-tests").exists()
    assert load() == (ON, 1)


def test_a_class_that_takes_no_cache_with_room_shares_prefixes_without(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anymal_eval.generation import growing_kv

    def loaded() -> Any:
        model: Any = choose_model(f"hf:{tiny('llava')}", {}).load()
        model.close()
        return model

    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path))
    update = growing_kv.GrowingLayer.update
    with monkeypatch.context() as patch:
        # Its attention would need keys in one piece; another class would have other numbers, yet the same texts.
        for broken in (_refusing, lambda own, keys, values: update(own, keys, values * 1.0001)):
            patch.setattr(growing_kv.GrowingLayer, "update", broken)
            model = loaded()
            assert (model.provenance["prefix_sharing"], model.generator.grows_in_place) == (ON, False)
            assert model.prefix_sharing is not None
            assert not (tmp_path / "self-tests").exists()
    assert loaded().generator.grows_in_place is True
    monkeypatch.setattr(growing_kv.GrowingLayer, "update", _refusing)
    assert loaded().generator.grows_in_place is True, "the passed test is remembered"


def _refusing(own: object, keys: object, values: object) -> None:
    raise RuntimeError("view size is not compatible with input tensor's size and stride")
