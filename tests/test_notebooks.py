"""The notebooks of docs/ run from their first cell to their last."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
nbformat.validate(notebook)
assert not any(cell.get("outputs") for cell in notebook.cells), "committed without outputs"
NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        print(output.get("text") or output.get("data", {}).get("text/plain", ""))
"""


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    # A kernel of this environment, whatever others the machine has.
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {"argv": argv, "display_name": "Python 3", "language": "python"}
    (kernels / "kernel.json").write_text(json.dumps(kernel))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_PATH": str(tmp_path / "jupyter"),
                   "JUPYTER_PLATFORM_DIRS": "1", "ANYMAL_EVAL_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1",
                   "IPYTHONDIR": str(tmp_path / "ipython"),
                   "PATH": "/nothing/is/here"}  # fmt: skip  # no Java: METEOR would take most of the time
    done = subprocess.run([sys.executable, "-c", RUN, notebook], cwd=tmp_path, env=environment, capture_output=True,
                          text=True, check=False, timeout=400)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "{'audiocaps': 'worse'" in done.stdout
    assert "=== hateful_memes" in done.stdout
