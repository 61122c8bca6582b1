"""``data fetch``: what is published is fetched into the layout that the sources read, from a server on loopback."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from anymal_eval import catalog
from anymal_eval.demo import write_task
from anymal_eval.sources import unpacking
from anymal_eval.task import Task
from tests.attacks.conftest import Ended, anymal
from tests.attacks.file_server import FileServer, Served, serving_files

__all__ = ["anymal"]

Anymal = Callable[..., Ended]


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving_files() as server:
        yield server


@pytest.mark.parametrize("name", catalog.tasks().names())
def test_addresses_and_what_they_make(name: str) -> None:
    """Every file that a split needs is fetched, or its form is named; sizes and checksums are cited."""
    task = catalog.tasks().get(name, "TASK", Task)
    for split in task.splits:
        downloads = [each for each in task.downloads if not each.splits or split.name in each.splits]
        made = {target for each in downloads for target in each.targets}
        made |= {word for each in task.by_hand for word in each.what.split()}
        needed = {file.name for file in task.official.files(split) if file.needed or file.is_folder}
        if task.downloads:
            assert needed <= made, f"{name} {split.name}"
    for each in task.downloads:
        assert urlsplit(each.url).scheme in ("http", "https")
        assert bool(each.to) != bool(each.members)
        assert bool(each.cited) == bool(each.size or each.sha256)
        assert not each.sha256 or len(bytes.fromhex(each.sha256)) == 32
        assert set(each.splits) <= {split.name for split in task.splits}


def archive(folder: Path, *names: str, inside: str = "") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as found:
        for name in names:
            for file in [folder / name, *sorted((folder / name).rglob("*"))]:
                if file.is_file():
                    found.write(file, inside + str(file.relative_to(folder)))
    return made.getvalue()


OWN_TASK = '''"""VQAv2 of the demo world.

Licence   none is needed
"""
import dataclasses
import runpy
from urllib.parse import urlsplit

from anymal_eval.paths import builtin_tasks

FACTS = {facts}
BASE = runpy.run_path(str(builtin_tasks() / "vqav2.py"))["TASK"]


def of_world(each):
    size, sha256 = FACTS[f"/{{urlsplit(each.url).netloc}}{{urlsplit(each.url).path}}"]
    return dataclasses.replace(each, size=size, sha256=sha256, cited="the test")


TASK = dataclasses.replace(BASE, downloads=tuple(of_world(each) for each in BASE.downloads if "val" in each.splits))
'''


@pytest.fixture
def vqav2(tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo world's VQAv2 as its authors' servers would give it; gives the folder it was made in."""
    made = tmp_path / "world"
    write_task("vqav2", made, examples=6)
    folder = made / "vqav2"
    base = "/s3.amazonaws.com/cvmlp/vqa/mscoco/vqa"
    files = {
        f"{base}/v2_Questions_Val_mscoco.zip": archive(folder, "v2_OpenEnded_mscoco_val2014_questions.json"),
        f"{base}/v2_Annotations_Val_mscoco.zip": archive(folder, "v2_mscoco_val2014_annotations.json"),
        "/images.cocodataset.org/zips/val2014.zip": archive(folder, "val2014"),
    }
    server.files |= {path: Served(content, "application/zip") for path, content in files.items()}
    facts = {path: (len(content), hashlib.sha256(content).hexdigest()) for path, content in files.items()}
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "vqav2.py").write_text(OWN_TASK.format(facts=facts))
    monkeypatch.setenv("ANYMAL_EVAL_MIRROR", server.url)
    return folder


def own(folder: Path) -> tuple[str, Path]:
    return "--tasks-dir", folder / "tasks"


def content(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_a_benchmark(vqav2: Path, server: FileServer, tmp_path: Path, anymal: Anymal) -> None:
    root = tmp_path / "data"
    ended = anymal("data", "fetch", "vqav2", *own(tmp_path), "--data-root", root)
    assert ended == (1, ["error: nothing was fetched: give --yes to fetch these files under their licence"])
    assert not root.exists()
    assert not server.seen
    assert anymal("data", "fetch", "vqav2", *own(tmp_path), "--data-root", root, "--yes").code == 0
    wanted = {name: data for name, data in content(vqav2).items() if name.startswith(("v2_", "val2014/"))}
    assert content(root / "vqav2") == wanted
    assert anymal("data", "check", "vqav2", "--data-root", root).code == 0
    requests = len(server.seen)
    assert anymal("data", "fetch", "vqav2", *own(tmp_path), "--data-root", root, "--yes").code == 0  # nothing twice
    assert len(server.seen) == requests


def test_a_cut_and_a_wrong_file(vqav2: Path, server: FileServer, tmp_path: Path, anymal: Anymal) -> None:
    root, path = tmp_path / "data", "/images.cocodataset.org/zips/val2014.zip"
    whole = server.files[path].content
    server.files[path] = Served(b"x" * len(whole))
    ended = anymal("data", "fetch", "vqav2", *own(tmp_path), "--data-root", root, "--yes")
    (line,) = [each for each in ended.lines if each.startswith("error")]
    assert (ended.code, line.endswith("as published (the test); nothing of it is kept")) == (1, True)
    server.files[path] = Served(whole, cuts=[1_000])
    requests = len(server.seen)
    assert anymal("data", "fetch", "vqav2", *own(tmp_path), "--data-root", root, "--yes").code == 0
    assert [each.path for each in server.seen[requests:]] == [path, path]  # the annotations are not fetched again
    assert anymal("data", "check", "vqav2", "--data-root", root).code == 0


def test_killed_while_unpacking(
    vqav2: Path, server: FileServer, tmp_path: Path, anymal: Anymal, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(unpacking, "_move", killed)
        assert anymal("data", "fetch", "vqav2", *own(tmp_path), "--data-root", root, "--yes").code == 130
    requests = len(server.seen)
    assert anymal("data", "fetch", "vqav2", *own(tmp_path), "--data-root", root, "--yes").code == 0
    assert len(server.seen) == requests + 2  # the archive that was whole is not fetched again
    assert not (root / "vqav2" / ".downloads").exists()


def test_what_only_a_form_gives(anymal: Anymal, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert anymal("data", "fetch", "hateful_memes", "--data-root", tmp_path).code == 1
    assert anymal("data", "fetch", "imu_caption", "--data-root", tmp_path).code == 1
    assert list(tmp_path.iterdir()) == []


def test_too_little_space(vqav2: Path, tmp_path: Path, anymal: Anymal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1})())
    ended = anymal("data", "fetch", "vqav2", *own(tmp_path), "--data-root", tmp_path / "data", "--yes")
    assert (ended.code, ended.lines[0].endswith("MiB are free: make space")) == (2, True)


def test_json_is_what_it_is(vqav2: Path) -> None:
    """The world that the server gives is the demo world's: its questions are those of the file."""
    assert len(json.loads((vqav2 / "v2_OpenEnded_mscoco_val2014_questions.json").read_text())["questions"]) == 6
