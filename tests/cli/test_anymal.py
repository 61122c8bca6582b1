"""The tiny AnyMAL on the command line: all tasks, its cache of features, its options. What it says means nothing."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from anymal_eval import catalog
from anymal_eval.anymal import checkpoint, tiny
from anymal_eval.cli.main import cli
from anymal_eval.errors import OtherRun, WrongUse
from anymal_eval.models.anymal.network_model import NetworkModel
from anymal_eval.sources.load import load_examples
from anymal_eval.task import Task
from tests.cli.conftest import lines, read
from tests.conftest import DEMO_TASKS, ROOT, Command

DEMO = ("--data", "demo", "--demo-examples", "10")

# Carries out commands one after the other; of each, in a last line, the exit code, how many media were opened, how
# often one was hashed or decoded, and how often an encoder was called.
COUNTED = """
import json, sys
home, commands = sys.argv[1], json.loads(sys.argv[2])
counts = {"opened": 0, "read": 0, "encoded": 0}
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        counts["opened"] += arguments[0].startswith(home) and arguments[0].endswith(MEDIA)
MEDIA = (".jpg", ".png", ".wav", ".flac", ".mp4", ".npy", ".csv.gz")
sys.addaudithook(hook)
from anymal_eval.anymal.encoders import Encoder
from anymal_eval.media.reader import MediaReader
from anymal_eval.models.anymal import media_digests as _anymal_digests
_anymal_digests.NEW_S = 0.0  # the demo world may have been drawn a moment ago
def counting(owner, name, count):
    real = getattr(owner, name)
    def call(*given, **named):
        counts[count] += 1
        return real(*given, **named)
    setattr(owner, name, call)
for name in ("image", "audio", "video", "imu", "digest", "read_bytes"):
    counting(MediaReader, name, "read")
counting(Encoder, "__call__", "encoded")
from anymal_eval.cli.main import cli
told = []
for command in commands:
    counts.update(opened=0, read=0, encoded=0)
    told.append([cli.main(command, standalone_mode=False), dict(counts)])
