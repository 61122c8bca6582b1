"""A cache that ``datasets`` filled is found offline: of every task with a hub id, by its old name, and by commit."""

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from datasets.packaged_modules.parquet.parquet import Parquet
from PIL import Image

from anymal_eval import catalog
from anymal_eval.errors import BadData, MissingData, WrongUse
from anymal_eval.sources import hub, hub_archives, hub_cache, hub_media
from anymal_eval.sources.dataset import DataOptions, load_dataset
from anymal_eval.sources.hub import Hub
from anymal_eval.sources.hub_fetch import fetch
from anymal_eval.sources.load import load_examples, with_hub_id
from anymal_eval.task import Task
from tests.conftest import Command

COMMIT, OTHER = "a" * 40, "b" * 40
ANSWERS = [{"answer": "red", "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)]
VQA = {"question_id": 7, "image_id": 42, "question": "What colour is it?", "answers": ANSWERS, "answer_type": "other",
       "question_type": "what color", "multiple_choice_answer": "red"}  # fmt: skip
NEXTQA = {"video": 123, "frame_count": 9, "width": 1, "height": 1, "question": "why", "answer": 2, "qid": 0,
          "type": "CW", "a0": "a", "a1": "b", "a2": "c", "a3": "d", "a4": "e"}  # fmt: skip
SCIENCEQA = {"question": "Which?", "choices": ["a", "b"], "answer": 1, "hint": "", "task": "closed choice",
             "grade": "grade3", "subject": "natural science", "topic": "t", "category": "c", "skill": "s",
             "lecture": "", "solution": "b is."}  # fmt: skip
# task -> a row with the columns of its copy, without the medium; the medium's column; the folder of the configuration.
ROWS: Mapping[str, tuple[Mapping[str, Any], str, str]] = {
    "vqav2": (VQA, "image", "default"),
    "okvqa": ({**VQA, "question_id": "77", "answers": ["red"] * 10}, "image", "default"),
    "textvqa": ({**VQA, "image_id": "x", "answers": ["red"] * 10, "ocr_tokens": ["RED"]}, "image", "default"),
    "vizwiz": ({"question_id": "VizWiz_val_0.jpg", "question": "?", "answers": ["red"] * 10, "category": "other"},
               "image", "default"),
    "scienceqa": (SCIENCEQA, "image", "default"),
    "nextqa": (NEXTQA, "", "MC"),
    "coco": ({"filepath": "val2014", "filename": "a.jpg", "cocoid": 9, "sentences": ["a", "b"]}, "", "default"),
    "audiocaps": ({"youtube_id": "7fmOlUlwoNg", "start_time": 20, "caption": "a"}, "audio", "default"),
    "hateful_memes": ({"id": 8291, "img": "img/08291.png", "label": 1, "text": "t"}, "", "default-0123456789abcdef"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    yield
    for cached in (hub.load, hub.resolve, hub_media._shards, hub_archives._listing):
        cached.cache_clear()


def task_named(name: str) -> Task:
    return catalog.tasks().get(name, "TASK", Task)


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (4, 4), (200, 0, 0)).save(out, "PNG")
    return out.getvalue()


def fill(root: Path, name: str, split: str, rows: Sequence[Mapping[str, Any]], media: str = "", **where: str) -> Path:
    """Have ``datasets`` prepare rows as those of the data set ``name``: its builder writes the folder and its files."""
    features = {"image": datasets.Image(decode=False), "audio": datasets.Audio(decode=False)}
    held = {media: {"bytes": picture(), "path": None}} if media else {}
    table = datasets.Dataset.from_list([{**row, **held} for row in rows])
    if media:
        table = table.cast_column(media, features[media])
    file = root / "rows.parquet"
    table.to_parquet(file)
    commit, config = where.get("commit", COMMIT), where.get("config", "default")
    owner, own = name.split("/")
    builder = Parquet(cache_dir=str(root / "made"), dataset_name=own, hash=commit, data_files={split: [str(file)]})
    builder.download_and_prepare()
    made = Path(builder.cache_dir)
    # A file on this machine has no owner, and the configuration's name is in the repository's card.
    folder = root / "datasets" / f"{owner}___{made.parents[2].name}" / config / "0.0.0" / commit
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(made, folder)
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps({**info, "config_name": config}))
    return folder


def hub_of(task: Task) -> Hub:
    assert isinstance(task.hub, Hub)
    return task.hub


@pytest.mark.parametrize("name", [n for n in catalog.tasks().names() if getattr(task_named(n).hub, "id", "")])
def test_a_cache_of_every_task_is_found(name: str, tmp_path: Path) -> None:
    task, (row, media, config) = task_named(name), ROWS[name]
    split = next(each for each in task.splits if each.name in hub_of(task).splits)
    theirs = hub_of(task).splits[split.name].removesuffix(".jsonl")
    for place in (hub_of(task).id, *hub_of(task).aliases):
        hub.resolve.cache_clear()
        own, alias = "/".join(place.split("/")[:2]), "/".join(place.split("/")[2:])
        folder = fill(tmp_path, own, theirs, [row], media, config=alias or config)
        found = load_dataset(task, DataOptions(data="hub", data_root=tmp_path))
        assert (found.source["id"], found.source["revision"], len(found.examples)) == (own, COMMIT, 1)
        if media:
            assert hub_media.open_media(found.examples[0].media[0].uri) == picture()
        shutil.rmtree(folder.parents[2])


def test_the_folder_is_the_one_that_datasets_names(tmp_path: Path) -> None:
    folder = fill(tmp_path, "lmms-lab/VQAv2", "validation", [VQA], "image")
    assert folder.parents[2] == hub_cache.home("lmms-lab/VQAv2")
    assert folder.parents[2].name == "lmms-lab___vq_av2"


def test_a_commit_that_is_named_is_the_one_that_is_read(tmp_path: Path) -> None:
    for commit, word in ((COMMIT, "old"), (OTHER, "new")):
        row = {**ROWS["okvqa"][0], "question": word}
        fill(tmp_path, "lmms-lab-encoder/OK-VQA", "val2014", [row], "image", commit=commit)
    task = task_named("okvqa")
    for revision, word in ((None, "new"), (COMMIT, "old"), (OTHER, "new")):
        found = load_dataset(task, DataOptions(data="hub", data_root=tmp_path, hub_revision=revision))
        assert (found.examples[0].question, found.source["revision"]) == (word, revision or OTHER)
    with pytest.raises(MissingData, match=r"at c{40} is not in the cache .*lmms-lab-encoder___ok-vqa.* data fetch"):
        load_dataset(task, DataOptions(data="hub", data_root=tmp_path, hub_revision="c" * 40))


def test_configurations_that_cannot_be_told_apart_are_named(tmp_path: Path) -> None:
    for config in ("FULL", "IMG"):
        fill(tmp_path, "derek-thomas/ScienceQA", "test", [SCIENCEQA], "image", config=config)
    task = task_named("scienceqa")
    with pytest.raises(BadData, match="configurations FULL, IMG have the split test; name one with --hub-config"):
        load_examples(task, task.split(None), "hub", tmp_path)
    task = with_hub_id(task, None, "IMG")
    assert len(load_examples(task, task.split(None), "hub", tmp_path)) == 1


def test_what_is_prepared_is_not_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "lmms-lab-encoder/VQAv2", "validation", [VQA], "image")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the hub is not needed"))
    task = with_hub_id(task_named("vqav2"), None, None, COMMIT)
    (found,) = load_examples(task, task.split(None), "hub", tmp_path)
    assert hub_media.open_media(found.media[0].uri) == picture()
    done = fetch(task, task.split(None))
    assert (done.revision, done.rows, done.folder.name) == (COMMIT, 1, "lmms-lab-encoder___vq_av2")


def test_fetching_a_streamed_set_prepares_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    calls: list[dict[str, Any]] = []

    def load_dataset(**given: Any) -> Any:
        calls.append(given)
        fill(tmp_path, given["path"], given["split"], [VQA], "image")
        return datasets.Dataset.from_list([{**VQA, "image": {"bytes": b"x", "path": None}}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("the rows hold the pictures")
    )
    task = with_hub_id(task_named("vqav2"), None, None, COMMIT)
    assert fetch(task, task.split(None)).rows == 1
    assert calls == [{"path": "lmms-lab-encoder/VQAv2", "name": None, "revision": COMMIT, "split": "validation"}]
    hub.load.cache_clear()
    (found,) = load_examples(task, task.split(None), "hub", tmp_path)  # from the cache: no other call
    assert (found.id, len(calls)) == ("7", 1)
    with pytest.raises(WrongUse, match="is a folder on this machine"):
        fetch(with_hub_id(task, str(tmp_path)), task.split(None))


@pytest.mark.parametrize(("name", "files"), [("hateful_memes", ["img/08291.png"]), ("nextqa", ["README.md", "*.zip"])])
def test_media_beside_the_rows_are_fetched_too(
    name: str, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = with_hub_id(task_named(name), None, None, COMMIT)
    split = next(each for each in task.splits if each.name in hub_of(task).splits)
    row, _, config = ROWS[name]
    fill(tmp_path, hub_of(task).id, hub_of(task).splits[split.name].removesuffix(".jsonl"), [row], config=config)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    calls: list[Any] = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *given, **more: calls.append((given, more)))
    fetch(task, split)
    (((place,), more),) = calls
    assert (place, more["revision"], more["allow_patterns"]) == (hub_of(task).id, COMMIT, files)


def nextqa_copy(folder: Path, archive: bool) -> Path:
    """lmms-eval/NExTQA: a parquet file a configuration, and the videos in ``videos.zip``, or unpacked."""
    (folder / "MC").mkdir(parents=True)
    datasets.Dataset.from_list([NEXTQA, {**NEXTQA, "qid": 1}]).to_parquet(folder / "MC" / "test-00000-of-00001.parquet")
    (folder / "OE").mkdir()
    datasets.Dataset.from_list([{"video": 1, "question": "?"}]).to_parquet(
        folder / "OE" / "test-00000-of-00001.parquet"
    )
    configs = "".join(
        f"- config_name: {c}\n  data_files:\n  - split: test\n    path: {c}/test-*\n" for c in ("MC", "OE")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    if archive:
        with zipfile.ZipFile(folder / "videos.zip", "w") as out:
            out.writestr("NExTVideo/123.mp4", b"a clip")
    else:
        (folder / "NExTVideo").mkdir()
        (folder / "NExTVideo" / "123.mp4").write_bytes(b"a clip")
    return folder


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "files"])
def test_clips_lie_beside_the_rows(archive: bool, tmp_path: Path) -> None:
    copy = nextqa_copy(tmp_path / "copy", archive)
    found = load_dataset(task_named("nextqa"), DataOptions(data="hub", data_root=tmp_path, hub_id=str(copy)))
    assert (found.split.name, [example.id for example in found.examples]) == ("test", ["123_0", "123_1"])
    assert {hub_media.open_media(example.media[0].uri) for example in found.examples} == {b"a clip"}
    assert found.notes == (f"the hub copy {copy} has no split val; its test is read",)


def test_nextqa_runs_by_default_on_a_local_copy(tmp_path: Path, command_here: Command) -> None:
    copy = nextqa_copy(tmp_path / "copy", True)
    out = tmp_path / "run"
    run = ("run", "--tasks", "nextqa", "--data", "hub", "--hub-id", copy, "--model", "constant", "-o", "says=C",
           "--out", out, "--protocol", "anymal-2023")  # fmt: skip
    done = command_here(*run)
    assert done.returncode == 0, done.stderr
    note = f"nextqa: the hub copy {copy} has no split val; its test is read"
    assert note in done.stderr
    assert f"{note}." in (out / "table.md").read_text()
    entry = json.loads((out / "manifest.json").read_text())["tasks"]["nextqa"]
    assert (entry["split"], entry["source"]["notes"]) == ("test", [note.removeprefix("nextqa: ")])
    assert command_here(*run).returncode == 0
    assert command_here("score", out).returncode == 0


def test_clips_that_a_copy_lacks_are_named_beside_the_number(tmp_path: Path, command_here: Command) -> None:
    fill(tmp_path, "OpenSound/AudioCaps", "test", [{**ROWS["audiocaps"][0], "caption": c} for c in "abcde"], "audio")
    given = ("run", "--tasks", "audiocaps", "--data", "hub", "--model", "constant", "--out", tmp_path / "run")
    done = command_here(*given)
    assert done.returncode == 0, done.stderr
    assert "audiocaps: 974 of the 975 official clips are not in these data: " in done.stderr
    table = (tmp_path / "run" / "table.md").read_text()
    assert "subset 1/975" in table
    assert "974 of the 975 official clips are not in these data" in table
    lacking = json.loads((tmp_path / "run" / "manifest.json").read_text())["tasks"]["audiocaps"]["source"]["lacking"]
    assert len(lacking) == 974
    assert "7fmOlUlwoNg" not in lacking
    assert "6BJ455B1aAs" in lacking  # of the second line of the official test.csv


def test_official_files_of_fewer_clips_name_the_others_too(tmp_path: Path) -> None:
    (tmp_path / "audiocaps").mkdir()
    with (tmp_path / "audiocaps" / "test.csv").open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerows([("audiocap_id", "youtube_id", "start_time", "caption"), (1, "7fmOlUlwoNg", 20, "a bell")])
    found = load_dataset(task_named("audiocaps"), DataOptions(data="official", data_root=tmp_path))
    assert len(found.source["lacking"]) == 974


def scienceqa_official(root: Path, problems: Sequence[Mapping[str, Any]]) -> None:
    (root / "scienceqa").mkdir()
    data = {str(40 + n): {**problem, "image": "image.png"} for n, problem in enumerate(problems)}
    (root / "scienceqa" / "problems.json").write_text(json.dumps(data))
    (root / "scienceqa" / "pid_splits.json").write_text(json.dumps({"test": list(data)}))


def test_a_run_on_the_hub_copy_pairs_with_one_on_the_official_files(tmp_path: Path, command_here: Command) -> None:
    problems = [{**SCIENCEQA, "question": f"Which {n}?", "hint": "h", "answer": n % 2} for n in range(6)]
    problems += problems[:1]  # the same text with another picture occurs
    scienceqa_official(tmp_path, problems)
    fill(tmp_path, "derek-thomas/ScienceQA", "test", problems, "image")
    for data in ("official", "hub"):
        given = ("run", "--tasks", "scienceqa", "--data", data, "--data-root", tmp_path, "--model", "constant")
        done = command_here(*given, "--out", tmp_path / data)
        assert done.returncode == 0, done.stderr
    files = [tmp_path / data / "scienceqa" / "scores.jsonl" for data in ("official", "hub")]
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    assert [row["id"] for row in rows[0]] == [str(n) for n in range(40, 47)]
    assert [row["id"] for row in rows[1]] == [f"test-{n}" for n in range(7)]
    assert [row["key"] for row in rows[0]] == [row["key"] for row in rows[1]]
    assert len({row["key"] for row in rows[0]}) == 7
    done = command_here("check", tmp_path / "hub", "--against", tmp_path / "official")
    assert "refused" not in done.stdout + done.stderr, done.stderr
    assert done.returncode == 0
    assert "same: scienceqa" in done.stdout
    task = task_named("scienceqa")
    before = load_dataset(task, DataOptions(data_root=tmp_path)).content
    shutil.rmtree(tmp_path / "scienceqa")
    scienceqa_official(tmp_path, [{**each, "answer": 0} for each in problems])
    assert load_dataset(task, DataOptions(data_root=tmp_path)).content != before  # other answers are other data
