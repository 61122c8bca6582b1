"""Training and evaluation share no content, and training knows no held-out wording."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from anymal_eval.demo import content_hash, pairs, split_of, tasks, text_questions, wording_of
from anymal_eval.errors import WrongUse
from anymal_eval.records import MediaKind

COUNTS: dict[MediaKind, int] = {"image": 3000, "audio": 500, "video": 300, "imu": 1500}


@pytest.mark.parametrize("kind", COUNTS)
def test_no_content_in_both_splits(kind: MediaKind) -> None:
    train = {pair.digest for pair in pairs(kind, count=COUNTS[kind], split="train")}
    evaluation = {pair.digest for pair in pairs(kind, count=COUNTS[kind], split="eval")}
    assert not train & evaluation
    assert len(train) > 0.95 * COUNTS[kind], "scenes hardly ever repeat"


def test_files_belong_to_their_split(
    world: Path, training: Path, decoded: Callable[[Path], list[NDArray[Any]]]
) -> None:
    """Long clips and recordings are checked by their windows in test_determinism.py."""
    for task in set(tasks()) - {"star", "how2qa", "imu_caption"}:
        assert {split_of(array) for array in decoded(world / task)} == {"eval"}, task
        assert {split_of(array) for array in decoded(training / task)} == {"train"}, task
    for task in ("star", "how2qa", "imu_caption"):
        train = {content_hash(array) for array in decoded(training / task)}
        assert not train & {content_hash(array) for array in decoded(world / task)}


@pytest.mark.parametrize("kind", COUNTS)
def test_wordings(kind: MediaKind) -> None:
    """Every question's text tells its wording; a fourth of those in evaluation are held out, none in training."""
    for split in ("train", "eval"):
        questions = [q for pair in pairs(kind, count=400, split=split) for q in pair.questions]
        assert all(wording_of(question.text) == question.wording for question in questions)
        held = sum(question.wording == "held-out" for question in questions) / len(questions)
        captions_only = kind in ("audio", "imu")
        assert held == 0 if split == "train" or captions_only else 0.2 < held < 0.3


def test_text_questions() -> None:
    questions = list(text_questions(count=300, split="eval"))
    assert all(wording_of(question.text) == question.wording for question in questions)
    assert {bool(question.context["hint"]) for question in questions} == {True, False}


def test_unknown_medium() -> None:
    with pytest.raises(WrongUse, match="no 'smell'"):
        next(pairs("smell", count=1))  # type: ignore[arg-type]
