"""Checkpoints that do not fit the wrapper are refused in one clear line, before any request."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from anymal_eval.errors import AnyMALEvalError, BadCheckpoint, ContextTooLong, RequestFailed
from anymal_eval.models import choose_model
from anymal_eval.records import Decoding
from tests.conftest import ROOT, Command
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import medium, request

Copy = Callable[[str], Path]


@pytest.fixture
def copied(tiny: Tiny, tmp_path: Path) -> Copy:
    """A copy of a tiny checkpoint that a test may damage."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(tiny(name), tmp_path / name))

    return copy


def refused(typed: str, **options: str) -> str:
    """The message of the refusal, one line, whether ``accepts`` or ``load`` refuses."""
    with pytest.raises(AnyMALEvalError) as caught:
        choose_model(typed, options).load()
    text = str(caught.value)
    assert "\n" not in text
    return text


def configured(folder: Path, **content: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("wrapper", "config", "message"),
    [
        ("blip2", {"model_type": "instructblip", "architectures": ["InstructBlipForConditionalGeneration"]},
         "it is a InstructBlipForConditionalGeneration; use --model instructblip:"),
        ("instructblip", {"model_type": "blip-2", "architectures": ["Blip2ForConditionalGeneration"]},
         "it is a Blip2ForConditionalGeneration; use --model blip2:"),
        ("blip2", {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"], "vision_config": {}},
         "it is a LlavaForConditionalGeneration; use --model hf:"),
        ("blip2", {"model_type": "blip-2", "architectures": ["Blip2ForImageTextRetrieval"]},
         "it is a Blip2ForImageTextRetrieval; no wrapper takes that class"),
        ("blip2", {"format": 1, "network": {}}, "it is an AnyMAL checkpoint; use --model anymal:"),
    ],
)  # fmt: skip
def test_another_architecture(tmp_path: Path, wrapper: str, config: dict[str, object], message: str) -> None:
    folder = configured(tmp_path / "other", **config)
    assert message.replace("a Instruct", "an Instruct") in refused(f"{wrapper}:{folder}")
    with pytest.raises(BadCheckpoint):  # before anything is loaded, too
        _ = choose_model(f"{wrapper}:{folder}", {}).accepts


@pytest.mark.parametrize("name", ["/no/such/folder", "./no-such", "no-such"])
def test_no_such_folder(name: str) -> None:
    assert refused(f"blip2:{name}") == f"{name}: there is no such folder"


def test_a_hub_repository_offline() -> None:
    """In a process of its own: huggingface_hub reads HF_HUB_OFFLINE when it is imported."""
    code = (
        "from anymal_eval.models import choose_model\n"
        "from anymal_eval.errors import BadCheckpoint\n"
        "try: choose_model('blip2:nobody/no-such-model', {}).accepts\n"
        "except BadCheckpoint as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
        env={"PATH": "", "HF_HUB_OFFLINE": "1", "HOME": "/nonexistent"},
    )  # fmt: skip
    assert done.stdout.count("\n") == 1
    assert "nobody/no-such-model: no such folder" in done.stdout
    assert "HF_HUB_OFFLINE is set" in done.stdout


def test_a_hub_repository_in_the_cache(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As huggingface_hub keeps it; its commit is in the provenance."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = tmp_path / "models--own--tiny"
    shutil.copytree(tiny("blip2-opt"), home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    spec = choose_model("blip2:own/tiny", {})
    assert spec.accepts == {"image", "video"}
    model = spec.load()
    assert model.provenance["revision"] == commit  # type: ignore[attr-defined]
    model.close()
    assert "the hub's cache does not hold it" in refused("blip2:own/tiny", revision="other")


@pytest.mark.parametrize(
    ("name", "missing", "message"),
    [
        ("blip2-opt", "config.json", "holds no config.json: it is no transformers checkpoint"),
        ("blip2-opt", "processor_config.json", "holds neither processor_config.json nor preprocessor_config.json"),
        ("blip2-opt", "tokenizer.json", "its tokenizer is missing"),
        ("blip2-opt", "model.safetensors", "holds no .safetensors file"),
        ("instructblip-t5", "qformer_tokenizer", "holds no qformer_tokenizer"),
    ],
)
def test_a_missing_file(name: str, missing: str, message: str, copied: Copy) -> None:
    folder = copied(name)
    part = folder / missing
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    assert message in refused(f"{name.split('-')[0]}:{folder}")


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_damaged_config(content: str, copied: Copy) -> None:
    folder = copied("blip2-opt")
    (folder / "config.json").write_text(content)
    assert "config.json" in refused(f"blip2:{folder}")


def test_weights_that_would_be_random(copied: Copy) -> None:
    from safetensors.torch import load_file, save_file

    folder = copied("blip2-opt")
    weights = load_file(folder / "model.safetensors")
    del weights["query_tokens"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    message = refused(f"blip2:{folder}")
    assert "lacks 1 weights of Blip2ForConditionalGeneration, first query_tokens" in message
    model = choose_model(f"blip2:{folder}", {"allow_new_weights": "true"}).load()
    assert model.remark == "1 new weights"  # type: ignore[attr-defined]
    assert model.provenance["new_weights"] == ["query_tokens"]  # type: ignore[attr-defined]
    model.close()


def test_a_truncated_weights_file(copied: Copy) -> None:
    folder = copied("blip2-opt")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "was cut off" in refused(f"blip2:{folder}")


def test_requests_that_cannot_be_answered(opened: Open, pictures: list[Path]) -> None:
    for wrapper, name in (("blip2", "blip2-opt"), ("instructblip", "instructblip-llama")):
        model = opened(wrapper, name)
        with pytest.raises(RequestFailed, match="not audio"):
            model.prepare(request("1", [medium(pictures[0], "audio")], "?"))
        with pytest.raises(ContextTooLong, match="tokens"):
            model.prepare(request("1", [medium(pictures[0])], "why " * 200, decoding=Decoding(max_new_tokens=100)))
        with pytest.raises(RequestFailed, match="no-such"):
            model.prepare(request("1", [medium(Path("no-such.png"))], "?"))


def test_what_it_takes_is_known_without_torch(tiny: Tiny) -> None:
    code = (
        "import sys; from anymal_eval.models import choose_model; from anymal_eval import catalog\n"
        f"assert choose_model('blip2:{tiny('blip2-opt')}', {{}}).accepts == {{'image', 'video'}}\n"
        f"assert choose_model('instructblip:{tiny('instructblip-t5')}', {{}}).accepts == {{'image', 'video'}}\n"
        "assert not {'torch', 'transformers', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_command_line(tiny: Tiny, command_here: Command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = command_here(
        "run", "--model", f"blip2:{tiny('blip2-opt')}", "--protocol", "blip2-2023", "--data", "demo", "--limit", 6,
        "--tasks", "vqav2,coco", "--device", "cpu", "--out", out, OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "results.json").read_text())["measurements"]
    assert {row["task"] for row in found} == {"vqav2", "coco"}
    assert all(row["states"]["error"] == 0 for row in found)
    answers = [json.loads(line)["answer"] for line in (out / "vqav2/responses.jsonl").read_text().splitlines()]
    assert len(set(answers)) > 1
    refused = command_here("run", "--model", f"instructblip:{tiny('blip2-opt')}", "--data", "demo", "--tasks", "vqav2")
    assert refused.returncode == 1
    assert "use --model blip2:" in refused.stderr
