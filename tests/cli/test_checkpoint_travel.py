"""Checkpoints that travel: moved, with parts from the hub, pushed and pulled; answers stay as they were."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from anymal_eval.anymal import checkpoint, tiny
from anymal_eval.anymal.checkpoint_facts import read
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.cli.main import cli
from anymal_eval.errors import AnyMALEvalError
from anymal_eval.models import choose_model
from tests.anymal.test_joining import answers, part
from tests.checkpoints.fake_hub import COMMIT, FakeHub, serving
from tests.checkpoints.fake_uploads import TOKEN

LLM, CLIP = "meta/tiny-llm", "open/tiny-clip"


def call(*given: object) -> Result:
    return CliRunner().invoke(cli, ["checkpoints", *map(str, given)], standalone_mode=False)


def refused(*given: object) -> str:
    done = call(*given)
    assert isinstance(done.exception, AnyMALEvalError), (done.output, done.exception)
    assert done.exception.exit_code == 1
    assert "\n" not in str(done.exception)
    return str(done.exception)


def answer(folder: Path, **backbones: object) -> Any:
    """The text and the sum of the logits for a fixed picture."""
    given = {name: str(path) for name, path in backbones.items()}
    text, logits = answers(checkpoint.load(folder, Loading(), given), "image")
    return text, logits.tolist()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``checkpoint`` and ``backbones`` of the tiny preset."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny.write(folder)
    return folder


@pytest.fixture(scope="module")
def image(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of stage 1 for pictures, without its backbones beside it."""
    return part(home, "image", tmp_path_factory.mktemp("image") / "checkpoint")


