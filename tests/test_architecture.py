"""The layers hold, listing things stays cheap, files stay short, and importing has no side effects."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "anymal_eval"

# Each layer may import those before it, never its neighbours or those after it.
LAYERS = [
    {"errors", "records", "version"},
    {"paths"},
    {"catalog"},
    {"codec"},
    {"task"},
    {"fingerprint"},
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
HEAVY = {"torch", "transformers", "numpy", "scipy", "pandas", "datasets", "evaluate", "pydantic", "PIL"}
LONGEST = 400
FILES = sorted(PACKAGE.rglob("*.py"))


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {n.split(".")[1] for n in names if n.startswith("anymal_eval.")}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_back(file: Path) -> None:
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    assert own in RANK, f"give {own} a place in LAYERS"
    wrong = {i for i in _imports(file) - {own} if RANK[i] >= RANK[own]}
    assert not wrong, f"{own} must not import {wrong}"


@pytest.mark.parametrize("file", sorted((ROOT / "tasks").glob("*.py")), ids=lambda f: f.stem)
def test_tasks_name_no_model(file: Path) -> None:
    assert _imports(file) <= {"records", "sources", "task"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_files_stay_short(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST


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
