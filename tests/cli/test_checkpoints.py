"""``checkpoints`` as it is typed."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from anymal_eval.anymal import checkpoint, config, tiny
from anymal_eval.cli.main import cli
from anymal_eval.errors import AnyMALEvalError, NotInCatalog
from tests.checkpoints.fake_hub import serving


def call(*given: object) -> Result:
    return CliRunner().invoke(cli, ["checkpoints", *map(str, given)], standalone_mode=False)


def total(done: Result) -> float:
    assert done.exit_code == 0, done.output
    assert all(len(line) <= 80 for line in done.output.splitlines() if line.endswith(" GiB"))
    found = re.search(r"total +([\d.]+) GiB", done.output)
    assert found
    return float(found[1])


def test_the_memory_of_a_preset_that_is_not_here() -> None:
    plain = total(call("estimate", "7b-imu"))
    # 6.74e9 numbers of 2 bytes, and little beside
    assert plain == pytest.approx(6.74e9 * 2 / 2**30, rel=0.03)
    assert total(call("estimate", "7b-imu", "--quantize", "nf4")) < 0.35 * plain


def test_of_a_folder_and_of_what_is_none(tmp_path: Path) -> None:
    tiny.write(tmp_path)
    network = tmp_path / "of-pictures"  # the memory of one encoder is estimated quickly
    whole = config.preset("tiny")
    pictures = replace(whole, modalities={"image": whole.modalities["image"]})
    checkpoint.save(tiny.network_of(pictures, tmp_path / "backbones"), network, note="untrained")
    assert total(call("estimate", network, "--precision", "fp32")) < 0.1
    step = ("estimate", network, "--train", "align", "--batch-size", 4, "--text-tokens", 8192, "--precision", "fp32")
    plain = total(call(*step))
    assert total(call(*step, "--gradient-checkpointing")) < plain
    done = call(*step, "--memory", plain, "--device", "cuda")
    assert total(done) < plain
    assert f"gradient checkpointing: on; without it a step takes {plain:.1f} GiB of {plain:.1f} GiB" in done.output
    assert "not counted: the GPU's context" in done.output
    assert "weights: lora, " in call("estimate", network, "--train", "instruct").output
    assert "weights: lora, " not in call("estimate", network, "--train", "align").output
    error = call("estimate", "7b-imi").exception
    assert isinstance(error, NotInCatalog)
    assert "did you mean" in str(error)
    refused = call("join", tmp_path / "checkpoint", tmp_path / "none", "--out", tmp_path / "out").exception
    assert isinstance(refused, AnyMALEvalError)
    done = call("merge-lora", tmp_path / "checkpoint", "--out", tmp_path / "merged")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "merged" / "llm" / "model.safetensors").is_file()


def test_a_network_has_the_names_that_training_takes(tmp_path: Path) -> None:
    tiny.write(tmp_path)
    file = tmp_path / "backbones" / "own.toml"  # its paths are relative to its folder
    shutil.copyfile(Path(config.__file__).parent / "presets" / "tiny.toml", file)
    done = call("check", file, "--offline")
    assert done.output.count("its tensors fit") == 5, done.output
    done = call("check", "anymal:demo", "--offline")
    assert done.output.count("its tensors fit") == 5, done.output
    assert total(call("estimate", "anymal:demo")) < 0.1
    assert str(call("estimate", "./stage1").exception) == "./stage1: there is no such folder"
    assert str(call("estimate", "none.toml").exception) == "none.toml: there is no such file"
    assert str(call("estimate", "out/stage1").exception).startswith("out/stage1: no such folder, and the hub's cache")


def test_parts_that_are_here_are_checked_by_their_headers(tmp_path: Path) -> None:
    tiny.write(tmp_path)
    network = tmp_path / "checkpoint"
    (tmp_path / "backbones" / "clip" / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    done = call("check", network, "--offline")
    assert done.return_value == 0, done.output
    assert done.output.count("its tensors fit") == 5
    assert re.search(
        r"image: clip, .*clip\n  1 file of safetensors, 0\.00 GiB, licence mit\n  its tensors fit", done.output
    )

    file = tmp_path / "backbones" / "clip" / "model.safetensors"
    tensors = load_file(file)
    name = next(each for each in tensors if each.endswith("layers.1.mlp.fc1.weight"))
    save_file({**tensors, name: tensors[name][:-1].clone()}, file, metadata={"format": "pt"})
    done = call("check", network, "--offline")
    assert done.return_value == 1
    assert "1 tensors are missing or of another shape, first" in done.output
    assert done.output.count("its tensors fit") == 4
    file.unlink()
    assert "it holds no weights" in call("check", network, "--offline").output


def test_parts_that_are_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = tmp_path / "hub" / "meta-llama" / "Llama-2-13b-chat-hf"
    llm.mkdir(parents=True)
    (llm / "model.safetensors").write_bytes(b"0" * 1000)
    (llm / "pytorch_model.bin").write_bytes(b"0" * 5000)
    with serving(tmp_path / "hub", tmp_path / "cache", monkeypatch) as hub:
        hub.cards["meta-llama/Llama-2-13b-chat-hf"] = {"license": "llama2", "gated": "manual"}
        done = call("check", "13b-video")
        assert done.return_value == 1
        address = f"{hub.url}/meta-llama/Llama-2-13b-chat-hf"
        assert done.output.splitlines() == [
            "llm: language model, meta-llama/Llama-2-13b-chat-hf",
            "  1 file of safetensors, 0.00 GiB, licence llama2",
            "  it is not on this machine",
            f"  do: accept its licence at {address}, then hf auth login, "
            "then hf download meta-llama/Llama-2-13b-chat-hf",
            "video: viclip, OpenGVLab/ViCLIP-L-14-hf",
            "  the hub has no such repository, or it is private",
            "  do: check the name, or hf auth login",
        ]
        assert not hub.read, "nothing was downloaded"
    done = call("check", "13b-video", "--offline")
    assert done.output.count("do: hf download ") == 2
