"""The public Python API: what it exports, and that it does what the command line does."""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import anymal_eval
from anymal_eval import catalog
from anymal_eval.errors import BadDefinition, NotInCatalog, OtherRun, WrongUse
from anymal_eval.models import PLAIN_WORDING, PlainText
from anymal_eval.records import MediaKind, Request, Response
from anymal_eval.task import Task
from tests.conftest import Command


@pytest.fixture(autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path_factory.getbasetemp() / "api-world"))


class Parrot:
    """Answers with the last word of the question."""

    accepts: frozenset[MediaKind] = frozenset({"image"})
    wording = PLAIN_WORDING
    fingerprint = "parrot-1"
    opens_media = False
    closed = False

    def prepare(self, request: Request) -> PlainText:
        return PlainText(request)

    def answer(self, batch: Sequence[Any]) -> list[Response]:
        return [Response(id=item.request.id, answer=self.word(item.request), finish="stop") for item in batch]

    def word(self, request: Request) -> str:
        return str(request.messages[-1].parts[-1]).split("?")[0].split()[-1]

    def close(self) -> None:
        self.closed = True


def test_every_exported_name_is_there_and_nothing_else_is_public() -> None:
    assert anymal_eval.__all__ == sorted(anymal_eval.__all__)
    assert dir(anymal_eval) == anymal_eval.__all__
    for name in anymal_eval.__all__:
        found = getattr(anymal_eval, name)
        assert found.__doc__ or name == "__version__", name
    with pytest.raises(AttributeError):
        anymal_eval.load_runs  # noqa: B018


def test_lists_are_those_of_the_command_line(command_here: Command) -> None:
    for kind in ("tasks", "models", "metrics", "protocols"):
        assert getattr(anymal_eval, f"list_{kind}")() == json.loads(command_here(kind, "--json").stdout)


def test_importing_and_listing_is_light() -> None:
    heavy = "{'numpy', 'pandas', 'pydantic', 'torch', 'transformers'}"
    code = (
        f"import sys, anymal_eval; anymal_eval.list_tasks(); assert not {heavy} & set(sys.modules), sys.modules; "
        "assert anymal_eval.load_run"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_evaluate_writes_the_bytes_of_run(tmp_path: Path, command_here: Command) -> None:
    made = anymal_eval.evaluate("constant", ["vqav2", "hateful_memes"], data="demo", demo_examples=30,
                                options={"says": "no"}, out=tmp_path / "python")  # fmt: skip
    given = ("run", "--tasks", "vqav2,hateful_memes", "--model", "constant", "-o", "says=no", "--data", "demo")
    done = command_here(*given, "--demo-examples", "30", "--out", tmp_path / "shell")
    assert done.returncode == 0, done.stderr
    for name in ("results.json", "table.md", "vqav2/scores.jsonl", "vqav2/responses.jsonl", "vqav2/statistics.npz"):
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "shell" / name).read_bytes(), name
    assert set(made.headlines) == {"vqav2", "hateful_memes"}
    with pytest.raises(OtherRun, match="differs in fingerprint"):
        anymal_eval.evaluate("constant", ["vqav2"], data="demo", demo_examples=30, options={"says": "yes"},
                             out=tmp_path / "python")  # fmt: skip


class Rehearsing(Parrot):
    """Tests how it answers each kind of request."""

    def __init__(self) -> None:
        self.provenance = {"tested": ""}

    def self_test(self, requests: Iterable[Request]) -> None:
        found = {f"{'media' if one.media else 'words'}, {'choice' if one.candidates else 'text'}" for one in requests}
        self.provenance["tested"] = "; ".join(sorted(found))


def test_a_model_that_tests_itself_gets_each_kind_of_request_before_the_manifest_is_written(tmp_path: Path) -> None:
    made = anymal_eval.evaluate(
        Rehearsing(), ["vqav2", "scienceqa"], data="demo", demo_examples=12, out=tmp_path / "run"
    )
    assert made.manifest.model["provenance"]["tested"] == "media, choice; media, text; words, choice"


def test_a_model_and_a_task_as_objects(tmp_path: Path) -> None:
    task = replace(catalog.tasks().get("vqav2", "TASK", Task), metrics=("vqa_accuracy@2021",))
    model = Parrot()
    made = anymal_eval.evaluate(model, task, data="demo", demo_examples=20, out=tmp_path / "run")
    assert not model.closed, "its owner closes it"
    assert made.manifest.identity["model"] == "Parrot"
    assert made.manifest.identity["fingerprint"] == "parrot-1"
    examples = made.examples("vqav2")
    assert examples["raw"].tolist() == [text.split("?")[0].split()[-1] for text in examples["question"]]
    first = examples.iloc[0]
    prompt = made.prompt("vqav2", first["id"])
    assert first["question"] in prompt
    assert " | ".join(first["references"]) in prompt
    with pytest.raises(NotInCatalog, match="has no such example"):
        made.prompt("vqav2", "none")
    with pytest.raises(WrongUse, match="takes no options"):
        anymal_eval.evaluate(model, task, data="demo", device="cpu")
    # Without words for a kind of question it is refused after it was taken, and stays its owner's.
    model.wording = {}
    with pytest.raises(BadDefinition, match="hateful_memes"):
        anymal_eval.evaluate(model, "hateful_memes", data="demo", demo_examples=4)
    assert not model.closed
    with pytest.raises(WrongUse, match="Parrot takes image; audiocaps needs audio"):
        anymal_eval.evaluate(model, "audiocaps", data="demo")
    with pytest.raises(WrongUse, match="there is no option limmit; did you mean limit"):
        anymal_eval.evaluate(model, task, data="demo", limmit=3)


def test_a_stored_run_gives_its_prompts_again(tmp_path: Path) -> None:
    made = anymal_eval.evaluate("constant", "scienceqa", data="demo", demo_examples=12, out=tmp_path / "run")
    again = anymal_eval.load_run(tmp_path / "run")
    for id in made.examples("scienceqa")["id"]:
        assert again.prompt("scienceqa", id) == made.prompt("scienceqa", id)
    assert again.table().equals(made.table())
    assert "<script" not in again._repr_html_()
    assert "scienceqa" in again._repr_html_()
    assert repr(again).startswith("Run(demo-constant-")


def test_compare_is_check(tmp_path: Path, command_here: Command) -> None:
    runs = [anymal_eval.evaluate("constant", "hateful_memes", data="demo", demo_examples=40, options={"says": says},
                                 out=tmp_path / says) for says in ("yes", "no")]  # fmt: skip
    compared = anymal_eval.compare(runs[1], runs[0])
    done = command_here("check", tmp_path / "no", "--against", tmp_path / "yes", "--json", tmp_path / "check.json")
    assert done.returncode in (0, 3, 4), done.stderr
    found = json.loads((tmp_path / "check.json").read_text())["tasks"]
    assert compared.verdicts == {row["task"]: row["verdict"] for row in found}
    assert compared.table()["task"].tolist() == ["hateful_memes"]
    assert "hateful_memes" in compared._repr_html_()
    with pytest.raises(NotInCatalog):
        anymal_eval.compare(runs[0], "nobody", accepted=tmp_path)
