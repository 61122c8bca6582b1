"""A saved state of a training that is damaged is found, whatever its damage, and the one before takes its place."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import BadCheckpoint, BadData
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.training import state_digests
from anymal_eval.training.run import train
from anymal_eval.training.state_folders import saved_states
from tests.training.conftest import Stopped, align_job, assert_close, folder, losses, saving, stop_at, whole

__all__ = ["folder", "whole"]

FILES = ("trained.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "position_0.json",
         "rng_state.pth", "digests.json")  # fmt: skip


@dataclass
class Lines(SilentConsole):
    """A console that keeps its messages."""

    lines: list[str] = field(default_factory=list)

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def stopped(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was stopped after step 5 of 6, with the states of steps 2 and 4."""
    out = tmp_path_factory.mktemp("stopped")
    job = saving(align_job(folder, out), save_every=2, keep=0, log_every=1, eval_every=1)
    with pytest.raises(Stopped):
        train(job.__class__(**{**vars(job), "evaluate": stop_at(5)}))
    assert {each.name for each in (out / "steps").iterdir()} == {"checkpoint-2", "checkpoint-4"}
    return out


@pytest.fixture
def out(stopped: Path, tmp_path: Path) -> Path:
    shutil.copytree(stopped, tmp_path / "out")
    return tmp_path / "out"


def resume(folder: Path, out: Path) -> list[str]:
    console = Lines()
    train(saving(align_job(folder, out), save_every=2, keep=0, log_every=1), console)
    return [line for line in console.lines if "step " not in line]


def flip(file: Path, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def test_every_file_has_a_digest(stopped: Path) -> None:
    state = stopped / "steps" / "checkpoint-4"
    assert {each.name for each in state.iterdir()} == set(FILES)
    assert json.loads((state / "digests.json").read_text())["files"].keys() == set(FILES) - {"digests.json"}
    assert state_digests.choose(stopped / "steps") == state_digests.Choice(state=state)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_or_missing_file(name: str, out: Path) -> None:
    state = out / "steps" / "checkpoint-4"
    whole = (state / name).read_bytes()
    drawn = random.Random(name)
    for bit in [0, len(whole) * 8 - 1, *(drawn.randrange(len(whole) * 8) for _ in range(50))]:
        flip(state / name, bit)
        assert state_digests.wrong_with(state) is not None, (name, bit)
        choice = state_digests.choose(out / "steps")
        assert choice.state == out / "steps" / "checkpoint-2"
        assert len(choice.messages) == 1
        (state / name).write_bytes(whole)
    for content in (whole[:-1], b"", whole + b"\0"):
        (state / name).write_bytes(content)
        assert state_digests.wrong_with(state) is not None
    (state / name).unlink()
    assert state_digests.wrong_with(state) == f"{name} is missing"


def test_digests_that_the_system_does_not_give(out: Path) -> None:
    state = out / "steps" / "checkpoint-4"
    (state / "digests.json").unlink()
    (state / "digests.json").symlink_to("/proc/self/mem")  # a file, and reading its start is an input/output error
    assert state_digests.wrong_with(state) == "digests.json cannot be read"
    assert state_digests.choose(out / "steps").state == out / "steps" / "checkpoint-2"


def test_the_state_before_takes_its_place(folder: Path, whole: Path, out: Path) -> None:
    flip(out / "steps" / "checkpoint-4" / "optimizer.pt", 9999)
    before = (out / "steps" / "checkpoint-4" / "optimizer.pt").read_bytes()
    lines = resume(folder, out)
    assert lines == [
        f"{out}/steps/checkpoint-4 is damaged: optimizer.pt has changed since it was saved; the training resumes from "
        "checkpoint-2, the one before"
    ]
    assert_close(losses(out), losses(whole))
    entry = {
        "state": "checkpoint-4",
        "why": "optimizer.pt has changed since it was saved",
        "resumed_from": "checkpoint-2",
    }
    record = json.loads((out / "training.json").read_text())
    assert record["damaged"] == [entry]
    assert record["finished"] == 6
    assert (out / "steps" / "damaged-checkpoint-4" / "optimizer.pt").read_bytes() == before
    assert [each.name for each in saved_states(out / "steps")] == [
        "checkpoint-2", "checkpoint-4", "checkpoint-6"
    ]  # fmt: skip
    assert state_digests.wrong_with(out / "steps" / "checkpoint-4") is None


def test_no_state_is_whole(folder: Path, out: Path) -> None:
    for step in (2, 4):
        (out / "steps" / f"checkpoint-{step}" / "scheduler.pt").unlink()
    before = sorted(out.rglob("*"))
    with pytest.raises(BadCheckpoint, match="no saved state is whole") as error:
        resume(folder, out)
    assert error.value.exit_code == 1
    assert "\n" not in str(error.value)
    assert sorted(each for each in out.rglob("*") if each.name != ".lock") == [e for e in before if e.name != ".lock"]


def as_of_an_earlier_version(state: Path) -> None:
    (state / "digests.json").unlink()
    position = json.loads((state / "position_0.json").read_text())
    del position[state_digests.MARK]
    (state / "position_0.json").write_text(json.dumps(position))


def test_a_state_of_an_earlier_version_resumes_and_says_so(folder: Path, whole: Path, out: Path) -> None:
    state = out / "steps" / "checkpoint-4"
    as_of_an_earlier_version(state)
    (line,) = resume(folder, out)
    assert line.startswith(f"{state} could not be verified: an earlier version saved it, without digests")
    assert_close(losses(out), losses(whole))


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no optimizer": (lambda state: (state / "optimizer.pt").unlink(), "optimizer.pt is missing"),
    "no scheduler": (lambda state: (state / "scheduler.pt").unlink(), "scheduler.pt is missing"),
    "no random state": (lambda state: (state / "rng_state.pth").unlink(), "rng_state.pth is missing"),
    "a cut optimizer": (lambda state: cut(state / "optimizer.pt"), "optimizer.pt is damaged"),
    "a flipped optimizer": (lambda state: flip(state / "optimizer.pt", 20_000), "optimizer.pt is damaged"),
    "a flipped random state": (lambda state: flip(state / "rng_state.pth", 20_000), "rng_state.pth is damaged"),
    "a cut position": (lambda state: cut(state / "position_0.json"), "position_0.json is damaged"),
    "a list": (lambda state: (state / "trainer_state.json").write_text("[]"), "trainer_state.json is damaged"),
}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_found_without_digests(broken: str, out: Path) -> None:
    state = out / "steps" / "checkpoint-4"
    as_of_an_earlier_version(state)
    assert state_digests.wrong_with(state) is None
    BROKEN[broken][0](state)
    assert state_digests.wrong_with(state) == BROKEN[broken][1]


def test_a_folder_of_the_users_stays(out: Path) -> None:
    mine = out / "steps" / "checkpoint-9"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    choice = state_digests.choose(out / "steps")
    assert choice.state == out / "steps" / "checkpoint-4"
    state_digests.set_aside(choice)
    assert (mine / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9, 0.99])
def test_a_flipped_bit_in_the_record(place: float, folder: Path, out: Path) -> None:
    file = out / "training.json"
    flip(file, int(file.stat().st_size * 8 * place))
    with pytest.raises(BadData, match=r"training\.json"):
        resume(folder, out)
