"""What all tests share: the real answers, the command line in a process of its own and in this one, one METEOR."""

import gc
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from anymal_eval import catalog, demo
from anymal_eval.cli.main import main
from anymal_eval.metrics import _java, java_programs

ROOT = Path(__file__).parents[1]
TASKS = catalog.tasks().names()
DEMO_TASKS = [name for name in TASKS if name in demo.tasks()]
# The tasks of the design's table. No test counts tasks: a new one is a new file, and one of these that is gone fails.
SHIPPED = frozenset(
    ("audiocaps", "coco", "hateful_memes", "how2qa", "imu_caption", "mmit_cap", "nextqa", "okvqa", "scienceqa", "star",
     "textvqa", "vizwiz", "vqav2")
)  # fmt: skip
EXAMPLES = ROOT / "docs" / "examples"  # what docs/adding-*.md show
GOLDEN_TASKS = ROOT / "tests" / "golden" / "tasks"
Command = Callable[..., "subprocess.CompletedProcess[str]"]
# Files of few tests that take long. pytest-xdist starts the files with the most tests first: these would come last, and
# the other workers would wait for them.
LONG_FILES = (
    "models/vllm/test_vllm_server.py", "engine/test_ray.py", "test_notebooks.py", "engine/test_ray_filling.py",
    "test_memory_flat.py", "models/vllm/test_embedded_decoding.py", "cli/test_what_commands_import.py",
    "cli/test_checkpoints.py", "test_packages.py", "attacks/test_working_folder.py", "attacks/test_hostile_media.py",
    "models/test_anymal_invariants.py", "judge/test_page.py", "attacks/test_crashes.py", "cli/test_interrupted.py",
    "models/test_speech_models.py", "models/test_openai_serve.py", "anymal/test_sharded_memory.py",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """The order of the collected files is the order in which pytest-xdist starts them."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, then those with the most tests."""
    long = {ROOT / "tests" / name for name in LONG_FILES}
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in long, -count[item.path]))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Modules and tests stay until the end: the garbage collector need not look through them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def golden_cases(name: str) -> list[dict[str, Any]]:
    """The golden cases of a task: rows of one source, and the examples that they must give."""
    file = GOLDEN_TASKS / f"{name}.json"
    if not file.is_file():
        return []
    cases: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["cases"]
    return cases


@pytest.fixture(scope="session")
def golden() -> Path:
    """Real answers of published systems with their official scores; not part of this repository."""
    folder = Path(os.environ.get("ANYMAL_EVAL_GOLDEN") or ROOT.parent / "shared" / "golden")
    if not folder.is_dir():
        pytest.skip(f"the golden data are not here: {folder.name}")
    return folder


@pytest.fixture
def command() -> Command:
    """``python -m anymal_eval ...`` as a user types it."""

    def call(*arguments: object, cwd: Path = ROOT, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "anymal_eval", *map(str, arguments)],
            capture_output=True, text=True, cwd=cwd, check=False, timeout=300,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **more},
        )  # fmt: skip

    return call


@pytest.fixture
def command_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """As ``command``, in this process, where torch is imported once and METEOR runs: ten seconds of CPU less a run."""

    def call(*arguments: object, cwd: Path = ROOT, **more: str) -> "subprocess.CompletedProcess[str]":
        given = ["anymal-eval", *map(str, arguments)]
        capsys.readouterr()
        with monkeypatch.context() as changed:
            changed.chdir(cwd)
            changed.setattr(sys, "argv", given)
            for name, value in more.items():
                changed.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(given, ended.value.code, said.out, said.err)

    return call


@pytest.fixture(scope="session", autouse=True)
def one_meteor() -> Iterator[None]:
    """METEOR's jar needs ten seconds of CPU to start: it starts with the first test that needs it, and serves all."""
    with java_programs():
        yield


@pytest.fixture
def own_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Java program of other tests: for a test with another ``java``, or of how such programs start and end."""
    monkeypatch.setattr(_java, "_PROGRAMS", ContextVar[_java.Programs | None]("java_programs", default=None))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB with a 256 KiB ``filler`` on it that a test may delete to make space."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    (folder / "filler").write_bytes(b"x" * (256 << 10))
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
