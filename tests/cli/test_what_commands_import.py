"""A command imports no large package that it does not use: looked up in ``sys.modules`` at its end, in a child."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anymal_eval.checkpoints.loading import quiet
from tests.conftest import ROOT
from tests.models.tiny_chats import llava

CHILD = """
import json, sys
from anymal_eval.cli.main import cli
code = cli.main(json.loads(sys.argv[1]), standalone_mode=False)
assert not code, code
print("\\n" + json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""
NEVER = {"statsmodels", "datasets", "evaluate", "pandas", "pyarrow", "sklearn", "torchvision", "ray", "pycocoevalcap"}
NETWORK = {"torch", "transformers", "accelerate", "peft", "bitsandbytes", "huggingface_hub", "httpx2"}


def imported(home: Path, *given: object, java: bool = False) -> set[str]:
    """Without Java it computes no METEOR, which would take most of the time."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "ANYMAL_EVAL_CACHE": str(home / "cache"),
        "PATH": os.environ["PATH"] if java else "/nothing/is/here",
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps([str(one) for one in given])],
        capture_output=True, text=True, cwd=home, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("imports")
    demo = ("--tasks", "vqav2,coco", "--data", "demo", "--demo-examples", 10)
    found = sorted(imported(home, "run", *demo, "--model", "constant", "--out", home / "run", java=True))
    (home / "run.json").write_text(json.dumps(found))
    shutil.copytree(home / "run", home / "base")
    return home


def test_a_run_without_a_network(home: Path) -> None:
    found = set(json.loads((home / "run.json").read_text()))
    assert {"numpy", "anymal_eval"} <= found
    assert not found & (NEVER | NETWORK | {"matplotlib", "jinja2"})


@pytest.mark.parametrize(
    "given", [("score", "run"), ("check", "run", "--against", "base"), ("table", "run"), ("show", "vqav2", "-n", 1,
              "--model", "constant", "--data", "demo"), ("report", "run", "--out", "report")]
)  # fmt: skip
def test_commands_on_a_run(home: Path, given: tuple[object, ...]) -> None:
    found = imported(home, *given)
    assert "anymal_eval" in found
    assert not found & (NEVER | NETWORK | {"matplotlib"} | (set() if given[0] == "report" else {"jinja2"}))


def test_a_run_with_a_network_of_transformers(home: Path) -> None:
    with quiet():
        llava(home / "llava")
    given = ("run", "--tasks", "vqav2", "--data", "demo", "--demo-examples", 4, "--model", f"hf:{home / 'llava'}")
    found = imported(home, *given, "--max-new-tokens", 1, "--out", home / "hf")
    assert {"torch", "transformers"} <= found
    # transformers imports torchvision itself, where it is installed.
    assert not found & (NEVER - {"torchvision"} | {"matplotlib", "peft", "bitsandbytes"})
    [session] = json.loads((home / "hf" / "timings.json").read_text())["sessions"]
    steps = {"imports", "data", "processor", "weights", "warm-up", "self-test", "prompts", "first batch"}
    assert steps <= set(session["start_up"])
    assert session["first_answer"] >= sum(session["start_up"].values()) - 0.1
