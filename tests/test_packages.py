"""The examples of docs/, installed as a package of somebody else's, are found by name and run."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from anymal_eval import catalog
from anymal_eval.errors import BadDefinition, NotInCatalog, WrongUse
from anymal_eval.models import choose_model
from anymal_eval.task import Task
from tests.conftest import EXAMPLES, ROOT, Command
from tests.test_examples import ADDED, copy_without_examples

COLOURS = {"red": (250, 10, 20), "green": (10, 240, 20), "blue": (10, 20, 230)}


def install(source: Path, target: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
         "--disable-pip-version-check", "--target", target, source],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples of the docs as one package, built and installed into a folder of its own."""
    home = tmp_path_factory.mktemp("package")
    inside = home / "my-evals" / "my_evals"
    inside.mkdir(parents=True)
    (inside / "__init__.py").write_text("")
    for file in EXAMPLES.glob("adding_*/*.*"):
        if file.suffix in (".py", ".toml"):
            shutil.copy(file, inside)
    shutil.copy(EXAMPLES / "package" / "pyproject.toml", inside.parent)
    return install(inside.parent, home / "site")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout, or a copy of it where the examples are built in: a package cannot define them again."""
    if not any((ROOT / target).exists() for target in ADDED.values()):
        return ROOT
    return copy_without_examples(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def path(base: Path, installed: Path) -> str:
    return os.pathsep.join([str(base), str(installed)])


@pytest.fixture
def command(command: Command, base: Path, path: str) -> Command:
    """The command line, with the package installed."""

    def call(*arguments: object, **more: str) -> "subprocess.CompletedProcess[str]":
        return command(*arguments, cwd=base, PYTHONPATH=path, **more)

    return call


def test_names_of_a_package_are_listed_and_nothing_of_it_imported(installed: Path, command: Command) -> None:
    module = installed / "my_evals" / "__init__.py"
    module.write_text('raise SystemExit("imported by listing")')
    try:
        listed = {what: command(what).stdout for what in ("models", "tasks", "metrics", "protocols")}
    finally:
        module.write_text("")
    for what, name, built_in, summary in (
        ("models", "strongest", "constant", "Names the strongest of red, green and blue in a picture: "),
        ("models", "text_only", "constant", "A language model of transformers without media: "),
        ("tasks", "gqa", "vqav2", "GQA: compositional questions about photographs."),
        ("metrics", "exact_match", "cider", "Exact match: the share of answers that are one of the references."),
        ("protocols", "llava-2023", "plain", "LLaVA-1.5 (arXiv:2310.03744): "),
    ):
        line = rf"^{name} +{re.escape(summary)}.*\[package my-evals 1\.0\]$"
        assert re.search(line, listed[what], re.MULTILINE), listed[what]
        assert f"\n{built_in} " in f"\n{listed[what]}"
    one = json.loads(command("models", "strongest", "--json").stdout)
    assert one["options"] == ["article: str, default ''"]
    assert one["file"].endswith("my_evals/strongest.py")
    assert "my_evals/gqa.py" in command("tasks", "gqa").stdout
    assert "my_evals/llava-2023.toml" in command("protocols", "llava-2023").stdout
    assert "exact_match@llava-2023" in command("metrics", "exact_match").stdout


def pictures(folder: Path) -> Path:
    """GQA's official layout with 20 squares; the answer to question 7 is wrong."""
    (folder / "images").mkdir(parents=True)
    rows = {}
    for number in range(20):
        name = list(COLOURS)[number % 3]
        Image.new("RGB", (9, 9), COLOURS[name]).save(folder / "images" / f"{number}.jpg", quality=95)
        answer = "pink" if number == 7 else name
        rows[str(number)] = {"imageId": str(number), "question": "which colour?", "answer": answer}
    (folder / "testdev_balanced_questions.json").write_text(json.dumps(rows))
    return folder.parent


def scores(out: Path) -> dict[str, float]:
    found = json.loads((out / "results.json").read_text())["measurements"]
    return {f"{row['metric']}@{row['version']}": row["value"] for row in found if row["group"] is None}


def test_a_packages_task_metric_and_model_run(tmp_path: Path, command: Command) -> None:
    data = pictures(tmp_path / "data" / "gqa")

    def run(out: str, *more: object) -> "subprocess.CompletedProcess[str]":
        return command("run", "--tasks", "gqa", "--data-root", data, "--out", tmp_path / out, *more)

    for typed in ("strongest", "my_evals.strongest:Strongest"):
        done = run(typed[:4], "--model", typed)
        assert done.returncode == 0, done.stderr
        assert scores(tmp_path / typed[:4]) == {"exact_match@llava-2023": 0.95, "exact_match@1": 0.95}
    assert run("article", "--model", "strongest", "-o", "article=the").returncode == 0
    assert scores(tmp_path / "article") == {"exact_match@llava-2023": 0.0, "exact_match@1": 0.0}
    done = run("demo", "--model", "strongest", "--data", "demo")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "task gqa has no demo data" in done.stderr
    (data / "gqa" / "images" / "3.jpg").write_bytes(b"not a picture")
    done = run("broken", "--model", "strongest")
    assert done.returncode == 2
    assert "1 of 20 answers are errors" in done.stderr
    (data / "gqa" / "testdev_balanced_questions.json").unlink()
    done = run("gone", "--model", "strongest")
    assert done.returncode == 1
    assert "testdev_balanced_questions.json (from cs.stanford.edu" in done.stderr


