"""The examples of docs/adding-*.md: shown as they are, proven in a copy of the tree, and installed as a package's own.

``tests/test_packages.py`` installs them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import EXAMPLES, ROOT

# What each page adds, and where it goes in the tree: the thing itself, and its golden data.
ADDED = {
    "adding_a_task/gqa.py": "tasks/gqa.py",
    "adding_a_metric/exact_match.py": "anymal_eval/metrics/exact_match.py",
    "adding_a_model/text_only.py": "anymal_eval/models/text_only.py",
    "adding_an_encoder/convnext.py": "anymal_eval/anymal/encoders/convnext.py",
    "adding_a_protocol/llava-2023.toml": "anymal_eval/protocols/llava-2023.toml",
}
GOLDEN = {
    "adding_a_task/gqa.json": "tests/golden/tasks/gqa.json",
    "adding_a_metric/exact_match.json": "tests/golden/metrics/exact_match.json",
    "adding_a_model/text_only.json": "tests/golden/models/text_only.json",
    "adding_an_encoder/convnext.json": "tests/golden/encoders/convnext.json",
    "adding_a_protocol/vqav2.txt": "tests/golden/prompts/llava-2023/vqav2.txt",
}
ELSEWHERE = {"adding_a_model/strongest.py", "package/pyproject.toml"}  # of a package alone
TESTS = (
    "tests/test_catalog.py", "tests/test_architecture.py", "tests/tasks/test_golden_rows.py",
    "tests/tasks/test_plumbing.py", "tests/sources/test_bad_input.py", "tests/metrics/test_golden_cases.py",
    "tests/metrics/test_evaluate.py", "tests/models/test_model_contract.py", "tests/anymal/test_encoder_contract.py",
    "tests/anymal/test_config.py", "tests/protocols/test_snapshots.py", "anymal_eval/metrics/exact_match.py",
)  # fmt: skip
CHOSEN = "gqa or exact_match or text_only or convnext or llava-2023 or catalog or is_tested or left_over"
# Python leaves bytecode where an example was imported.
FILES = sorted(str(file.relative_to(EXAMPLES)) for file in EXAMPLES.rglob("*.*") if file.suffix != ".pyc")


def copy(source: str, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.copy(EXAMPLES / source, target)


def copy_without_examples(tree: Path) -> Path:
    """A copy of the checkout; examples that somebody has added to it are left out."""
    shutil.copytree(ROOT / "anymal_eval", tree / "anymal_eval")  # with its bytecode, which takes seconds to make
    for part in ("tasks", "tests"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    for target in (*ADDED.values(), *GOLDEN.values()):
        (tree / target).unlink(missing_ok=True)
    return tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the examples in it, but for their golden data."""
    tree = copy_without_examples(tmp_path_factory.mktemp("tree"))
    for source, target in ADDED.items():
        copy(source, tree / target)
    return tree


def run(tree: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", *arguments],
        cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


def test_every_example_is_known() -> None:
    assert set(FILES) == ADDED.keys() | GOLDEN.keys() | ELSEWHERE


@pytest.mark.parametrize("name", FILES)
def test_the_page_shows_the_file(name: str) -> None:
    folder = name.partition("/")[0]
    page = "adding-a-model" if folder == "package" else folder.replace("_", "-")
    language = {"py": "python", "txt": "text"}.get(name.rpartition(".")[2], name.rpartition(".")[2])
    content = (EXAMPLES / name).read_text(encoding="utf-8")
    assert f"```{language}\n{content}```\n" in (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def test_what_lacks_golden_data_fails_and_names_the_file(tree: Path) -> None:
    done = run(tree, *TESTS, "-k", "(every_task_has or every_metric_has or is_tested or prompts) and not ablation")
    assert done.returncode == 1, done.stdout
    for target in GOLDEN.values():
        assert f"{tree / target}" in done.stdout, done.stdout


def test_a_file_and_its_golden_data_pass_the_tests_of_the_tree(tree: Path) -> None:
    for source, target in GOLDEN.items():
        copy(source, tree / target)
    done = run(tree, "-v", *TESTS, "-k", CHOSEN)
    assert done.returncode == 0, done.stdout[-3000:]
    for target in ADDED.values():
        assert f"[{Path(target).stem}" in done.stdout or f"-{Path(target).stem}" in done.stdout, target
