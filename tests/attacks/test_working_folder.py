"""Python files in the working folder are not imported in place of what is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

RUN = ("run", "--tasks", "vqav2", "--data", "demo", "--demo-examples", "4", "--out", "out")
EXAMPLE = ROOT / "docs" / "examples" / "adding_a_model" / "strongest.py"


def python(*arguments: str, cwd: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, check=False, timeout=300,
        env={**environment, "HF_HUB_OFFLINE": "1", "ANYMAL_EVAL_CACHE": str(cwd / "cache"), **more},
    )  # fmt: skip


def modules(cwd: Path, *arguments: str) -> set[str]:
    """The top-level modules that a command imports, besides what Python itself has imported before it."""
    code = (
        "import sys; before = set(sys.modules)\n"
        f"sys.argv = ['anymal-eval', *{arguments!r}]\n"
        "import runpy, json, atexit\n"
        "atexit.register(lambda: print('\\n' + json.dumps(sorted(set(sys.modules) - before))))\n"
        "runpy.run_module('anymal_eval', run_name='__main__')\n"
    )
    done = python("-c", code, cwd=cwd, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_no_module_of_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    names = modules(tmp_path / "first", *RUN)
    (tmp_path / "empty.py").touch()
    # What Python imports of its own before it runs any module is its user's to guard, with -P.
    own = python("-c", "import runpy, sys; runpy.run_module('empty'); print(*sys.modules)", cwd=tmp_path).stdout.split()
    planted = [*sorted(names - set(own) - {"anymal_eval", "_anymal_eval_tasks"}), "torch", "wandb", "bitsandbytes"]
    assert len(planted) > 100
    work = tmp_path / "work"
    work.mkdir()
    for name in planted:
        (work / f"{name}.py").write_text(f"open('{tmp_path}/ran-{name}', 'w')\nraise SystemExit(3)\n")
    for arguments in (RUN, ("train", "align", "--help")):
        done = python("-m", "anymal_eval", *arguments, cwd=work, PYTHONPATH=str(ROOT))
        assert done.returncode == 0, done.stderr
        assert not list(tmp_path.glob("ran-*"))


def test_a_checkout_that_is_not_installed(tmp_path: Path) -> None:
    """The checkout comes last in the path: it is found, and a file in it replaces nothing that is installed."""
    for name in ("anymal_eval", "tasks", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("click", "numpy", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)\n")
    # -I would leave out the working folder; -S leaves out an installed anymal_eval, so site-packages are named.
    packages = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    done = python("-S", "-m", "anymal_eval", *RUN, "--model", "constant", cwd=tmp_path, PYTHONPATH=packages)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "results.json").is_file()


def test_a_model_of_the_user_in_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "model.py").write_text(f"import sibling\n{EXAMPLE.read_text()}")
    (tmp_path / "sibling.py").touch()
    (tmp_path / "click.py").write_text("raise SystemExit(3)\n")
    arguments = (*RUN[:3], "--model", "own.model:Strongest", *RUN[3:])
    done = python("-m", "anymal_eval", *arguments, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
