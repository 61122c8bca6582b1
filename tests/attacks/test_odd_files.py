"""Policies, timings and records of trainings that are odd: one line each, and a run is never ended by its timings."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from anymal_eval.cli.data import data
from anymal_eval.errors import AnyMALEvalError, BadData, BadDefinition
from anymal_eval.models.openai.client import BAD_URL, _checked_host
from anymal_eval.report.policy import read_policy
from anymal_eval.training import record
from tests.attacks.test_streams import shell


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe", "é".encode("latin-1"), b"a = " + b"[" * 20_000, b"a = " + b"9" * 5_000,
        b"a" + b".a" * 5_000 + b" = 1", b"alpha = " + b"9" * 400, b"alpha = 1e999", b"alpha = nan",
        b"[tier.x]\nmargin = " + b"9" * 400, b"alpha = 1\nalpha = 2",
        b"\0", b"[[x", b"x = 1979-13-40",
    ],
    ids=range(13),
)  # fmt: skip
def test_policies(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "policy.toml"
    file.write_bytes(content)
    with pytest.raises(BadDefinition) as caught:
        read_policy(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "[1]", "5", "null", '"x"', '{"identity": []}', "", "{", "[" * 5000])
def test_records_of_trainings(tmp_path: Path, content: str) -> None:
    (tmp_path / "training.json").write_text(content)
    with pytest.raises(BadData, match=r"training\.json: "):
        record.read(tmp_path)


def test_timings(tmp_path: Path) -> None:
    CliRunner().invoke(data, ["draw", "scienceqa", "--split", "eval", "--examples", "4", "--data-root", str(tmp_path)])
    run = f"anymal run --tasks scienceqa --model constant --data official --data-root {tmp_path} --out {tmp_path}/run"
    assert shell(run).returncode == 0
    for content in ("{}", "[]", '{"schema": 1, "sessions": 5}'):
        (tmp_path / "run" / "timings.json").write_text(content)
        done = shell(run)
        assert done.returncode == 0, done.stderr
        assert b"the times of earlier sessions are not kept" in done.stderr
        assert b'"sessions": [' in (tmp_path / "run" / "timings.json").read_bytes()


@pytest.mark.parametrize(
    "url", ["http://[", "http://host:99999", "ftp://x", "http://", "x", "", "http://a b/", "http://.", "https://h:-1/v1",
            f"http://{'a' * 300}.de/v1", "file:///etc/passwd", "http://h\n.de", "http://h\0", "//h", "http://h:80:80"],
)  # fmt: skip
def test_odd_urls(url: str) -> None:
    with pytest.raises(AnyMALEvalError, match=BAD_URL):
        _checked_host(url)
