"""Every preset is a row of docs/checkpoints.md, and ``checkpoints check`` reports what the row says."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from anymal_eval.anymal.config import paths_of, preset, preset_names
from anymal_eval.cli.main import cli
from tests.checkpoints.fake_hub import serving
from tests.checkpoints.released import PAGE, RELEASED, table


def test_every_preset_has_its_rows() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "python -m tests.checkpoints.released"


def test_check_reports_what_the_rows_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, found in RELEASED.items():
        (tmp_path / "hub" / path).mkdir(parents=True)
        for name in (*found.used, *found.beside, "config.json"):
            (tmp_path / "hub" / path / name).write_bytes(b"0" * 10)
    with serving(tmp_path / "hub", tmp_path / "cache", monkeypatch) as hub:
        hub.cards = {
            path: {"license": found.licence, "gated": "manual" if found.gated else False}
            for path, found in RELEASED.items()
        }
        for name in preset_names():
            done = CliRunner().invoke(cli, ["checkpoints", "check", name], standalone_mode=False)
            assert done.return_value == 1, done.output
            for part, path in paths_of(preset(name)).items():
                lines = done.output.partition(f"{part}: ")[2].splitlines()
                assert lines[0].endswith(f", {path}")
                if path not in RELEASED:
                    assert lines[1].startswith("  there is no such f"), lines
                    assert "hf download" not in lines[2]
                    continue
                found = RELEASED[path]
                count = f"  {len(found.used)} file{'s' * (len(found.used) > 1)} of {found.form}, 0.00 GiB"
                assert lines[1] == count + (f", licence {found.licence}" if found.licence else "")
                is_pickled = found.form == "pickles"
                assert lines[2].startswith("  read as tensors alone, and converted") is is_pickled
                assert lines[2 + is_pickled] == "  it is not on this machine"
                do = lines[3 + is_pickled]
                assert do.endswith(f"hf download {path}")
                assert do.startswith("  do: accept its licence at ") is found.gated
        assert not hub.read, "nothing was downloaded"
