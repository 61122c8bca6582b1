"""What is loaded of a checkpoint is what its fingerprint names, and it is looked up and read once."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as typed
from safetensors.torch import load_file, save_file

from anymal_eval.anymal import encoders, tiny
from anymal_eval.anymal.config import preset
from anymal_eval.checkpoints import headers, transformers_model
from anymal_eval.checkpoints.headers import check_declared
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.checkpoints.transformers_folder import OpenOptions, fetch
from anymal_eval.checkpoints.weights import fingerprint, read_shapes, state_dict
from anymal_eval.codec import decode
from anymal_eval.errors import AnyMALEvalError, BadCheckpoint
from tests.anymal import test_viclip
from tests.checkpoints.fake_hub import serving
from tests.checkpoints.test_conversion import OPTIONS, folder, pickled  # noqa: F401 - a fixture

transformers: Any = typed


@pytest.mark.parametrize("other", ["model.safetensors", "open_clip_model.safetensors"])
def test_of_two_formats_the_one_that_is_hashed_is_loaded(other: str, tmp_path: Path) -> None:
    llm = tmp_path / "llm"
    tiny.write_llm(llm, preset("tiny").llm)
    tensors = load_file(llm / "model.safetensors")
    (llm / "model.safetensors").rename(llm / other)
    torch.save({name: value + 1 for name, value in tensors.items()}, llm / "pytorch_model.bin")
    options = OpenOptions(checkpoint=str(llm), device="cpu", allow_pickle=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(llm)
    loaded = transformers_model.load_model(
        transformers.AutoModelForCausalLM, fetch(options), options, "test", tokenizer
    )
    is_usual = other == "model.safetensors"
    name = "model.embed_tokens.weight"
    assert torch.equal(loaded.model.state_dict()[name], tensors[name] + (not is_usual))
    assert (loaded.provenance["weights"] == fingerprint(llm)) is is_usual


def test_a_repository_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "own"))
    repository = tmp_path / "hub" / "owner" / "clip"
    options = decode(encoders.options_of("clip"), {**OPTIONS, "path": str(repository)}, "clip")
    repository.parent.mkdir(parents=True)
    tiny.write_encoder(repository, options)
    with serving(tmp_path / "hub", tmp_path / "cache", monkeypatch) as hub:
        built = encoders.build(
            decode(type(options), {**vars(options), "path": "owner/clip"}, "clip"), BackboneLoading()
        )
        assert built.weights == fingerprint(repository)
        assert len(set(hub.lists)) == len(hub.lists) > 0, hub.lists


def test_headers_and_index_are_parsed_once(
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    half = len(tensors) // 2
    parts = {"a.safetensors": dict(list(tensors.items())[:half]), "b.safetensors": dict(list(tensors.items())[half:])}
    places = {name: file for file, part in parts.items() for name in part}
    for file, part in parts.items():
        save_file(part, folder / file, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    index.write_text(f'{{"weight_map": {str(places).replace(chr(39), chr(34))}}}')
    read: list[Path] = []
    real = headers.read_header

    def counted(file: Path) -> Any:
        read.append(file)
        return real(file)

    monkeypatch.setattr(headers, "read_header", counted)
    check_declared(folder)
    assert sorted(file.name for file in read) == sorted(parts)
    index.write_text(index.read_text().replace(next(iter(places)), "another"))
    with pytest.raises(BadCheckpoint, match=r"places 'another' in a\.safetensors, which does not hold it"):
        check_declared(folder)


@pytest.mark.parametrize("change", ["width", "patch", "places"])
def test_any_fault_of_an_encoders_checkpoint_is_one_line(change: str, tmp_path: Path) -> None:
    tensors = test_viclip.released()
    name, shape = {
        "width": ("conv1.weight", (96, 3, 1, 8, 8)),
        "patch": ("conv1.weight", (64, 3, 1, 0, 0)),
        "places": ("positional_embedding", (0, 64)),
    }[change]
    tensors[name] = torch.zeros(shape)
    path = test_viclip.write(tmp_path / "viclip", tensors)
    options = encoders.options_of("viclip")(kind="viclip", path=str(path), frames=test_viclip.FRAMES)  # type: ignore[call-arg]
    with pytest.raises(AnyMALEvalError) as caught:
        encoders.build(options, BackboneLoading())
    assert "\n" not in str(caught.value)


def test_a_trainers_state_dict(tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(2, 3)}, "epoch": 1}, file)
    assert (read_shapes(file), list(state_dict(file))) == ({"a": (2, 3)}, ["a"])
    torch.save({"state_dict": torch.zeros(1)}, file)
    with pytest.raises(BadCheckpoint, match="its state_dict holds no names"):
        state_dict(file)
    save_file({"a": torch.zeros(2, 3, dtype=torch.bfloat16)}, tmp_path / "a.safetensors")
    assert read_shapes(tmp_path / "a.safetensors") == {"a": (2, 3)}
