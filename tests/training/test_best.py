"""The best network of a training, by a headline that is evaluated during it."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.errors import WrongUse
from anymal_eval.training.best import BestNetwork, Headline, headline_of
from anymal_eval.training.load import load
from anymal_eval.training.run import train
from tests.training.conftest import align_job, content, every_step, saving
from tests.training.test_loop import saved_weights


def test_the_best_network_is_kept(folder: Path, tmp_path: Path) -> None:
    values = {1: 10.0, 2: 30.0, 3: 20.0, 4: 30.0}

    def evaluate(network: object, step: int) -> dict[str, float]:
        del network
        return {"vqav2/accuracy": values[step], "vqav2/errors": 90.0}

    job = saving(every_step(align_job(folder, tmp_path, steps=4)), eval_every=1)
    job = replace(job, best=Headline(name="vqav2/accuracy"))
    train(replace(job, evaluate=evaluate))
    assert content(tmp_path, "best.json")["step"] == 2
    best = checkpoint.load(tmp_path / "best", job.loading)
    for name, value in saved_weights(tmp_path, 2).items():
        assert torch.equal(best.get_parameter(name), value)
    with pytest.raises(WrongUse) as other:
        train(replace(job, best=Headline(name="coco/cider")))
    assert str(other.value) == (
        f"--keep-best coco/cider: {tmp_path / 'best'} is the best at vqav2/accuracy; move it and best.json away"
    )
    with pytest.raises(WrongUse) as refused:
        align_job(folder, tmp_path, eval_every=1, eval_tasks="vqav2", keep_best="coco")
    assert str(refused.value) == ("--keep-best coco: it is not evaluated during the training, but vqav2/vqa_accuracy")
    with pytest.raises(WrongUse) as none:
        align_job(folder, tmp_path, eval_every=7, eval_tasks="vqav2")
    assert str(none.value) == "--eval-every 7: the training has 6 steps, so nothing would be evaluated"


def test_the_best_is_named_by_what_is_evaluated(folder: Path, tmp_path: Path) -> None:
    options = {"eval_every": 1, "eval_tasks": "vqav2,coco", "eval_metrics": "bleu"}
    for wanted, name in (("coco", "coco/cider"), ("coco/bleu_4", "coco/bleu_4"), ("vqav2", "vqav2/vqa_accuracy")):
        assert align_job(folder, tmp_path, **options, keep_best=wanted).best == Headline(name=name, better="higher")
    with pytest.raises(WrongUse, match="--keep-best coco/rouge_l: it is not evaluated"):
        align_job(folder, tmp_path, **options, keep_best="coco/rouge_l")
    with pytest.raises(WrongUse) as nothing:
        align_job(folder, tmp_path, keep_best="coco")
    assert str(nothing.value) == (
        "--keep-best coco: it is not evaluated during the training, but nothing; give --eval-every and --eval-tasks"
    )
    assert headline_of("error_rate", {"error_rate/wer": "lower"}) == Headline(name="error_rate/wer", better="lower")


def test_where_lower_is_better_the_lowest_is_kept(tmp_path: Path) -> None:
    values = iter([3.0, 1.0, 2.0])
    best = BestNetwork(
        tmp_path,
        Headline(name="speech/wer", better="lower"),
        lambda _, step: {"speech/wer": next(values)},
        lambda _, folder: None,
    )
    for step in range(1, 4):
        best(cast(AnyMAL, None), step)
    assert (content(tmp_path, "best.json")["value"], content(tmp_path, "best.json")["step"]) == (1.0, 2)


def test_a_value_that_is_no_number_is_not_the_best(tmp_path: Path) -> None:
    values = iter([float("nan"), 1.0, float("nan"), 2.0])
    kept: list[Path] = []
    best = BestNetwork(
        tmp_path,
        Headline(name="coco/cider"),
        lambda _, step: {"coco/cider": next(values)},
        lambda _, folder: kept.append(folder),
    )
    for step in range(1, 5):
        best(cast(AnyMAL, None), step)
    assert len(kept) == 2
    assert (content(tmp_path, "best.json")["value"], content(tmp_path, "best.json")["step"]) == (2.0, 4)


def test_a_folder_of_other_files_is_no_place_for_the_best(folder: Path, tmp_path: Path) -> None:
    """It is found before the network is loaded, not at the first evaluation."""
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(WrongUse, match="holds other files"):
        load(replace(align_job(folder, tmp_path), best=Headline(name="vqav2/accuracy")))