def test_a_packages_language_model_protocol_and_encoder(
    tmp_path: Path, command: Command, base: Path, path: str
) -> None:
    case = EXAMPLES / "adding_a_model" / "text_only.json"
    subprocess.run([sys.executable, "-c", WRITE, case, tmp_path], cwd=base, check=True, capture_output=True,
                   env={**os.environ, "PYTHONPATH": path})  # fmt: skip
    done = command(
        "run", "--tasks", "vqav2", "--data", "demo", "--demo-examples", 6, "--model", f"text_only:{tmp_path / 'llama'}",
        "--protocol", "llava-2023", "--out", tmp_path / "run", ANYMAL_EVAL_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["measurements"]
    assert {row["protocol"] for row in rows} == {"llava-2023"}
    assert {row["states"]["error"] for row in rows} == {0}


# A tiny language model for ``text_only``, and the encoder of the package, found by its name.
WRITE = """
import json, sys
from pathlib import Path
from anymal_eval.anymal import encoders
from tests.models import test_model_contract as contract

case, folder = map(Path, sys.argv[1:])
contract.write(json.loads(case.read_text()), folder / "llama", seed=0)
assert "convnext" in encoders.names()
assert encoders.options_of("convnext").__module__ == "my_evals.convnext"
"""


# --- Packages that do not keep to it ----------------------------------------------------------------------------


def package(folder: Path, name: str, group: str, **entries: str) -> None:
    """An installed package: a module, and the folder that pip would write beside it."""
    (folder / f"{name}.py").write_text("class Half:\n    wording = {}\n\n    def answer(self, batch): ...\n")
    info = folder / f"{name}-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.5\nSummary: Of no docstring\n")
    listed = "".join(f"{key.replace('__', '-')} = {value}\n" for key, value in entries.items())
    (info / "entry_points.txt").write_text(f"[anymal_eval.{group}]\n{listed}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    # Only the modules of these packages: torch cannot be imported twice in a process.
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in (getattr(module, "__file__", None) or ""):
            del sys.modules[name]


def test_a_built_in_name_cannot_be_taken(site: Path) -> None:
    package(site, "thief", "models", constant="thief:Half", own="thief:Half")
    known = catalog.models()
    clash = "'constant' is built in, and package thief 2.5 defines it too: uninstall or rename that one"
    assert known.summary("constant") == clash
    with pytest.raises(BadDefinition, match=re.escape(clash)):
        choose_model("constant", {})
    assert known.names().count("constant") == 1
    assert known.summary("own") == "Of no docstring [package thief 2.5]"
    assert known.summary("replay").startswith("Answers from a file")
    assert choose_model("replay:x.json", {}).name == "replay"


def test_two_packages_with_one_name(site: Path) -> None:
    package(site, "first", "tasks", quiz__show="first:Half")
    package(site, "second", "tasks", quiz_show="second:Half")
    known = catalog.tasks()
    with pytest.raises(BadDefinition, match=r"defined by package \w+ 2\.5 and package \w+ 2\.5: uninstall all but one"):
        known.get("quiz_show", "TASK", Task)
    # A file of the user's own decides.
    (site / "mine").mkdir()
    (site / "mine" / "quiz_show.py").write_text('"""Mine."""\nTASK = 3\n')
    own = catalog.tasks([site / "mine"])
    assert own.summary("quiz_show") == "Mine."
    assert own.module("quiz_show").TASK == 3
    assert [name for name in own.names() if name.startswith("quiz")] == ["quiz_show"]


def test_what_a_package_promises_and_does_not_hold(site: Path) -> None:
    package(site, "vain", "models", gone="vain:Gone", nowhere="vain.nowhere:Model", half="vain:Half")
    with pytest.raises(BadDefinition, match=r"'gone' of package vain 2\.5 is vain:Gone, which cannot be imported"):
        choose_model("gone", {})
    with pytest.raises(BadDefinition, match="which cannot be imported: No module named"):
        choose_model("nowhere", {})
    with pytest.raises(BadDefinition, match="class Half lacks accepts, prepare, close"):
        choose_model("half", {})
    with pytest.raises(NotInCatalog, match="did you mean gone"):
        choose_model("gon", {})


def test_a_task_under_another_name(site: Path) -> None:
    package(site, "renamed", "tasks", other="renamed")
    (site / "renamed.py").write_text("from anymal_eval import catalog\nfrom anymal_eval.task import Task\n"
                                     'TASK = catalog.tasks().get("vqav2", "TASK", Task)\n')  # fmt: skip
    with pytest.raises(BadDefinition, match=r"renamed\.py must define the task named 'other'"):
        catalog.tasks().get("other", "TASK", Task)


WHOLE = """
class Whole:
    accepts = frozenset({%s})
    wording = {}
    fingerprint = "whole"

    def __init__(self, options):
        self.options = options

    def prepare(self, request): ...
    def answer(self, batch): ...
    def close(self): ...
"""


def test_a_class_without_options(site: Path) -> None:
    (site / "pack").mkdir()
    (site / "pack" / "__init__.py").write_text(WHOLE % '"image", "audio"')
    (site / "pack" / "wrong.py").write_text(WHOLE % '"picture"')
    spec = choose_model("pack.__init__:Whole", {})
    assert spec.accepts == {"image", "audio"}
    assert spec.load().fingerprint == "whole"
    with pytest.raises(WrongUse, match="has no option 'says'; it has none"):
        choose_model("pack.__init__:Whole", {"says": "x"})
    with pytest.raises(BadDefinition, match=r"class Whole must have accepts = frozenset\({...}\) out of audio, image"):
        choose_model("pack.wrong:Whole", {})
