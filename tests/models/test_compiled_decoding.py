"""``-o compile=true``: the same answers as without, recorded in the run's identity, and a line where it is off."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from anymal_eval.anymal.tiny import write
from anymal_eval.checkpoints.loading import quiet
from anymal_eval.cli.main import cli
from anymal_eval.errors import OutOfMemory, WrongUse
from anymal_eval.generation import compiled_step
from anymal_eval.generation.self_test import ON
from anymal_eval.models import anymal, choose_model
from anymal_eval.records import Decoding, Message, Request
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import medium
from tests.models.test_prefix_sharing import answers, requests_on
from tests.models.tiny_chats import llava


@pytest.fixture(autouse=True)
def _traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A step is traced whole and runs as it was traced: a C++ compiler takes minutes."""
    monkeypatch.setattr(compiled_step, "BACKEND", "eager")
    yield
    torch.compiler.reset()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    write(folder)
    return folder / "checkpoint"


def test_a_chat_model_answers_as_without_with_shared_prefixes(
    pictures: list[Path], opened: Open, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, media = opened("hf", "llava"), [medium(file) for file in pictures]
    model: Any = choose_model(f"hf:{tiny('llava')}", {"device": "cpu", "compile": "true"}).load()
    assert (model.provenance["compiled_decoding"], model.provenance["prefix_sharing"]) == (ON, ON)
    assert model.fingerprint != plain.fingerprint
    assert (model.remark, plain.remark) == ("compile=True", "")
    assert "compiled_decoding" not in plain.provenance
    step = model.generator.compiled_step
    tested, prefilled = step.steps, model.prefix_sharing.prefilled
    requests = [request for request in requests_on(media) if request.id.startswith("0-")]
    found = [{name: one.answer for name, one in answers(each, requests, 4).items()} for each in (plain, model)]
    assert found[0] == found[1]
    assert len(set(found[0].values())) > 2
    assert step.steps > tested
    assert model.prefix_sharing.prefilled > prefilled
    assert len(step._fixed._entries) > 0

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(model.network, "generate", full)
    with pytest.raises(OutOfMemory):
        model.answer([model.prepare(requests[0])])
    assert len(step._fixed._entries) == 0, "a batch that did not fit is tried again with all memory"
    model.close()


def test_an_anymal_network_answers_as_without(network: Path) -> None:
    requests = [
        Request(
            id=str(number),
            messages=(Message(role="user", parts=("what is it " * (number + 1),)),),
            decoding=Decoding(max_new_tokens=6, min_new_tokens=6),
        )
        for number in range(3)
    ]
    models = [anymal.load(anymal.Options(checkpoint=str(network), compile=compiled)) for compiled in (False, True)]
    plain, model = models
    found: Any = model
    assert found.provenance["compiled_decoding"] == ON
    assert found.remark.endswith("compile=True")
    assert plain.fingerprint != model.fingerprint
    before = found._network.llm.compiled_step.steps
    texts = [[one.answer for one in each.answer([each.prepare(own) for own in requests])] for each in models]
    assert texts[0] == texts[1]
    assert found._network.llm.compiled_step.steps > before
    for each in models:
        each.close()


def test_what_it_does_not_go_with(network: Path, tiny: Tiny) -> None:
    for given, line in (
        ({"device_map": "auto"}, "which moves tensors between the layers"),
        ({"llm_engine": "vllm"}, "which decodes elsewhere"),
    ):
        options: dict[str, Any] = {"checkpoint": str(network), "compile": True, **given}
        with pytest.raises(WrongUse, match=rf"^-o compile=true: not with -o {next(iter(given))}.*{line}$"):
            anymal.load(anymal.Options(**options))
    with pytest.raises(WrongUse, match=r"^-o compile=true: not with -o device_map"):
        choose_model(f"hf:{tiny('llava')}", {"compile": "true", "device_map": "auto"}).load()


def test_run_says_why_it_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        del graph, inputs
        raise OSError("no compiler\nwas found")

    monkeypatch.setattr(compiled_step, "BACKEND", broken)
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "world"))
    with quiet():
        llava(tmp_path / "llava")
    given = [
        "run", "--tasks", "vqav2", "--data", "demo", "--demo-examples", "4", "--model", f"hf:{tmp_path / 'llava'}",
        "-o", "compile=true", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    assert cli.main(given, standalone_mode=False) == 0
    why = "torch cannot compile a step of 4 rows and 128 positions: no compiler"
    shown = capsys.readouterr()
    [line] = [line for line in (shown.out + shown.err).splitlines() if "not compiled" in line]
    assert line.endswith(f"decoding is not compiled: {why}")
    model = json.loads((tmp_path / "run" / "manifest.json").read_text())["model"]
    assert model["provenance"]["compiled_decoding"] == f"off: {why}"
    assert model["options"]["compile"] is True