@pytest.fixture
def hub(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that has the language model and CLIP, and takes uploads."""
    for name, source in ((LLM, "llm"), (CLIP, "clip")):
        (tmp_path / "hub" / name).parent.mkdir(parents=True)
        shutil.copytree(home / "backbones" / source, tmp_path / "hub" / name)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving(tmp_path / "hub", tmp_path / "cache", monkeypatch) as found:
        yield found


def of_the_hub(image: Path, out: Path, llm: str = LLM) -> Path:
    """The same checkpoint, its backbones those of the hub."""
    network = checkpoint.load(image, Loading(), {"llm": llm, "image": CLIP})
    checkpoint.save(network, out, note="of image")
    return out


def test_backbones_that_moved_alone(
    image: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = answer(image)
    monkeypatch.chdir(tmp_path)
    alone = shutil.copytree(image, tmp_path / "alone")
    content = json.loads((alone / "config.json").read_text())
    content["network"]["llm"]["path"], content["network"]["modalities"]["image"]["encoder"]["path"] = (
        "/x/llm",
        "../clip",
    )
    (alone / "config.json").write_text(json.dumps(content))
    with pytest.raises(AnyMALEvalError, match=r"llm \(/x/llm\), image \(\.\./clip\); say where .* -o backbones=DIR"):
        answer(alone)
    parts = home / "backbones"
    assert answer(alone, backbones=parts) == wanted
    assert answer(alone, llm=parts / "llm", image=parts / "clip") == wanted
    (tmp_path / "by-medium").mkdir()
    for name, source in (("llm", "llm"), ("image", "clip")):
        (tmp_path / "by-medium" / name).symlink_to(parts / source)
    assert answer(alone, backbones="by-medium") == wanted
    with pytest.raises(AnyMALEvalError, match="holds none of clip, llm, nor"):
        answer(alone, backbones=image)
    with pytest.raises(AnyMALEvalError, match="there is no such folder"):
        answer(alone, backbones="nowhere")
    with pytest.raises(AnyMALEvalError, match="'audio' is no part of this network"):
        answer(alone, backbones=parts, audio=parts / "clap")
    model = choose_model(f"anymal:{alone}", {"backbones": str(parts), "llm": str(parts / "llm")}).load()
    assert model.fingerprint.startswith("anymal:")
    model.close()


def test_parts_of_the_hub_are_named_with_their_commit(
    hub: FakeHub,
    image: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = of_the_hub(image, tmp_path / "made")
    config = read(made).config
    assert config.llm.path == f"{LLM}@{COMMIT}"
    assert config.modalities["image"].encoder.path == f"{CLIP}@{COMMIT}"
    wanted = answer(image)
    asked = len(hub.read)
    assert answer(made) == wanted
    assert len(hub.read) == asked, "the cache holds them"
    # A path into the hub's cache is another name of the same thing.
    cached = tmp_path / "cache" / "models--meta--tiny-llm" / "snapshots" / COMMIT
    again = of_the_hub(image, tmp_path / "again", str(cached))
    assert read(again).config == config
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert answer(made) == wanted
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(AnyMALEvalError, match=rf"{LLM}@{COMMIT}: .*\(hf download {LLM} --revision {COMMIT}\)"):
        answer(made)
    for place in ("hub", "hub/meta", "cache"):  # OWNER/NAME, NAME, the hub's own layout
        lent = {"image": home / "backbones" / "clip"} if place == "hub/meta" else {}
        assert answer(made, backbones=tmp_path / place, **lent) == wanted


def test_push_and_pull(
    hub: FakeHub,
    image: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = of_the_hub(image, tmp_path / "training" / "checkpoint")
    for beside in ("notes.txt", "optimizer.pt", ".env", "lora.bak"):
        (made / beside).write_text("private")
    dry = call("push", made, "own/net", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert not (hub.root / "own").exists()
    names = ["config.json", "projectors.safetensors", "README.md"]
    assert [line.strip().partition(",")[0] for line in dry.output.splitlines() if line.endswith("bytes")] == names
    done = call("push", made, "own/net", "--private")
    assert done.exit_code == 0, (done.output, done.exception)
    sent = hub.root / "own" / "net"
    assert {file.name: file.read_bytes() for file in sent.iterdir()}.keys() == set(names)
    assert hub.cards["own/net"]["private"] is True
    texts = (sent / "README.md").read_text() + (sent / "config.json").read_text()
    assert str(tmp_path) not in texts + dry.output
    assert TOKEN not in texts
    head = yaml.safe_load(texts.split("---\n")[1])
    assert head["library_name"] == "anymal_eval"
    assert (head["base_model"], head["base_model_relation"]) == ([LLM, CLIP], "adapter")
    assert "**of image**" in texts, "the note"
    assert texts.split("---\n", 1)[1] in dry.output + texts

    wanted = answer(image)
    pulled = call("pull", "own/net", "--out", tmp_path / "pulled")
    assert pulled.exit_code == 0, (pulled.output, pulled.exception)
    assert {file.name: file.read_bytes() for file in (tmp_path / "pulled").iterdir()} == {
        file.name: file.read_bytes() for file in sent.iterdir()
    }
    assert answer(tmp_path / "pulled") == wanted
    options = {"device": "cpu"}
    local = choose_model(f"anymal:{tmp_path / 'pulled'}", options).load()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    spec = choose_model("anymal:own/net", options)
    assert spec.accepts == {"image"}
    model = spec.load()
    assert model.fingerprint == local.fingerprint
    for each in (model, local):
        each.close()
    with pytest.raises(AnyMALEvalError, match=r"^own/other: no such folder, and the hub's cache does not hold it"):
        _ = choose_model("anymal:own/other", {}).accepts


def test_parts_of_this_machine_are_named_without_their_place(hub: FakeHub, image: Path, tmp_path: Path) -> None:
    """An older copy on the hub loses what is no part of the new one."""
    lora = image.parent / "lora-too"
    shutil.copytree(image, lora)
    (hub.root / "own" / "net" / "lora").mkdir(parents=True)
    for name in ("config.json", "projectors.safetensors", "lora/adapter_model.safetensors", "LICENSE"):
        (hub.root / "own" / "net" / name).write_text("of the older copy")
    done = call("push", lora, "own/net", "--backbone", f"image={CLIP}")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "llm (llm) is on no hub" in done.output
    sent = hub.root / "own" / "net"
    assert {each.name for each in sent.rglob("*") if each.is_file()} == {
        "config.json", "projectors.safetensors", "README.md", "LICENSE",
    }  # fmt: skip
    config = json.loads((sent / "config.json").read_text())["network"]
    assert (config["llm"]["path"], config["modalities"]["image"]["encoder"]["path"]) == ("llm", CLIP)
    assert "-o llm=PATH" in (sent / "README.md").read_text()
    call("pull", "own/net", "--out", tmp_path / "pulled")
    with pytest.raises(AnyMALEvalError, match=r"llm \(llm\); say where"):
        answer(tmp_path / "pulled")
    assert answer(tmp_path / "pulled", llm=read(image).folder.parent / read(image).config.llm.path) == answer(image)


def test_a_push_that_is_refused(hub: FakeHub, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def push(*more: object) -> str:
        message = refused("push", image, "own/net", *more)
        assert str(tmp_path) not in message
        assert TOKEN not in message
        return message

    hub.refusals = {"api/repos/create": (401, "Invalid username or password.")}
    assert "hf auth login" in push()
    assert not (hub.root / "own").exists()
    hub.refusals = {"own/net.git": (403, "Forbidden: pass a token with write access")}
    assert "own/net: not uploaded: 403 Forbidden" in push()
    hub.refusals = {"api/models/own/net/commit": (403, "Access to this repository is gated")}
    assert "with write access to own" in push()
    hub.refusals = {"api/validate-yaml": (400, "bad")}
    assert "Invalid metadata in README.md" in push()
    hub.refusals = {}
    hub.cards["own/net"]["private"] = False
    assert "own/net exists and is public" in push("--private")
    shutil.rmtree(hub.root / "own")
    (hub.root / "own" / "net").mkdir(parents=True)
    (hub.root / "own" / "net" / "model.safetensors").write_bytes(b"another")
    assert "holds another model (model.safetensors)" in push()
    assert [file.name for file in (hub.root / "own" / "net").iterdir()] == ["model.safetensors"]
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    assert "no access token of the hub is set" in push()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "not uploaded: HF_HUB_OFFLINE is set" in push()
    assert "write OWNER/NAME" in refused("push", image, "net")
    assert "write OWNER/NAME" in refused("pull", "net", "--out", tmp_path / "out")
    holds = json.loads((image / "config.json").read_text())
    copy = shutil.copytree(image, tmp_path / "copy")
    (copy / "config.json").write_text(json.dumps({**holds, "note": "hf_" + "a" * 34}))
    assert "what looks like an access token" in refused("push", copy, "own/net", "--dry-run")


def test_each_wrong_folder_has_its_line(image: Path, home: Path, tmp_path: Path) -> None:
    whole = home / "checkpoint"
    training = tmp_path / "training"
    (training / "steps" / "checkpoint-20").mkdir(parents=True)
    (training / "training.json").write_text("{}")
    (training / "steps" / "checkpoint-20" / "trained.safetensors").write_bytes(b"")
    finished = tmp_path / "finished"
    shutil.copytree(image, finished / "checkpoint")
    (finished / "training.json").write_text("{}")
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "adapter_config.json").write_text("{}")
    lines = {
        str(whole / "lora"): f"holds the LoRA adapters of a checkpoint, without its projectors: give {whole}",
        str(tmp_path / "alone"): "holds LoRA adapters alone",
        str(finished): f"is the folder of a training: give its network, {finished / 'checkpoint'}",
        str(training): f"checkpoints export {training} --out OUT",
        str(training / "steps"): f"checkpoints export {training} --step 20 --out OUT",
        str(training / "steps" / "checkpoint-20"): f"checkpoints export {training} --step 20 --out OUT",
        str(home): f"holds one: give {whole}",
        str(home / "backbones" / "llm"): "it is a LlamaForCausalLM of transformers",
        "7b-any": "train align 7b-any --data KIND:PATH --preset image|audio|video|imu --out OUT",
    }
    for given, line in lines.items():
        with pytest.raises(AnyMALEvalError) as error:
            _ = choose_model(f"anymal:{given}", {}).accepts
        messages = [str(error.value), refused("join", given, image, "--out", tmp_path / "out")]
        messages += [refused("merge-lora", given, "--out", tmp_path / "out"), refused("push", given, "own/net")]
        if given != "7b-any":
            messages += [refused("check", given, "--offline"), refused("estimate", given)]
        command = [
            "train",
            "instruct",
            given,
            "--data",
            "pairs:x.jsonl",
            "--out",
            str(tmp_path / "out"),
            "--steps",
            "1",
        ]
        done = CliRunner().invoke(cli, [*command, "--batch-size", "1", "--learning-rate", "1"], standalone_mode=False)
        messages.append(str(done.exception))
        assert all(line in message and "\n" not in message for message in messages), (given, messages)
    assert not (tmp_path / "out").exists()


def test_a_card_holds_results_of_its_own_checkpoint_alone(image: Path, tmp_path: Path) -> None:
    run = ("run", "--tasks", "vqav2", "--model", "anymal:demo", "--data", "demo", "--demo-examples", "4")
    done = CliRunner().invoke(cli, [*run, "--device", "cpu", "--out", str(tmp_path / "run")], standalone_mode=False)
    assert done.exception is None, done.output
    row = json.loads((tmp_path / "run" / "results.json").read_text())["measurements"][0]
    card = call("push", "anymal:demo", "own/demo", "--results", tmp_path / "run", "--dry-run").output
    assert f"{100 * row['value']:.2f}" in card.partition("## Results")[2]
    assert "- demo\n" in card
    assert "not comparable with any number on the benchmark" in card
    assert str(tmp_path) not in card
    assert "results of another model" in refused("push", image, "own/net", "--results", tmp_path / "run", "--dry-run")
