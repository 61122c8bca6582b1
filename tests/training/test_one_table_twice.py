"""Several data of one table, whose rows have the same numbers and ids, are trained on each with its own text."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from anymal_eval.anymal.tokenized_conversation import tokenize_conversation
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.sources import hub
from anymal_eval.training import run
from anymal_eval.training.load import load
from anymal_eval.training.resolve import ResolvedTraining
from anymal_eval.training.run import train
from anymal_eval.training.sources import open_data
from tests.training.conftest import Stopped, align_job, losses, saving, stop_at

ROWS = 8


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()
    hub.load.cache_clear()
    hub.resolve.cache_clear()


@pytest.fixture(scope="module")
def table(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``own/train.jsonl`` and ``own/test.jsonl`` with two columns of captions, and ``two.jsonl`` of two layouts."""
    root = tmp_path_factory.mktemp("table")
    (root / "own").mkdir()
    rows: dict[str, list[dict[str, Any]]] = {"own/train.jsonl": [], "own/test.jsonl": [], "two.jsonl": []}
    for number in range(ROWS):
        picture = f"{number}.png"
        for place in (root / "own" / picture, root / picture):
            shutil.copy(folder / "data" / "0.png", place)
        for split in ("train", "test"):
            texts = {"short": f"{split} {number}", "long": f"a longer caption of picture {number} of {split}"}
            rows[f"own/{split}.jsonl"].append({"image": picture, **texts})
        talk = {"instruction": "what is it", "response": f"it is picture {number}"}
        rows["two.jsonl"].append({"id": str(number), "image": picture, "caption": f"a cat {number}", **talk})
    for name, own in rows.items():
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in own), encoding="utf-8")
    return root


def job_of(folder: Path, out: Path, data: Sequence[str], **changed: Any) -> ResolvedTraining:
    return align_job(folder, out, data=tuple(data), batch_size=8, steps=4, **changed)


@pytest.mark.parametrize("data", [
    ("datasets:{}/own?caption=short", "datasets:{}/own?caption=long"),
    ("datasets:{}/own?caption=short&split=train", "datasets:{}/own?caption=short&split=test"),
    ("pairs:{}/two.jsonl", "instructions:{}/two.jsonl"),
])  # fmt: skip
def test_every_sample_has_its_own_tokens(data: Sequence[str], table: Path, folder: Path, tmp_path: Path) -> None:
    loaded = load(job_of(folder, tmp_path / "out", [each.format(table) for each in data]))
    chat, ends = loaded.network.chat, loaded.network.llm.ends
    with run._encode(loaded, SilentConsole()) as batches:
        order, seen = batches.order, Counter[str]()
        for step, batch in enumerate(batches):
            samples = order.take(step, 0)
            assert batch.conversations == tuple(tokenize_conversation(chat, each.turns, ends) for each in samples)
            seen.update(str(each.turns[-1].parts) for each in samples)
    assert seen == dict.fromkeys(seen, 2)  # two passes over both
    assert len(seen) == 2 * ROWS


def test_a_resume_is_exact(table: Path, folder: Path, tmp_path: Path) -> None:
    data = [f"datasets:{table}/own?caption={column}" for column in ("short", "long")]

    def job(name: str) -> ResolvedTraining:
        return saving(job_of(folder, tmp_path / name, data), save_every=1, log_every=1, eval_every=1)

    train(job("whole"))
    with pytest.raises(Stopped):
        train(replace(job("stopped"), evaluate=stop_at(2)))
    train(job("stopped"))
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


def test_rows_that_cannot_be_read_are_told_apart(table: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(table / "own", own)
    lines = (own / "train.jsonl").read_text().splitlines()
    (own / "train.jsonl").write_text("\n".join([lines[0].replace("train 0", " "), *lines[1:]]) + "\n")
    places = []
    for query in ("?caption=short", "?caption=long", "?caption=short&split=test"):
        data = open_data(f"datasets:{own}{query}", count_bad_rows=True)
        places += [sample.where for sample in data.samples or ()] + list(data.bad.reasons)
    assert len(set(places)) == len(places) == 3 * ROWS
    assert f"{own}?caption=short: row 1" in places