print(json.dumps(told), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("anymal")
    tiny.write(made)
    return made


def model(home: Path) -> tuple[str, str]:
    return "--model", f"anymal:{home / 'checkpoint'}"


def counted(home: Path, *commands: Sequence[object]) -> tuple[Any, str]:
    """Exit code and counts of each command, and what they printed."""
    given = json.dumps([[str(each) for each in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, str(home / "world"), given],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "ANYMAL_EVAL_CACHE": str(home / "world"),
             "PATH": "/nothing/is/here"},  # no Java: METEOR would take most of the time
    )  # fmt: skip
    return json.loads(done.stderr.splitlines()[-1]), done.stdout


def call(*given: object) -> Any:
    """The command line in this process."""
    return cli.main([str(each) for each in given], standalone_mode=False)


def responses(folder: Path) -> dict[str, Any]:
    return {f"{file.parent.name} {row['id']}": row for file in folder.glob("*/responses.jsonl") for row in lines(file)}


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal texts, and scores to 1e-4."""
    assert found.keys() == expected.keys()
    for name, row in found.items():
        scores = expected[name].get("option_scores")
        assert {**row, "option_scores": None} == {**expected[name], "option_scores": None}
        assert row.get("option_scores") == (scores and pytest.approx(scores, abs=1e-4))


@pytest.fixture(scope="module")
def ran(home: Path) -> tuple[Any, str]:
    """A cache filled with all media of all tasks, and all tasks run with it."""
    both = ("--tasks", "all", *model(home), *DEMO, "--features", home / "features")
    return counted(home, ("features", "fill", *both), ("run", *both, "--out", home / "all"))


def test_all_tasks_run_and_a_filled_cache_opens_no_media(
    home: Path, ran: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(home / "world"))
    tasks = [catalog.tasks().get(name, "TASK", Task) for name in DEMO_TASKS]
    examples = [load_examples(task, task.split(None), "demo", home, demo_examples=10) for task in tasks]
    media = len({medium for found in examples for example in found for medium in example.media})
    ((filling, ahead), (running, then)), said = ran
    assert (filling, running) == (0, 0)
    assert media >= 91
    assert f"{media} media: {media} encoded, 0 were there before" in said
    assert ahead["opened"] > 0
    assert ahead["read"] >= 2 * media, "each is hashed and decoded"
    assert ahead["encoded"] > 0
    assert then == {"opened": 0, "read": 0, "encoded": 0}
    found = [row for row in read(home / "all" / "results.json")["measurements"] if row["headline"]]
    assert sorted(row["task"] for row in found) == DEMO_TASKS
    assert all(row["states"]["error"] == 0 for row in found)
    headlines = [line for line in said.splitlines() if line.startswith("| **")]
    assert len(headlines) == len(DEMO_TASKS)
    # Nobody may take these for the numbers of a network that has learned something.
    assert all(row["signature"].endswith("| untrained") for row in found)
    signatures = {name: text for name, text in re.findall(r"^\[(\d+)\] (.*)$", said, flags=re.MULTILINE)}
    for line in headlines:
        note = re.search(r"\[(\d+)\] *\|$", line)
        assert "untrained" in (signatures[note[1]] if note else line)
    assert "not comparable with any number on the benchmark" in said


def test_cached_answers_are_those_without_a_cache(
    home: Path, ran: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del ran
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(home / "world"))
    names = "hateful_memes,okvqa,star"
    assert call("run", "--tasks", names, *model(home), *DEMO, "--out", tmp_path / "cold") == 0
    wanted = {name: row for name, row in responses(home / "all").items() if name.split()[0] in names.split(",")}
    same(responses(tmp_path / "cold"), wanted)


def test_corrupt_entries_are_named_and_repaired(
    home: Path, ran: tuple[Any, str], capsys: pytest.CaptureFixture[str]
) -> None:
    del ran
    cache = home / "features"
    assert call("features", "verify", "--features", cache) == 0
    bad = sorted(cache.glob("??/*.safetensors"))[7]
    content = bytearray(bad.read_bytes())
    content[-3] ^= 4
    bad.write_bytes(content)
    capsys.readouterr()
    assert call("features", "verify", "--features", cache) == 1
    assert f"corrupt: {bad}" in capsys.readouterr().out
    assert bad.exists(), "named only"
    assert call("features", "verify", "--features", cache, "--repair") == 1
    assert "1 corrupt deleted" in capsys.readouterr().out
    assert not bad.exists()
    assert call("features", "verify", "--features", cache) == 0
    assert "90 entries" in capsys.readouterr().out


def test_prune_keeps_what_was_used_last(home: Path, ran: tuple[Any, str], capsys: pytest.CaptureFixture[str]) -> None:
    del ran
    cache = home / "features"
    files = sorted(cache.glob("??/*.safetensors"))
    for age, file in enumerate(files):
        os.utime(file, (1_000_000 + age, 1_000_000 + age))
    limit = sum(file.stat().st_size for file in files[-20:])
    with pytest.raises(WrongUse, match="write a number and a unit"):
        call("features", "prune", "--features", cache, "--max-size", "10 apples")
    call("features", "prune", "--features", cache, "--max-size", f"{limit / 1000:.3f}kB")
    assert sorted(cache.glob("??/*.safetensors")) == files[-20:]
    assert "20 entries" in capsys.readouterr().out


def test_only_a_network_of_ours_has_features(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="only anymal:PATH"):
        call("features", "fill", "--tasks", "vqav2", "--model", "constant", *DEMO, "--features", tmp_path)


def test_resumed_equals_uninterrupted(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(out: str) -> Sequence[object]:
        return "run", "--tasks", "okvqa,hateful_memes", *model(home), *DEMO, "--batch-size", 4, "--out", tmp_path / out

    assert call(*asked("whole")) == 0
    real = NetworkModel.answer_each
    for stop in (2, 1):
        left = [stop]

        def answer_each(self: Any, batch: Any, more: Any, left: list[int] = left) -> Any:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(self, batch, more)

        monkeypatch.setattr(NetworkModel, "answer_each", answer_each)
        with pytest.raises(click.Abort):
            call(*asked("resumed"))
    monkeypatch.setattr(NetworkModel, "answer_each", real)
    assert 0 < len(responses(tmp_path / "resumed")) < 20
    assert call(*asked("resumed")) == 0
    same(responses(tmp_path / "resumed"), responses(tmp_path / "whole"))


@pytest.mark.parametrize(("option", "value"), [("precision", "bf16"), ("quantize", "nf4"), ("quantize", "int8")])
def test_precision_and_quantisation(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: str
) -> None:
    loaded: list[Any] = []
    real = checkpoint.load

    def load(*given: Any) -> Any:
        loaded.append(real(*given))
        return loaded[-1]

    monkeypatch.setattr(checkpoint, "load", load)
    given = ("run", "--tasks", "hateful_memes", *model(home), *DEMO, "--out", tmp_path / "run", "--device", "cpu")
    assert call(*given, f"--{option}", value) == 0
    recorded = read(tmp_path / "run" / "manifest.json")["model"]
    provenance = recorded["provenance"]
    assert (provenance[option], provenance["device"]) == (value, "cpu")
    named = "bf16" if value == "bf16" else "fp32"  # on a CPU, auto is fp32
    assert provenance["precision"] == recorded["options"]["precision"] == named
    layers = {
        name: module.weight
        for name, module in loaded[0].llm.model.named_modules()
        if name.endswith(("_proj", "up_proj", "down_proj"))
    }
    assert layers
    types = {"bf16": "torch.bfloat16", "nf4": "torch.uint8", "int8": "torch.int8"}
    assert {str(weight.dtype) for weight in layers.values()} == {types[value]}
    if value == "nf4":
        config = loaded[0].llm.model.config
        whole = config.hidden_size * config.intermediate_size
        packed = next(weight for name, weight in layers.items() if name.endswith("up_proj"))
        assert packed.nbytes == whole / 2, "two numbers a byte"
    with pytest.raises(OtherRun, match="differs in fingerprint"):
        call(*given)  # other numbers are another model, which does not go on with this run


def test_help_is_cheap(command: Command) -> None:
    done = command("features", "--help")
    assert done.returncode == 0
    for name in ("fill", "verify", "prune"):
        assert name in done.stdout
