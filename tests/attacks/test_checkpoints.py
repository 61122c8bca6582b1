"""Crafted checkpoints: each is refused with one line before its network is built, or it answers."""

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.anymal import tiny as tiny_anymal
from anymal_eval.errors import BadCheckpoint, NeedsExtra, WrongUse
from anymal_eval.models import choose_model
from tests.models.conftest import Tiny, _offline, pictures, tiny  # noqa: F401  # fixtures

Craft = Callable[[Path], object]


def edit(name: str, change: Callable[[Any], object]) -> Craft:
    def craft(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        changed = change(content)
        (folder / name).write_text(json.dumps(content if changed is None else changed))

    return craft


def setting(name: str, *path: str, value: Any) -> Craft:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content.setdefault(key, {})
        content[path[-1]] = value

    return edit(name, change)


def written(name: str, content: str | bytes) -> Craft:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def header(change: Callable[[dict[str, Any]], object]) -> Craft:
    """Another header in front of the same bytes."""

    def craft(folder: Path) -> None:
        file = folder / "model.safetensors"
        data = file.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        content = json.loads(data[8 : 8 + length])
        changed = change(content)
        text = json.dumps(content if changed is None else changed).encode()
        file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return craft


def first_tensor(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content[next(name for name in content if name != "__metadata__")]
    return found


def overlapping(content: dict[str, Any]) -> None:
    first = first_tensor(content)
    for facts in content.values():
        if "dtype" in facts:
            facts |= {"shape": first["shape"], "data_offsets": first["data_offsets"]}


def fifo(name: str) -> Craft:
    def craft(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return craft


def folder_instead(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


def sharded(places: Any) -> Craft:
    def craft(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-1.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(places))

    return craft


CONFIG, TOKENIZER, PROCESSOR = "config.json", "tokenizer.json", "processor_config.json"
DEEP = "[" * 100_000 + "]" * 100_000
REFUSED: dict[str, Craft] = {
    "config: list": written(CONFIG, "[]"),
    "config: null": written(CONFIG, "null"),
    "config: number": written(CONFIG, "7"),
    "config: empty": written(CONFIG, ""),
    "config: folder": folder_instead,
    "config: FIFO": fifo(CONFIG),
    "config: deep": written(CONFIG, DEEP),
    "config: latin-1": written(CONFIG, b'{"model_type": "llava\xe9"}'),
    "config: digits": written(CONFIG, '{"model_type": "llava", "x": ' + "9" * 5000 + "}"),
    "config: no model_type": edit(CONFIG, lambda it: {"vision_config": {}}),
    "config: model_type list": setting(CONFIG, "model_type", value=["llava"]),
    "config: model_type unknown": setting(CONFIG, "model_type", value="no-such-type"),
    "config: architectures number": setting(CONFIG, "architectures", value=5),
    "config: auto_map number": setting(CONFIG, "auto_map", value=5),
    "config: text_config list": setting(CONFIG, "text_config", value=[]),
    "config: vision_config text": setting(CONFIG, "vision_config", value="clip"),
    "config: 10^7 layers": setting(CONFIG, "text_config", "num_hidden_layers", value=10**7),
    "config: 10^7 layers of vision": setting(CONFIG, "vision_config", "num_hidden_layers", value=10**7),
    "config: 10^30 layers": setting(CONFIG, "text_config", "num_hidden_layers", value=10**30),
    "config: -3 layers": setting(CONFIG, "text_config", "num_hidden_layers", value=-(10**9)),
    "config: width": setting(CONFIG, "text_config", "hidden_size", value=10**6),
    "config: width 0": setting(CONFIG, "text_config", "hidden_size", value=0),
    "config: width text": setting(CONFIG, "text_config", "hidden_size", value="32"),
    "config: width null": setting(CONFIG, "text_config", "hidden_size", value=None),
    "config: width float": setting(CONFIG, "text_config", "hidden_size", value=1e300),
    "config: heads": setting(CONFIG, "text_config", "num_attention_heads", value=10**9),
    "config: heads 0": setting(CONFIG, "text_config", "num_attention_heads", value=0),
    "config: vocabulary": setting(CONFIG, "text_config", "vocab_size", value=10**12),
    "config: positions": setting(CONFIG, "text_config", "max_position_embeddings", value=10**18),
    "config: image": setting(CONFIG, "vision_config", "image_size", value=10**7),
    "config: patch 0": setting(CONFIG, "vision_config", "patch_size", value=0),
    "config: dtype": setting(CONFIG, "dtype", value="float7"),
    "config: activation": setting(CONFIG, "text_config", "hidden_act", value="no-such"),
    "generation: list": written("generation_config.json", "[]"),
    "generation: deep": written("generation_config.json", DEEP),
    "header: empty": written("model.safetensors", b""),
    "header: pickle": written("model.safetensors", pickle.dumps({"a": 1}) * 9),
    "header: length": written("model.safetensors", struct.pack("<Q", 1 << 62) + b"{}"),
    "header: list": header(lambda it: []),
    "header: deep": written("model.safetensors", struct.pack("<Q", len(DEEP)) + DEEP.encode()),
    "header: tensor list": header(lambda it: {**it, next(iter(it)): 5}),
    "header: dtype": header(lambda it: first_tensor(it).update(dtype="F31")),
    "header: dtype list": header(lambda it: first_tensor(it).update(dtype=["F32"])),
    "header: shape": header(lambda it: first_tensor(it).update(shape=[10**18, 10**18])),
    "header: shape text": header(lambda it: first_tensor(it).update(shape="32")),
    "header: shape negative": header(lambda it: first_tensor(it).update(shape=[-1])),
    "header: offsets": header(lambda it: first_tensor(it).update(data_offsets=[0, 10**18])),
    "header: offsets reversed": header(lambda it: first_tensor(it).update(data_offsets=[9, 1])),
    "header: offsets one": header(lambda it: first_tensor(it).update(data_offsets=[1])),
    "header: overlap": header(overlapping),
    "header: FIFO": fifo("model.safetensors"),
    "header: no tensor": written("model.safetensors", struct.pack("<Q", 2) + b"{}"),
    "header: tail": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes() + b"more"
    ),
    "index: list": sharded([]),
    "index: no map": sharded({"metadata": {}}),
    "index: leads out": sharded({"weight_map": {"a": "../../other/model.safetensors"}}),
    "index: absolute": sharded({"weight_map": {"a": "/etc/passwd"}}),
    "index: missing file": sharded({"weight_map": {"a": "model-2.safetensors"}}),
    "index: missing tensor": sharded({"weight_map": {"no.such": "model-1.safetensors"}}),
    "index: number": sharded({"weight_map": {"a": 5}}),
    "tokenizer: empty": written(TOKENIZER, ""),
    "tokenizer: list": written(TOKENIZER, "[]"),
    "tokenizer: object": written(TOKENIZER, "{}"),
    "tokenizer: FIFO": fifo(TOKENIZER),
    "tokenizer: deep": written(TOKENIZER, DEEP),
    "tokenizer: model": setting(TOKENIZER, "model", value={"type": "Nothing"}),
    "tokenizer: merges": setting(TOKENIZER, "model", "merges", value=[["no", "such"]]),
    "tokenizer config: list": written("tokenizer_config.json", "[]"),
    "processor: list": written(PROCESSOR, "[]"),
    "processor: FIFO": fifo(PROCESSOR),
    "processor: deep": written(PROCESSOR, DEEP),
    "processor: class": setting(PROCESSOR, "processor_class", value="NoSuchProcessor"),
    "processor: type": setting(PROCESSOR, "image_processor", "image_processor_type", value="NoSuchImageProcessor"),
    "processor: size": setting(PROCESSOR, "image_processor", "size", value={"no": 1}),
    "template: list": written("chat_template.jinja", b"\xff\xfe"),
}


@pytest.fixture(scope="session")
def llava(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue("tiny")("llava")
    return folder


def opened(folder: Path) -> Any:
    return choose_model(f"hf:{folder}", {"device": "cpu"}).load()


@pytest.mark.parametrize("name", REFUSED)
def test_a_crafted_checkpoint_is_refused_with_one_line(name: str, llava: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llava, tmp_path / "crafted"))
    REFUSED[name](folder)
    with pytest.raises((BadCheckpoint, NeedsExtra)) as caught:
        opened(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 900
    assert str(folder) in message


NETWORK, LLM = "checkpoint/config.json", "backbones/llm"
IMAGE = ("network", "modalities", "image")
ANYMAL: dict[str, Craft] = {
    "layers": setting(NETWORK, *IMAGE, "projector", "layers", value=10**7),
    "tokens": setting(NETWORK, *IMAGE, "projector", "tokens", value=10**12),
    "heads": setting(NETWORK, *IMAGE, "projector", "heads", value=10**9),
    "heads -1": setting(NETWORK, *IMAGE, "projector", "heads", value=-1),
    "kind": setting(NETWORK, *IMAGE, "projector", "kind", value="../../x"),
    "encoder layer": setting(NETWORK, *IMAGE, "encoder", "layer", value=10**9),
    "path": setting(NETWORK, "network", "llm", "path", value="\x00"),
    "list": written(NETWORK, "[]"),
    "network list": setting(NETWORK, "network", value=[]),
    "modalities list": setting(NETWORK, "network", "modalities", value=[1]),
    "frozen list": setting(NETWORK, "frozen", value=[1]),
    "format": setting(NETWORK, "format", value=10**30),
    "deep": written(NETWORK, DEEP),
    "projectors": written("checkpoint/projectors.safetensors", pickle.dumps(1)),
    "llm layers": setting(f"{LLM}/config.json", "num_hidden_layers", value=10**7),
    "llm width": setting(f"{LLM}/config.json", "hidden_size", value=10**7),
    "llm config": written(f"{LLM}/config.json", "[1]"),
    "llm tokenizer": written(f"{LLM}/tokenizer.json", "{}"),
    "llm template": written(f"{LLM}/chat_template.jinja", ""),
    "llm header": written(f"{LLM}/model.safetensors", struct.pack("<Q", 1 << 40)),
}  # fmt: skip


@pytest.fixture(scope="session")
def anymal_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_anymal.write(tmp_path_factory.mktemp("anymal")).parent


@pytest.mark.parametrize("name", ANYMAL)
def test_a_crafted_network_is_refused_with_one_line(name: str, anymal_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(anymal_folder, tmp_path / "crafted"))
    ANYMAL[name](folder)
    with pytest.raises(WrongUse) as caught:
        choose_model(f"anymal:{folder / 'checkpoint'}", {"device": "cpu"}).load()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900
