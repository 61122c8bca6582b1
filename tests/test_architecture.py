"""Imports point one way without circles, listing stays cheap, files have a sensible length, imports have no effects."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import LONG_FILES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "anymal_eval"

# Each layer may import those before it, never its neighbours or those after it.
LAYERS = [
    {"errors", "installation", "records", "steps", "version", "visible"},
    {"paths", "network"},
    {"leases"},
    {"locks"},
    {"catalog", "plain"},
    {"codec"},
    {"json_rows"},
    {"checksums"},
    {"task"},
    {"fingerprint"},
    {"recall"},
    {"media"},
    {"demo"},
    {"sources"},
    {"checkpoints"},
    {"generation"},
    {"anymal"},
    {"metrics"},
    {"statistics"},
    {"protocols"},
    {"models"},
    {"store"},
    {"engine"},
    {"scoring"},
    {"published"},
    {"report"},
    {"evaluation"},
    {"training"},
    {"judge"},
    {"cli"},
]
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
HEAVY = {"torch", "transformers", "numpy", "scipy", "pandas", "datasets", "evaluate", "pydantic", "msgspec", "PIL"}
LONGEST, SHORTEST = 400, 25
LONGEST_CLI = 3_600  # all of cli/: options, printing and exit codes only
# A file of these folders is one thing that can be added, however small.
CATALOGS = {"anymal/encoders", "anymal/importers", "cli", "demo/layouts", "metrics", "models", "training/sources"}
UNPLAIN = re.compile(r"\b(asked|said|told|foretold|beginnings|goes on|go on)\b", re.IGNORECASE)
SHORT = {
    "version.py": "any part can import it, and the build reads it",
    "training/state_folders.py": "imports no torch: the message of an interrupted command names the last state",
}
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def _imported(file: Path) -> set[str]:
    """Every name that a file imports, also inside functions and under TYPE_CHECKING."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("anymal_eval.")}


def _imports(file: Path) -> set[str]:
    return {name.split(".")[1] for name in _imported(file)}


def _module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_back(file: Path) -> None:
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    assert own in RANK, f"give {own} a place in LAYERS"
    wrong = {i for i in _imports(file) - {own} if RANK[i] >= RANK[own]}
    assert not wrong, f"{own} must not import {wrong}"


def test_no_import_circles() -> None:
    modules = {_module(file) for file in FILES}
    imports = {
        _module(file): {name if name in modules else name.rpartition(".")[0] for name in _imported(file)} & modules
        for file in FILES
    }
    # Without circles, removing the files that import no remaining file removes all of them.
    while free := {name for name, own in imports.items() if not own - {name} & imports.keys()}:
        imports = {name: own for name, own in imports.items() if name not in free}
    assert not imports, f"a circle is among {sorted(imports)}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_import_of_another_parts_private_module(file: Path) -> None:
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    foreign = {name for name in _imported(file) if name.split(".")[1] != own}
    private = {
        name for name in foreign if any(part.startswith("_") and part != "__version__" for part in name.split("."))
    }
    assert not private, f"{own} must not import {private}"


@pytest.mark.parametrize("file", sorted((ROOT / "tasks").glob("*.py")), ids=lambda f: f.stem)
def test_tasks_name_no_model(file: Path) -> None:
    assert _imports(file) <= {"records", "sources", "task"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_files_are_neither_long_nor_tiny(file: Path) -> None:
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST
    name = file.relative_to(PACKAGE)
    added = str(name.parent) in CATALOGS and not file.name.startswith("_")
    small = file.name in ("__init__.py", "__main__.py") or added or str(name) in SHORT
    assert lines >= SHORTEST or small, f"{name} is short: let it join the file that imports it"


def test_the_command_line_is_options_and_printing() -> None:
    files = sorted((PACKAGE / "cli").glob("*.py"))
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) <= LONGEST_CLI
    private = {file.name for file in files if file.name.startswith("_")}
    assert private <= {
        "__init__.py",
        "_config.py",
        "_estimate.py",
        "_generation_options.py",
        "_help.py",
        "_library_output.py",
        "_listing.py",
        "_output_files.py",
        "_printing.py",
        "_progress.py",
        "_results.py",
        "_streams.py",
    }
    # What others wrote must not reach a terminal unescaped: one file prints.
    printing = {
        f"{file.name}: {node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "click.echo", "click.secho")
        if file.name != "_printing.py"
    }
    assert not printing


@pytest.mark.parametrize("arguments", [["--help"], ["tasks"], ["models"], ["metrics"], ["protocols"]], ids=" ".join)
def test_listing_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from anymal_eval.cli.main import cli;"
        f"cli({arguments!r}, standalone_mode=False);"
        f"heavy = {HEAVY!r} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_importing_changes_nothing() -> None:
    code = """
import json, logging, os, sys
before = dict(os.environ), list(logging.getLogger().handlers)
import anymal_eval, anymal_eval.records, anymal_eval.catalog, anymal_eval.codec, anymal_eval.cli.main
import anymal_eval.metrics.cider, anymal_eval.sources.load, anymal_eval.store.folder, anymal_eval.engine.local
assert before == (dict(os.environ), list(logging.getLogger().handlers))
print(json.dumps("torch" in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert json.loads(done.stdout) is False


def test_no_word_that_says_nothing() -> None:
    banned = {"utils", "util", "common", "misc", "helpers", "helper", "manager"}
    assert not [file for file in FILES if file.stem.strip("_") in banned or file.parent.name in banned]


def _prose(file: Path) -> Iterator[str]:
    """A file's docstrings, and the words of its class, function and parameter names."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.arg):
            name = node.arg if isinstance(node, ast.arg) else node.name
            yield re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_plain_words(file: Path) -> None:
    found = [text for text in _prose(file) if UNPLAIN.search(text)]
    assert not found, "say request, response, resume or describe what it is"


def test_the_files_that_start_first_are_there() -> None:
    assert [name for name in LONG_FILES if not (ROOT / "tests" / name).is_file()] == []
