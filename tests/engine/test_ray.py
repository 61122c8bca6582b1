"""Ray workers: the local engine's answers, whatever their number, also when one is killed."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from anymal_eval.engine import EngineSettings
from anymal_eval.engine.ordering import media_of
from anymal_eval.engine.ray_actor import ModelRecipe
from anymal_eval.engine.ray_pool import Cluster, Pool, Unit
from anymal_eval.engine.ray_workers import Workers, _given_up, _units
from anymal_eval.errors import NeedsExtra, WrongUse
from anymal_eval.records import Media, Message, Request
from tests.conftest import ROOT, Command

COUNT = 240
WRITTEN = ("textvqa/scores.jsonl", "textvqa/statistics.npz", "results.json")

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TextVQA in its official layout, four questions a picture."""
    folder = tmp_path_factory.mktemp("ray") / "data" / "textvqa"
    folder.mkdir(parents=True)
    rows = [
        {"question": f"what is written on sign {number}?", "image_id": f"{number // 4:016x}", "question_id": number,
         "answers": ["stop" if number % 3 else f"word {number}"] * 6 + ["go"] * 4, "set_name": "val"}
        for number in range(COUNT)
    ]  # fmt: skip
    (folder / "TextVQA_0.5.1_val.json").write_text(json.dumps({"dataset_type": "val", "data": rows}))
    return folder.parent


def arguments(data: Path, out: Path, *more: object, seconds: float = 0.0) -> list[str]:
    given = [
        "run", "--tasks", "textvqa", "--model", "constant", "-o", "says=stop", "-o", f"seconds={seconds}",
        "--data", "official", "--data-root", data, "--batch-size", 2, "--out", out, *more,
    ]  # fmt: skip
    return [str(each) for each in given]


def same_bytes(one: Path, other: Path) -> None:
    for name in WRITTEN:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def answered(out: Path) -> list[str]:
    file = out / "textvqa" / "responses.jsonl"
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return [json.loads(line)["id"] for line in lines]


def wait_for(process: "subprocess.Popen[str]", out: Path, count: int) -> None:
    limit = time.monotonic() + 120
    while len(answered(out)) < count and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    assert process.poll() is None


def workers_of(driver: int, named: bytes = b"ray::ModelWorker") -> list[int]:
    """The actors among the processes that a driver started, oldest first."""
    parents, actors = {}, []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text()
            title = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(entry.name)] = int(stat[stat.rindex(")") + 2 :].split()[1])
        if title.startswith(named):
            actors.append(int(entry.name))

    def below(pid: int) -> bool:
        return pid == driver or (pid in parents and below(parents[pid]))

    return sorted(pid for pid in actors if below(pid))


