"""``run`` against a chat server: failures are states, the key is nowhere, and only what is missing is asked again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import lines, read
from tests.conftest import ROOT, Command
from tests.models.serving import Address, serving

KEY = "sk-never-to-be-written-0123456789"
FAULTS = {
    3: "429 1", 5: "500 1", 7: "cut 1", 9: "hang 1",  # these pass
    11: "429", 13: "500", 15: "hang", 17: "cut", 19: "empty-choices", 21: "refusal", 23: "malformed", 25: "filter",
    27: "context", 29: "error-200",
}  # fmt: skip
LASTING = {str(number) for number, fault in FAULTS.items() if not fault.endswith(" 1")}


def textvqa(folder: Path, count: int, faults: dict[int, str]) -> Path:
    """TextVQA in its official layout: question N is answered with ``word N``."""
    home = folder / "data" / "textvqa"
    (home / "train_images").mkdir(parents=True)
    rows = []
    for number in range(count):
        fault = f" [{faults[number]}]" if number in faults else ""
        rows.append({"question": f"what is on sign {number}?{fault}", "image_id": f"{number // 50:016x}",
                     "question_id": number, "answers": [f"word {number}"] * 10, "set_name": "val"})  # fmt: skip
        Image.new("RGB", (8, 8), (number % 256, 0, 0)).save(home / "train_images" / f"{number // 50:016x}.jpg")
    (home / "TextVQA_0.5.1_val.json").write_text(json.dumps({"dataset_type": "val", "data": rows}))
    return home.parent


def arguments(address: Address, data: Path, out: Path, **options: object) -> list[str]:
    given = {"url": address.url, "timeout": 2, "retries": 1, **options}
    return [
        "run", "--tasks", "textvqa", "--model", "openai:tiny", "--data-root", str(data), "--out", str(out),
        *(part for key, value in given.items() for part in ("-o", f"{key}={value}")),
    ]  # fmt: skip


def states(out: Path, task: str = "textvqa") -> dict[str, str]:
    return {row["id"]: row["state"] for row in lines(out / task / "scores.jsonl")}


def nowhere(folder: Path, secret: str) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 5
    assert not [file for file in files if secret.encode() in file.read_bytes()]


def test_failures_are_states_and_asked_again(tmp_path: Path, command_here: Command) -> None:
    data, out = textvqa(tmp_path, 40, FAULTS), tmp_path / "run"
    with serving(key=KEY) as address:
        first = command_here(*arguments(address, data, out), OPENAI_API_KEY=KEY)
        assert first.returncode == 2, first.stderr
        assert f"{len(LASTING)} of 40 answers are errors" in first.stderr
        found = states(out)
        assert {name for name, state in found.items() if state == "error"} == LASTING
        assert {state for name, state in found.items() if name not in LASTING} == {"ok"}
        kinds = {
            row["id"]: row["failure"]["kind"] for row in lines(out / "textvqa/responses.jsonl") if "failure" in row
        }
        assert kinds.keys() == LASTING
        assert (kinds["13"], kinds["21"], kinds["25"], kinds["27"]) == ("server", "refused", "refused", "context")
        (value,) = [row for row in read(out / "results.json")["measurements"] if row["headline"] and not row["group"]]
        # Every answer that came is right, and none of the failures counts as a wrong one.
        assert value["value"] == 1.0
        assert value["states"] == {"ok": 30, "empty": 0, "unparsable": 0, "error": 10}
        assert address.stats()["keys"] == [f"Bearer {KEY}"]
    # The server has come back on another port, and well: it is the same model.
    with serving(key=KEY) as address:
        address.heal()
        second = command_here(*arguments(address, data, out), OPENAI_API_KEY=KEY)
        assert second.returncode == 0, second.stderr
        assert address.stats()["tries"] == dict.fromkeys(LASTING, 1)
    assert read(out / "manifest.json")["model"]["options"]["checkpoint"] == "tiny"
    assert set(states(out).values()) == {"ok"}
    nowhere(tmp_path, KEY)
    assert KEY not in first.stdout + first.stderr + second.stdout + second.stderr


@pytest.fixture
def slow() -> Iterator[Address]:
    with serving(seconds=0.12) as address:
        yield address


def test_an_interrupted_run_asks_only_what_is_missing(tmp_path: Path, slow: Address, command_here: Command) -> None:
    count = 140
    data, out = textvqa(tmp_path, count, {}), tmp_path / "run"
    given = arguments(slow, data, out, concurrency=4, timeout=10)
    stored: list[tuple[set[str], dict[str, int]]] = []
    for end in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen(
            [sys.executable, "-m", "anymal_eval", *given],
            cwd=ROOT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        before, until = answered(out), time.monotonic() + 60
        while answered(out) == before and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.1)
        begun = time.monotonic()
        process.send_signal(end)
        _, said = process.communicate(timeout=30)
        assert time.monotonic() - begun < 5
        assert process.returncode == (130 if end == signal.SIGINT else -9), said
        assert "Traceback" not in said
        stored.append((answered(out), slow.stats()["tries"]))
    assert len(stored[0][0]) < len(stored[1][0]) < len(stored[2][0]) < count
    assert command_here(*given).returncode == 0
    tries = slow.stats()["tries"]
    for names, then in stored:
        assert all(tries[name] == then[name] for name in names), "asked again although its answer was stored"
    # What was in flight at a kill, and nothing else, was asked twice.
    assert sum(tries.values()) <= count + 3 * 4 * 4
    assert answered(out) == {str(number) for number in range(count)}
    assert set(states(out).values()) == {"ok"}


def answered(out: Path) -> set[str]:
    file = out / "textvqa" / "responses.jsonl"
    content = file.read_bytes() if file.exists() else b""
    return {json.loads(line)["id"] for line in content[: content.rfind(b"\n") + 1].splitlines()}


def memes(tmp_path: Path, command_here: Command, address: Address) -> Any:
    done = command_here(
        "run", "--tasks", "hateful_memes", "--model", "openai:tiny", "-o", f"url={address.url}", "--data", "demo",
        "--demo-examples", "20", "--out", tmp_path / "run", ANYMAL_EVAL_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return read(tmp_path / "run" / "results.json")


def test_auc_where_the_server_gives_probabilities(tmp_path: Path, command_here: Command) -> None:
    with serving(logprobs="given") as address:
        found = memes(tmp_path, command_here, address)
    assert "roc_auc" in {row["metric"] for row in found["measurements"]}


def test_no_auc_without_probabilities_and_why(tmp_path: Path, command_here: Command) -> None:
    with serving() as address:
        found = memes(tmp_path, command_here, address)
    assert "roc_auc" not in {row["metric"] for row in found["measurements"]}
    (lacking,) = [row for row in found["not_computed"] if row["metric"] == "roc_auc@1"]
    assert "20 answers hold no probability of yes" in lacking["why"]


def test_choices_are_read_from_words(tmp_path: Path, command_here: Command) -> None:
    with serving() as address:
        done = command_here(
            "run", "--tasks", "nextqa", "--model", "openai:tiny", "-o", f"url={address.url}",
            "-o", "media=video", "--data", "demo", "--demo-examples", "8", "--out", tmp_path / "run",
            ANYMAL_EVAL_CACHE=str(tmp_path / "cache"),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        refused = command_here(
            "run", "--tasks", "vqav2", "--model", "openai:tiny", "-o", f"url={address.url}", "-o", "media=audio",
            "--data", "demo", "--out", tmp_path / "other",
        )  # fmt: skip
        assert refused.returncode == 1
        assert "model openai takes audio; vqav2 needs image" in refused.stderr
    chosen = lines(tmp_path / "run" / "nextqa" / "scores.jsonl")
    assert {(row["state"], row["choice"]) for row in chosen} == {("ok", 1)}


def test_a_protocol_that_ranks_texts_is_refused_before_anything_is_asked(tmp_path: Path, command_here: Command) -> None:
    with serving() as address:
        for protocol, why in (("instructblip-2023", "cannot rank whole texts"), ("blip2-2023", "no beam search")):
            done = command_here(
                "run", "--tasks", "nextqa" if why.startswith("cannot") else "vqav2", "--model", "openai:tiny",
                "-o", f"url={address.url}", "-o", "media=image,video", "--protocol", protocol, "--data", "demo",
                "--demo-examples", "8", "--out", tmp_path / protocol, ANYMAL_EVAL_CACHE=str(tmp_path / "cache"),
            )  # fmt: skip
            assert done.returncode == 1, done.stderr
            assert why in done.stderr
            assert "Traceback" not in done.stderr
            assert not (tmp_path / protocol).exists()
        assert address.stats()["tries"] == {}
