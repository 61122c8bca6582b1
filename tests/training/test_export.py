"""A saved state becomes the network that a training stopped there would have made."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from anymal_eval.anymal import checkpoint
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.errors import AnyMALEvalError, BadCheckpoint, MissingData, WrongUse
from anymal_eval.training import record
from anymal_eval.training.export import export
from anymal_eval.training.resolve import ResolvedTraining
from anymal_eval.training.run import train
from tests.training.conftest import align_job, every_step, instruct_job, saving


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def job_of(stage: str, folder: Path, out: Path, steps: int) -> ResolvedTraining:
    """The rate does not depend on the number of steps."""
    changed: dict[str, Any] = {"schedule": "constant", "warmup": 0, "steps": steps}
    if stage == "align":
        return every_step(align_job(folder, out, **changed))
    return every_step(instruct_job(folder, folder / "checkpoint", out, **changed))


@pytest.mark.parametrize("stage", ["align", "instruct"])
def test_an_exported_step_is_a_training_stopped_there(stage: str, folder: Path, tmp_path: Path) -> None:
    """The first export happens inside the longer training, which holds its lock."""
    made = tmp_path / "long" / "of-2"  # in a folder as deep as the other's: paths of backbones are relative

    def evaluate(network: object, step: int) -> dict[str, float]:
        del network
        if step == 2:
            export(tmp_path / "long", made)
        return {}

    job = saving(job_of(stage, folder, tmp_path / "long", 4), eval_every=1)
    train(replace(job, evaluate=evaluate))
    short = train(job_of(stage, folder, tmp_path / "short", 2)).checkpoint
    assert contents(made) == contents(short)
    assert export(tmp_path / "long", tmp_path / "long" / "again", 2).step == 2
    assert contents(tmp_path / "long" / "again") == contents(short)
    assert export(tmp_path / "long", tmp_path / "long" / "last").step == 4
    assert contents(tmp_path / "long" / "last") == contents(tmp_path / "long" / "checkpoint") != contents(short)


def test_projectors_alone_keep_the_adapters_of_the_start(folder: Path, tmp_path: Path) -> None:
    start = shutil.copytree(folder / "checkpoint", folder / "start")
    out = tmp_path / "out"
    job = every_step(instruct_job(folder, start, out, steps=1, warmup=0, no_lora=True, lora_rank=None, lora_alpha=None))
    made = train(job).checkpoint
    export(out, out / "made")
    assert contents(out / "made") == contents(made)
    (start / "lora" / "adapter_model.safetensors").write_bytes(b"another")
    with pytest.raises(BadCheckpoint, match=r"adapter_model\.safetensors is not, or no longer"):
        export(out, out / "made")
    assert contents(out / "made") == contents(made)


def test_of_a_training_of_an_earlier_version(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "earlier"
    shutil.copytree(whole, out)
    content = {name: value for name, value in record.read(out).items() if name not in ("network", "format")}
    record.write(out, content)
    for state in (out / "steps").iterdir():
        (state / "digests.json").unlink()
        position = json.loads((state / "position_0.json").read_text())
        del position["digests"]
        (state / "position_0.json").write_text(json.dumps(position))
    exported = export(out, tmp_path / "made")
    assert "could not be verified" in exported.messages[0]
    made, wanted = (load_file(each / "projectors.safetensors") for each in (tmp_path / "made", whole / "checkpoint"))
    assert all(made[name].equal(wanted[name]) for name in made | wanted)
    checkpoint.load(tmp_path / "made", Loading())


def test_what_cannot_be_exported(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "training"
    shutil.copytree(whole, out)

    def refused(training: Path, to: Path = tmp_path / "made", step: int | None = None) -> str:
        with pytest.raises(AnyMALEvalError) as error:
            export(training, to, step)
        assert not (tmp_path / "made").exists()
        assert error.value.exit_code == 1
        return str(error.value)

    assert "holds no state of step 9; it holds 6, 5, 4, 3, 2 and 1 more" in refused(out, step=9)
    assert "checkpoint already" in refused(out / "checkpoint")
    assert refused(tmp_path / "none") == f"{tmp_path / 'none'}: there is no such folder"
    assert "is a preset, a network that is not trained" in refused(Path("7b-any"))
    for inside in (out, out / "checkpoint", out / "steps" / "new"):
        assert "is a folder of the training itself" in refused(out, inside)
    state = out / "steps" / "checkpoint-6"
    (state / "trained.safetensors").write_bytes(b"damaged")
    assert "damaged: trained.safetensors has changed" in refused(out, step=6)
    assert "damaged: trained.safetensors has changed" in refused(state)
    exported = export(out, tmp_path / "made")
    assert exported.step == 5
    assert "checkpoint-6 is damaged" in exported.messages[0]
    shutil.rmtree(tmp_path / "made")
    shutil.rmtree(out / "steps")
    with pytest.raises(MissingData, match="no state yet"):
        export(out, tmp_path / "made")
    with pytest.raises(WrongUse, match="no state of step"):
        export(whole, tmp_path / "made", 99)
