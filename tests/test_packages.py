"""The examples of docs/, installed as a package of somebody else's, are found by name and run."""

import json
import os
import re
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
from tests.conftest import ROOT, Command

COLOURS = {"red": (250, 10, 20), "green": (10, 240, 20), "blue": (10, 20, 230)}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


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
    """The package of the docs, built and installed into a folder of its own."""
    home = tmp_path_factory.mktemp("package")
    source = home / "my-evals"
    (source / "my_evals").mkdir(parents=True)
    (source / "my_evals" / "__init__.py").write_text("")
    (model,) = blocks("adding-a-model.md", "python")
    (task,) = blocks("adding-a-task.md", "python")
    (project,) = blocks("adding-a-model.md", "toml")
    (source / "my_evals" / "strongest.py").write_text(model)
    (source / "my_evals" / "colours.py").write_text(task)
    (source / "pyproject.toml").write_text(project)
    for text in (model, task):
        assert len([line for line in text.splitlines() if line.strip()]) <= 35, "the example is to be short"
    return install(source, home / "site")


@pytest.fixture
def path(installed: Path) -> str:
    return os.pathsep.join([str(ROOT), str(installed)])


def test_names_of_a_package_are_listed_and_nothing_of_it_imported(installed: Path, path: str, command: Command) -> None:
    mark = 'raise SystemExit("imported by listing")'
    module = installed / "my_evals" / "__init__.py"
    module.write_text(mark)
    try:
        models, tasks = command("models", PYTHONPATH=path), command("tasks", PYTHONPATH=path)
    finally:
        module.write_text("")
    assert models.returncode == 0
    said = "Says which of red, green and blue a picture holds most of: no network, but a whole model."
    assert re.search(rf"^strongest +{re.escape(said)} \[package my-evals 1\.0\]$", models.stdout, re.MULTILINE)
    assert "\nconstant " in models.stdout
    assert re.search(r"^colours +Colours: .*\[package my-evals 1\.0\]$", tasks.stdout, re.MULTILINE)
    assert "\nvqav2 " in tasks.stdout
    one = json.loads(command("models", "strongest", "--json", PYTHONPATH=path).stdout)
    assert one["options"] == ["article: str, default ''"]
    assert one["file"].endswith("my_evals/strongest.py")
    assert "my_evals/colours.py" in command("tasks", "colours", PYTHONPATH=path).stdout


def test_a_packages_task_and_model_run(tmp_path: Path, path: str, command: Command) -> None:
    home = tmp_path / "data" / "colours"
    home.mkdir(parents=True)
    rows = []
    # The official rule strips articles only where annotators disagree.
    for number in range(20):
        name = list(COLOURS)[number % 3]
        Image.new("RGB", (9, 9), COLOURS[name]).save(home / f"{number}.png")
        wrong = number == 7
        rows.append({"id": str(number), "image": f"{number}.png", "question": "which colour?",
                     "answers": ["pink" if wrong else name] * 9 + ["a colour"]})  # fmt: skip
    (home / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for typed, out in (("strongest", "a"), ("my_evals.strongest:Strongest", "b")):
        done = command(
            "run", "--tasks", "colours", "--model", typed, "-o", "article=the", "--data-root", home.parent,
            "--out", tmp_path / out, PYTHONPATH=path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads((tmp_path / out / "results.json").read_text())["measurements"]
        assert [row["value"] for row in found if row["headline"] and row["group"] is None] == [0.95]
    (home / "3.png").write_bytes(b"not a picture")
    done = command(
        "run", "--tasks", "colours", "--model", "strongest", "--data-root", home.parent, "--out", tmp_path / "c",
        PYTHONPATH=path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "1 of 20 answers are errors" in done.stderr
    (home / "test.jsonl").unlink()
    done = command(
        "run", "--tasks", "colours", "--model", "strongest", "--data-root", home.parent, "--out", tmp_path / "d",
        PYTHONPATH=path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "test.jsonl (from made by hand)" in done.stderr


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
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
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
    with pytest.raises(WrongUse, match="has no option 'says'; did you mean none"):
        choose_model("pack.__init__:Whole", {"says": "x"})
    with pytest.raises(BadDefinition, match=r"class Whole must have accepts = frozenset\({...}\) out of audio, image"):
        choose_model("pack.wrong:Whole", {})
