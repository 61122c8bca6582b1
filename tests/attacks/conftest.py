"""Hostile input: the command line in this process, and a guard over everything around a run."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from anymal_eval.cli.main import main
from anymal_eval.store import digests
from tests.report.conftest import scored

__all__ = ["scored"]


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    lines: list[str]


@pytest.fixture
def anymal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """``anymal-eval ...``: its exit code, and its lines on stderr."""

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr("sys.argv", ["anymal-eval", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), capsys.readouterr().err.splitlines())

    return call


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``anymal-eval ...``: all that it prints."""

    def call(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["anymal-eval", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code != 70
        captured = capsys.readouterr()
        return captured.out + captured.err

    return call


def listing(*roots: Path) -> dict[str, str]:
    """Every path below the roots, with a digest of its content or the target of its link."""
    found = {}
    for path in (each for root in roots for each in (root, *root.rglob("*"))):
        if path.is_symlink():
            found[str(path)] = f"link to {path.readlink()}"
        else:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def edit(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit a run's manifest, and make its digests match, as an attacker would."""
    file = run / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))
    known = json.loads((run / digests.FILE).read_text())
    known["sha256"]["manifest.json"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (run / digests.FILE).write_text(json.dumps(known))


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder of the user's, beside the run and the results."""
    folder = tmp_path / "precious"
    (folder / "sub").mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    (folder / "sub" / "data.csv").write_text("1,2,3")
    return folder