def test_killed_worker_and_killed_driver_and_another_number(tmp_path: Path, data: Path, command: Command) -> None:
    assert command(*arguments(data, tmp_path / "whole")).returncode == 0
    out = tmp_path / "ray"
    ray = ("--engine", "ray", "--workers")

    def start(workers: int) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "anymal_eval", *arguments(data, out, *ray, workers, seconds=0.1)],
            cwd=ROOT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
        )  # fmt: skip

    process = start(2)
    wait_for(process, out, 1)
    before = len(answered(out))
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    wait_for(process, out, before + 60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "resumes it" in said
    halfway = answered(out)
    assert before < len(halfway) < COUNT
    done = command(*arguments(data, out, *ray, 3))
    assert done.returncode == 0, done.stderr
    assert sorted(map(int, answered(out))) == list(range(COUNT))
    assert answered(out)[: len(halfway)] == halfway
    same_bytes(tmp_path / "whole", out)
    sessions = json.loads((out / "timings.json").read_text())["sessions"]
    assert [one["answered"] for one in sessions] == [len(halfway), COUNT - len(halfway)]


RECORDING = """
import os
from anymal_eval.models import constant

class Recording(constant._Constant):
    Options, accepts, opens_media, wording = constant.Options, constant.ALL_MEDIA, False, constant.PLAIN_WORDING

    def answer(self, batch):
        with open(os.environ["ASKED"], "a") as asked:
            asked.write(" ".join(item.request.id for item in batch) + "\\n")
        return super().answer(batch)
"""


def session(leader: int) -> list[str]:
    """The living processes of a session, by name."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        name, fields = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
        if int(fields[3]) == leader and fields[0] not in "ZX":
            found.append(name)
    return found


def test_a_kill_costs_one_batch_and_a_killed_driver_leaves_no_process(tmp_path: Path, data: Path) -> None:
    (tmp_path / "recording").mkdir()
    (tmp_path / "recording" / "model.py").write_text(RECORDING)
    out, asked, size = tmp_path / "out", tmp_path / "asked", 4
    given = arguments(data, out, "--engine", "ray", "--workers", 1, seconds=0.2)
    given[given.index("constant")] = "recording.model:Recording"
    given[given.index("--batch-size") + 1] = str(size)
    process = subprocess.Popen(
        [sys.executable, "-m", "anymal_eval", *given],
        cwd=tmp_path, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}", "ASKED": str(asked)},
    )  # fmt: skip
    wait_for(process, out, 3 * size)
    before = len(answered(out))
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    wait_for(process, out, before + 15 * size)
    again = Counter(asked.read_text().split())
    assert sum(again.values()) - len(again) <= size
    assert max(Counter(answered(out)).values()) == 1
    assert {"raylet", "ray::DashboardA"} <= set(session(process.pid))
    process.kill()
    process.wait()
    limit = time.monotonic() + 30  # without the guard two agents stay for a minute
    while session(process.pid) and time.monotonic() < limit:
        time.sleep(0.2)
    assert session(process.pid) == []


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NeedsExtra, match=r"--engine ray needs Ray: pip install 'anymal_eval\[ray\]'"):
        Workers(ModelRecipe(typed="constant"), Cluster())


def test_units_keep_a_picture_together_and_lose_nothing() -> None:
    requests = [
        Request(id=str(number), messages=(Message(role="user", parts=(Media(kind="image", uri=f"{number // 5}"),)),))
        for number in range(200)
    ]
    units = _units(requests, 2, EngineSettings(batch_size=4))
    assert [request.id for unit in units for request in unit.content] == [request.id for request in requests]
    assert len(units) >= 8
    for before, after in itertools.pairwise(units):
        assert media_of(before.content[-1]) != media_of(after.content[0])
    one = [replace(request, messages=requests[0].messages) for request in requests]
    assert max(len(unit.content) for unit in _units(one, 2, EngineSettings(batch_size=4))) == 16


def test_a_unit_that_kills_its_workers_becomes_failures() -> None:
    from ray.exceptions import ActorDiedError

    class Dies:
        """A cluster in which every call ends with a dead actor."""

        started = 0

        def remote(self, recipe: ModelRecipe) -> object:
            assert recipe.typed == "constant"
            self.started += 1
            return object()

        def get(self, reference: object) -> None:
            raise ActorDiedError

        def wait(self, pending: list[object], num_returns: int) -> tuple[list[object], list[object]]:
            return pending[:num_returns], pending[num_returns:]

    pool, cluster = Pool.__new__(Pool), Dies()
    pool._ray = pool._actor = cluster
    pool._recipe = ModelRecipe(typed="constant")
    first, other = object(), object()
    pool.actors = [first, other]
    unit = Unit(content=[Request(id=str(number), messages=()) for number in range(3)])
    assert pool.result("a", first, unit) == (False, None)
    assert pool.result("b", first, unit) == (False, None)  # its second unit: replaced only once
    assert cluster.started == 1
    assert pool.actors[1] is other
    [(given_up, result)] = pool.run([unit], lambda actor, content: iter([object()]))
    assert result is None
    assert given_up.deaths == 3
    assert [item.failure and item.failure.kind for item in _given_up(given_up)] == ["worker"] * 3


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with pytest.raises(WrongUse, match=r"--address 127.0.0.1:1: no Ray cluster there"):
        Workers(ModelRecipe(typed="constant"), Cluster(address="127.0.0.1:1"))
