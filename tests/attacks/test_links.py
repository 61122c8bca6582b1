"""Symbolic links in data are followed inside the data folder, in every source; out of it only by --allow-links."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from anymal_eval import catalog
from anymal_eval.errors import BadData
from anymal_eval.media.location import ALLOW_LINKS
from anymal_eval.sources.load import load_examples, whole_examples
from anymal_eval.task import Task
from anymal_eval.training.sources import open_data
from tests.attacks.conftest import Ended
from tests.conftest import TASKS, golden_cases

Anymal = Callable[..., Ended]
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Data:
    """Data with one medium: ``folder`` holds the table, ``medium`` is below it."""

    name: str
    write: Callable[[Path], None]
    medium: str
    read: Read


def official(task: str) -> Read:
    def read(folder: Path) -> object:
        made = catalog.tasks().get(task, "TASK", Task)
        return load_examples(made, made.splits[0], "official", folder.parent)

    return read


def every_row(task: str) -> Read:
    """As ``data check --all`` reads."""

    def read(folder: Path) -> object:
        made = catalog.tasks().get(task, "TASK", Task)
        return whole_examples(made, made.splits[0], folder.parent)

    return read


def lines(*rows: Mapping[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def written(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return write


def vqav2(folder: Path) -> None:
    question = {"question_id": 1, "image_id": 7, "question": "what?"}
    answers = [{"answer": "a", "answer_confidence": "yes", "answer_id": at} for at in range(1, 11)]
    notes = {"question_id": 1, "image_id": 7, "answers": answers, "answer_type": "other", "question_type": "what",
             "multiple_choice_answer": "a"}  # fmt: skip
    written("v2_OpenEnded_mscoco_val2014_questions.json", json.dumps({"questions": [question]}))(folder)
    written("v2_mscoco_val2014_annotations.json", json.dumps({"annotations": [notes]}))(folder)


def parquet(folder: Path) -> None:
    import pandas as pd

    pd.DataFrame({"image": ["images/7.jpg"], "caption": ["a cat"]}).to_parquet(folder / "data.parquet")


TEXTVQA = json.dumps({"data": [{"question_id": 1, "image_id": "7", "question": "what?", "answers": ["a"] * 10}]})
LLAVA = json.dumps([{"id": "1", "image": "images/7.jpg", "conversations": [
    {"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "a"}]}])  # fmt: skip
EGO4D = lines({"video_uid": "7", "timestamp_sec": 3.0, "narration": "#C C opens the fridge"})
CASES = [
    Data("vqav2", vqav2, "val2014/COCO_val2014_000000000007.jpg", official("vqav2")),
    Data("textvqa", written("TextVQA_0.5.1_val.json", TEXTVQA), "train_images/7.jpg", official("textvqa")),
    Data("mmit_cap", written("test.jsonl", lines({"id": "1", "image": "images/7.jpg", "references": ["a"]})),
         "images/7.jpg", official("mmit_cap")),
    Data("audiocaps", written("test.csv", "audiocap_id,youtube_id,start_time,caption\n1,ab,3,a dog\n"),
         "audio/ab_3.wav", official("audiocaps")),
    Data("pairs", written("t.jsonl", lines({"id": "1", "image": "images/7.jpg", "caption": "a"})), "images/7.jpg",
         lambda folder: open_data(f"pairs:{folder / 't.jsonl'}")),
    Data("instructions", written("t.jsonl", lines({"id": "1", "image": "images/7.jpg", "instruction": "what?",
                                                   "response": "a"})), "images/7.jpg",
         lambda folder: open_data(f"instructions:{folder / 't.jsonl'}")),
    Data("llava", written("t.json", LLAVA), "images/7.jpg", lambda folder: open_data(f"llava:{folder / 't.json'}")),
    Data("ego4d", written("t.jsonl", EGO4D), "imu/7.csv", lambda folder: open_data(f"ego4d:{folder / 't.jsonl'}")),
    Data("datasets", parquet, "images/7.jpg",
         lambda folder: open_data(f"datasets:{folder}?image=image&caption=caption")),
    Data("webdataset", lambda folder: None, "000.tar", lambda folder: open_data(f"webdataset:{folder}/*.tar")),
]  # fmt: skip


def content(name: str) -> bytes:
    """A medium, or a shard of one."""
    stream = io.BytesIO()
    if name.endswith(".wav"):
        soundfile.write(stream, np.zeros(16_000), 16_000, format="WAV")
    elif name.endswith(".csv"):
        rows = [f"{at / 50},0,0,9.8,0,0,0" for at in range(500)]
        stream.write(("t,ax,ay,az,gx,gy,gz\n" + "\n".join(rows) + "\n").encode())
    elif name.endswith(".tar"):
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for member, data in (("1.jpg", content("1.jpg")), ("1.txt", b"a cat")):
                about = tarfile.TarInfo(member)
                about.size = len(data)
                archive.addfile(about, io.BytesIO(data))
    else:
        Image.new("RGB", (8, 8)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Data, Path]:
    """The data without its medium, in ``data/NAME``."""
    found: Data = request.param
    folder = tmp_path / "data" / found.name
    (folder / found.medium).parent.mkdir(parents=True)
    found.write(folder)
    return found, folder


def outside(folder: Path, name: str) -> Path:
    file = folder.parents[1] / "outside" / Path(name).name
    file.parent.mkdir()
    file.write_bytes(content(name))
    return file


def test_a_medium_that_leads_out(case: tuple[Data, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    data, folder = case
    target = outside(folder, data.medium)
    (folder / data.medium).symlink_to(target)
    with pytest.raises(BadData, match="out of the data folder") as refused:
        data.read(folder)
    assert f"--allow-links {target.parent}" in str(refused.value)
    monkeypatch.setenv(ALLOW_LINKS, str(target.parent))
    assert data.read(folder)
    monkeypatch.setenv(ALLOW_LINKS, str(folder.parents[1] / "elsewhere"))
    with pytest.raises(BadData, match="out of the data folder"):
        data.read(folder)


def test_a_folder_of_media_that_leads_out(case: tuple[Data, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    data, folder = case
    if data.name == "webdataset":
        return  # its folder is the one that the user names
    target = outside(folder, data.medium).parent
    (folder / data.medium).parent.rmdir()
    (folder / data.medium).parent.symlink_to(target)
    with pytest.raises(BadData, match="out of the data folder") as refused:
        data.read(folder)
    assert f"--allow-links {target}" in str(refused.value)
    monkeypatch.setenv(ALLOW_LINKS, str(target))
    assert data.read(folder)


def test_links_inside(case: tuple[Data, Path]) -> None:
    data, folder = case
    inside = folder / "other" / "medium"
    inside.parent.mkdir()
    inside.write_bytes(content(data.medium))
    (folder / data.medium).symlink_to(inside)
    assert data.read(folder)


def test_a_data_folder_that_is_a_link(case: tuple[Data, Path], tmp_path: Path) -> None:
    data, folder = case
    (folder / data.medium).write_bytes(content(data.medium))
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / data.name).symlink_to(folder)
    assert data.read(tmp_path / "linked" / data.name)
    (tmp_path / "root").symlink_to(tmp_path / "data")
    assert data.read(tmp_path / "root" / data.name)


def test_pictures_of_another_task(tmp_path: Path) -> None:
    """``okvqa/val2014`` may be a link to ``vqav2/val2014`` of the same --data-root."""
    folder = tmp_path / "data" / "textvqa"
    folder.mkdir(parents=True)
    written("TextVQA_0.5.1_val.json", TEXTVQA)(folder)
    (tmp_path / "data" / "pictures").mkdir()
    (folder / "train_images").symlink_to("../pictures")
    assert official("textvqa")(folder)
    (tmp_path / "data" / "pictures" / "7.jpg").symlink_to("/etc/passwd")
    with pytest.raises(BadData, match="leads to /etc/passwd, out of the data folder"):
        official("textvqa")(folder)


@pytest.mark.parametrize("task", [name for name in TASKS if any("files" in case for case in golden_cases(name))])
@pytest.mark.parametrize("read", [official, every_row])
def test_a_table_that_leads_out(task: str, read: Callable[[str], Read], tmp_path: Path) -> None:
    made = catalog.tasks().get(task, "TASK", Task)
    folder, secret = tmp_path / "data" / task, tmp_path / "secret"
    folder.mkdir(parents=True)
    secret.write_text("years of work")
    table = next(file for file in made.official.files(made.splits[0]) if not file.is_folder)
    (folder / table.name).parent.mkdir(parents=True, exist_ok=True)
    (folder / table.name).symlink_to(secret)
    with pytest.raises(BadData, match="out of the data folder") as refused:
        read(task)(folder)
    assert "years" not in str(refused.value)


def test_the_option(tmp_path: Path, anymal: Anymal) -> None:
    folder, pictures = tmp_path / "data" / "vqav2", tmp_path / "coco" / "val2014"
    folder.mkdir(parents=True)
    vqav2(folder)
    pictures.mkdir(parents=True)
    (pictures / "COCO_val2014_000000000007.jpg").write_bytes(content("7.jpg"))
    (folder / "val2014").symlink_to(pictures)
    given, out = ("--data-root", tmp_path / "data"), tmp_path / "run"
    run = ("run", "--tasks", "vqav2", "--model", "constant", *given, "--out", out)
    ended = anymal(*run)
    assert (ended.code, len(ended.lines)) == (1, 1)
    assert f"--allow-links {pictures}" in ended.lines[0]
    assert not out.exists()
    assert anymal(*run, "--allow-links", pictures).code == 0
    assert anymal("score", out, *given).code == 1
    assert anymal("score", out, *given, "--allow-links", tmp_path / "coco").code == 0
