"""Each error of a command names its remedy: the whole line is compared."""

# ruff: noqa: E501  # a line of output is one line here

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from anymal_eval.anymal import tiny
from anymal_eval.anymal.forecast import network_of
from anymal_eval.cli.main import cli
from anymal_eval.errors import BadDefinition, WrongUse
from anymal_eval.evaluation.plan import make_plan
from anymal_eval.evaluation.resolve import resolve
from anymal_eval.report.policy import read_policy
from tests.attacks.conftest import Ended, anymal
from tests.checkpoints.fake_hub import FakeHub, serving
from tests.conftest import ROOT

__all__ = ["anymal"]

Anymal = Callable[..., Ended]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with checkpoints and folders that are none."""
    monkeypatch.chdir(tmp_path)
    for name, config in {
        "blip": {"model_type": "blip-2", "architectures": ["Blip2ForConditionalGeneration"]},
        "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
        "chat": {"model_type": "llava", "vision_config": {}, "architectures": ["LlavaForConditionalGeneration"]},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text('{"base_model_name_or_path": "llava-hf/llava-1.5-7b-hf"}')
    state = tmp_path / "stage1" / "steps" / "checkpoint-30"
    state.mkdir(parents=True)
    (tmp_path / "stage1" / "training.json").write_text("{}")
    (state / "trained.safetensors").touch()
    (tmp_path / "answers.jsonl").write_text('{"id": "1", "answer": "a"}\n')
    (tmp_path / "empty").mkdir()
    return tmp_path


MERGE = (
    "lora holds no config.json: it is no transformers checkpoint, but adapters of llava-hf/llava-1.5-7b-hf: "
    "give --model hf:llava-hf/llava-1.5-7b-hf -o adapter=lora"
)
OF_STAGE1 = (
    "stage1 is the folder of a training that has not finished: anymal_eval checkpoints export stage1 --out OUT makes a "
    "network of its last saved state; then give OUT"
)
OFFLINE = (
    "no such folder, and the hub's cache does not hold it while HF_HUB_OFFLINE is set: download it where there is a "
    "network (hf download some/model), or give a folder"
)
MODELS = {
    "blip": "--model blip is a checkpoint without its wrapper: give --model blip2:blip",
    "./chat": "--model ./chat is a checkpoint without its wrapper: give --model hf:./chat",
    "llama": "--model llama holds the class LlamaForCausalLM, which no wrapper takes",
    "lora": f"--model lora is no model: {MERGE}",
    "hf:lora": MERGE,
    "stage1": f"--model stage1 is no model: {OF_STAGE1}",
    "hf:stage1": f"--model hf:stage1: {OF_STAGE1}, as --model anymal:...",
    "anymal:stage1": OF_STAGE1,
    "stage1/steps/checkpoint-30": "--model stage1/steps/checkpoint-30 is no model: stage1/steps/checkpoint-30 is a saved "
    "state of a training: anymal_eval checkpoints export stage1 --step 30 --out OUT makes a network of it; then give OUT",
    "tiny": "--model tiny: tiny is a preset, a network that is not trained: train it (anymal_eval train align tiny --data "
    "KIND:PATH --preset image|audio|video|imu --out OUT), then give OUT/checkpoint as --model anymal:OUT/checkpoint",
    "./none": "--model ./none: there is no such folder; a model is NAME:CHECKPOINT, as in hf:FOLDER",
    "answers.jsonl": "--model answers.jsonl is a file: recorded answers are given as --model replay:answers.jsonl",
    "empty": "--model empty is no model: empty holds no config.json: it is no transformers checkpoint",
    "some/model": "--model some/model names no wrapper: a checkpoint is given as --model hf:some/model, or with another of "
    f"blip2, instructblip, hf_audio, anymal; its config.json tells which, but some/model: {OFFLINE}",
    "hf:some/model": f"some/model: {OFFLINE}",
    "hf:blip": "--model hf:blip: it is a Blip2ForConditionalGeneration; use --model blip2:blip",
}


@pytest.mark.parametrize("model", MODELS)
def test_a_model(model: str, here: Path, anymal: Anymal) -> None:
    ended = anymal("run", "--tasks", "vqav2", "--model", model)
    assert ended == (1, [f"error: {MODELS[model]}"])


def test_a_model_that_does_not_take_the_task(here: Path, anymal: Anymal) -> None:
    ended = anymal("run", "--tasks", "audiocaps", "--model", "hf:chat")
    assert ended == (1, ["error: model hf takes image, video; audiocaps needs audio: name a model that takes it (an omni model by hf:, hf_audio:, openai: or anymal:), or leave this task out"])  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with serving(tmp_path / "hub", tmp_path / "cache", monkeypatch) as server:
        yield server


def refuse(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, status: int, code: str = "") -> None:
    """Every request of a file or about a repository is answered with this status."""

    def serve(self: object, *, body: bool) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": "refused"} if code else {}
        self._reply(status, headers, b"", send=body)  # type: ignore[attr-defined]

    monkeypatch.setattr(hub.RequestHandlerClass, "_serve", serve)


@pytest.mark.parametrize(
    ("status", "code", "why"),
    [
        (403, "GatedRepo", "its licence is not accepted: accept it at {url}/some/model, then hf auth login"),
        (
            404,
            "RepoNotFound",
            "the hub has no such repository, or it is private (404): check the name, or hf auth login",
        ),
        (401, "", "the hub refuses access (401): hf auth login with an account that may read {url}/some/model"),
        (403, "", "the hub refuses access (403): hf auth login with an account that may read {url}/some/model"),
        (404, "RevisionNotFound", "{url}/some/model has no such branch, tag or commit"),
    ],
)
def test_what_the_hub_refuses(
    status: int, code: str, why: str, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, anymal: Anymal
) -> None:
    refuse(hub, monkeypatch, status, code)
    ended = anymal("run", "--tasks", "vqav2", "--model", "hf:some/model")
    assert ended == (1, [f"error: some/model: no such folder, and {why.format(url=hub.url)}"])


def test_a_token_that_the_hub_refuses(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, anymal: Anymal) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_old")
    refuse(hub, monkeypatch, 401)
    ended = anymal("run", "--tasks", "vqav2", "--model", "hf:some/model")
    why = "the hub refuses the token of this machine (401): hf auth login with a new one, or hf auth logout"
    assert ended == (1, [f"error: some/model: no such folder, and {why}"])


def test_a_repository_without_its_wrapper(hub: FakeHub, anymal: Anymal) -> None:
    folder = hub.root / "some" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "blip-2", "architectures": ["Blip2ForConditionalGeneration"]}')
    ended = anymal("run", "--tasks", "vqav2", "--model", "some/model")
    assert ended == (
        1,
        ["error: --model some/model is a checkpoint without its wrapper: give --model blip2:some/model"],
    )


WORDS = {
    ("rnu",): "no command named 'rnu'; did you mean run?",
    ("data", "chek"): "No such command 'chek'. Did you mean 'check'?",
    ("run", "--taks", "vqav2"): "No such option '--taks'. (Did you mean one of: '--tasks', '--tasks-dir', "
    "'--threads'?)",
    ("run", "--tasks", "vqa2"): "no task named 'vqa2'; did you mean vqav2 or okvqa?",
    ("run", "--tasks", "vqav2", "--model", "replai:x"): "no model named 'replai'; did you mean replay?",
    ("run", "--tasks", "vqav2", "--model", "replay:x", "-o", "subst=1"): "model replay has no option 'subst'; did you "
    "mean subset?",
    ("run", "--tasks", "vqav2", "--protocol", "blip2-2032"): "no protocol named 'blip2-2032'; did you mean blip2-2023?",
    ("metrics", "cidr"): "no metric named 'cidr'; did you mean cider or spider?",
    ("train", "align", "tiny"): "--data is needed: KIND:PATH, where KIND is one of audiocaps, clotho, datasets, ego4d, "
    "instructions, llava, pairs, webdataset",
    ("train", "align", "tiny", "--data", "pair:x", "--out", "o"): "no kind of training data named 'pair'; did you mean "
    "pairs?",
    (
        "train",
        "align",
        "tiny",
        "--data",
        "x.jsonl",
        "--out",
        "o",
    ): "--data x.jsonl: write KIND:PATH, where KIND is one of "
    "audiocaps, clotho, datasets, ego4d, instructions, llava, pairs, webdataset",
    (
        "train",
        "align",
        "tiny",
        "--data",
        "pairs:x",
        "--out",
        "o",
    ): "--steps, --batch-size, --learning-rate: give it, or name a --preset (audio, image, imu, instruct, video)",
}


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_wrong_word(words: tuple[str, ...], here: Path, anymal: Anymal) -> None:
    assert anymal(*words) == (1, [f"error: {WORDS[words]}"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("allowed_misssing = 0.1", "allowed_misssing: unknown key; did you mean allowed_missing; it may hold "
         "allowed_missing, alpha, blocking, limits, noise, schema, watched"),
        ("[blocking]\nabsolut = 0.1", "blocking.absolut: unknown key; did you mean absolute; it may hold absolute, "
         "relative, tasks"),
        ("[limits.coco]\nrelativ = 1", "limits.coco.relativ: unknown key; did you mean relative; it may hold absolute, "
         "relative"),
    ],
)  # fmt: skip
def test_a_key_of_a_policy(text: str, line: str, here: Path, anymal: Anymal) -> None:
    (here / "policy.toml").write_text(text)
    with pytest.raises(BadDefinition) as error:
        read_policy(Path("policy.toml"))
    assert str(error.value) == f"policy.toml: {line}"


def test_a_reporter_that_is_not_installed(here: Path, anymal: Anymal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anymal_eval.training.resolve.find_spec", lambda name: None)
    ended = anymal("train", "align", "tiny", "--data", "pairs:x", "--out", "o", "--report-to", "tensorboard")
    assert ended == (1, ["error: --report-to tensorboard: the Python package tensorboard is not installed; install it (python -m pip install tensorboard), or give --report-to none: log.jsonl is always written"])  # fmt: skip


def without(tmp_path: Path, package: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command of a Python that lacks one package."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.abc, sys\n"
        "class Lacking(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Lacking())\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "anymal_eval", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("package", "arguments"), [("click", ("--help",)), ("pydantic", ("check", "x", "--against", "y", "--policy", "p"))]
)
def test_a_package_is_lacking(package: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "p").write_text('alpha = "high"')  # what is right is read without pydantic
    done = without(tmp_path, package, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    start = f"error: the Python package {package} is not installed for {sys.executable}; "
    remedies = ("activate the environment that has it: source ", "install what it needs: ", "install it with what it ")
    assert line.startswith(start)
    assert line.removeprefix(start).startswith(remedies)


def test_checkpoints_of_a_part_that_is_not_there(
    tmp_path: Path, anymal: Anymal, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write(tmp_path)
    text = (ROOT / "anymal_eval" / "anymal" / "presets" / "tiny.toml").read_text()
    own = tmp_path / "backbones" / "own.toml"
    own.write_text(text.replace('path = "llm"', 'path = "/nowhere/llm"'))
    done = CliRunner().invoke(cli, ["checkpoints", "check", str(own), "--offline"], standalone_mode=False)
    lines = done.output.splitlines()
    assert lines[:3] == [
        "llm: language model, /nowhere/llm", "  there is no such folder", "  do: name it: --backbone llm=FOLDER"
    ]  # fmt: skip
    assert (done.return_value, done.output.count("its tensors fit")) == (1, 4)
    part = f"llm={tmp_path / 'backbones' / 'llm'}"
    done = CliRunner().invoke(
        cli, ["checkpoints", "check", str(own), "--offline", "--backbone", part], standalone_mode=False
    )
    assert (done.return_value, done.output.count("its tensors fit")) == (0, 5)
    seen: list[Any] = []

    def stop(wanted: object, *_: object) -> None:
        seen.append(wanted)
        raise WrongUse("stopped")

    monkeypatch.setattr("anymal_eval.anymal.forecast.forecast", stop)
    monkeypatch.setattr("anymal_eval.training.memory.forecast_training", stop)
    for words in (("checkpoints", "estimate"), ("train", "instruct", "--estimate")):
        assert anymal(*words, own, "--backbone", part) == (1, ["error: stopped"])
    assert (seen[0].backbones, seen[1].backbones) == ({"llm": str(tmp_path / "backbones" / "llm")}, (part,))
    assert network_of(str(own), seen[0].backbones).llm.path == seen[0].backbones["llm"]


DRAWN = ("run", "--tasks", "vqav2", "--data", "demo", "--demo-examples", 6, "--model", "constant")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the run ``a`` of six drawn examples."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setenv("ANYMAL_EVAL_CACHE", str(folder / "cache"))
        done = CliRunner().invoke(cli, [*map(str, DRAWN), "-o", "says=yes", "--out", "a"], standalone_mode=False)
        assert done.return_value == 0
        yield folder


OTHER = "error: a: the run there differs in "
OTHER_RUNS = {
    ("-o", "says=no"): f"{OTHER}fingerprint: of the model says was 'yes', now 'no'; choose another --out",
    ("-o", "says=yes", "--limit", "3"): f"{OTHER}limit: limit was not given, now 3; choose another --out",
    (
        "-o",
        "says=yes",
        "--protocol",
        "blip2-2023",
    ): f"{OTHER}protocol: protocol was 'plain', now 'blip2-2023'; choose another --out",
    (
        "-o",
        "says=yes",
        "--demo-examples",
        "8",
    ): "error: the run folder holds vqav2 with another examples, n, n_expected, n_split, prompts, source: examples were 6, now 8; choose another --out",
}


@pytest.mark.parametrize("options", OTHER_RUNS, ids=" ".join)
def test_another_run_in_the_folder(options: tuple[str, ...], ran: Path, anymal: Anymal) -> None:
    assert anymal(*DRAWN, "--out", "a", *options) == (1, [OTHER_RUNS[options]])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--demo-examples", "8"), "examples were 6, are 8"),
        (("--limit", "3"), "examples were 6, are 3, limit was not given, is 3"),
        (
            ("--protocol", "blip2-2023"),
            "protocol was 'plain', is 'blip2-2023', prompts were of another wording or template than these",
        ),
    ],
    ids=str,
)
def test_a_check_of_other_conditions(options: tuple[str, ...], why: str, ran: Path, anymal: Anymal) -> None:
    other = "-".join(options).strip("-")
    anymal(*DRAWN, "-o", "says=yes", "--out", other, *options)
    ended = anymal("check", other, "--against", "a")
    assert ended.code == 1
    assert ended.lines[-1].startswith(f"error: vqav2: refused: {why}")


def test_a_failure_that_stays(ran: Path, anymal: Anymal) -> None:
    (ran / "answers.jsonl").write_text('{"id": "none", "answer": "x"}\n')
    ids = [json.loads(line)["id"] for line in (ran / "a" / "vqav2" / "scores.jsonl").read_text().splitlines()]
    (ran / "answers.jsonl").write_text("".join(json.dumps({"id": each, "answer": "x"}) + "\n" for each in ids[1:]))
    ended = anymal(*DRAWN[:-1], "replay:answers.jsonl", "--out", "lacking")
    assert ended.code == 2
    (line,) = [each for each in ended.lines if "answers are errors" in each]
    assert (
        line
        == f"vqav2: 1 of 6 answers are errors and are left out of the value: {ids[0]}; the first: answers.jsonl has no answer to {ids[0]}; 1 (missing 1) will fail again unless the data, the prompt or the model change"
    )


def test_an_import_takes_a_repository(hub: FakeHub, tmp_path: Path, anymal: Anymal) -> None:
    folder = hub.root / "some" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    ended = anymal("checkpoints", "import", "some/model", "--out", tmp_path / "out")
    assert (ended.code, "is no checkpoint of a network that can be imported: " in ended.lines[-1]) == (1, True)
    assert hub.read == ["some/model/config.json"]
    assert anymal("checkpoints", "import", "./none", "--out", tmp_path / "out") == (
        1,
        ["error: ./none: there is no such folder"],
    )


def test_the_demo_notice_comes_after_what_could_be_wrong(ran: Path, anymal: Anymal) -> None:
    plan = make_plan(tasks="vqav2", demo_examples=6)
    lines: list[str] = []
    resolve(plan, SimpleNamespace(message=lines.append))
    assert lines == [
        "no model named: the demo model answers drawn demo data, and its numbers compare with no paper's; for a benchmark give --model NAME:CHECKPOINT --data-root DIR"
    ]
    assert anymal("run", "--tasks", "vqa2") == (1, ["error: no task named 'vqa2'; did you mean vqav2 or okvqa?"])
