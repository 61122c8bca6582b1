"""``train align`` and ``train instruct`` as they are typed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from anymal_eval.anymal import checkpoint, tiny
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.cli.main import cli
from anymal_eval.errors import AnyMALEvalError, NotInCatalog, OtherRun, WrongUse
from tests.conftest import ROOT, Command
from tests.training.conftest import logged, write_data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("train")
    tiny.write(root)
    (root / "data").mkdir()
    write_data(root / "data")
    return root


def call(*given: object) -> Result:
    return CliRunner().invoke(cli, ["train", *map(str, given)])


def refused(*given: object) -> AnyMALEvalError:
    error = call(*given).exception
    assert isinstance(error, AnyMALEvalError), error
    assert "\n" not in str(error)
    return error


def short(place: Path, out: str, *more: object) -> list[object]:
    return [
        "--data", f"pairs:{place / 'data' / 'pairs.jsonl'}", "--steps", 2, "--batch-size", 4, "--learning-rate", 1e-3,
        "--device", "cpu", "--log-every", 1, "--out", place / out, *more,
    ]  # fmt: skip


def backbones(place: Path) -> list[object]:
    names = {"llm": "llm", "image": "clip", "audio": "clap", "video": "videomae", "imu": "imu2clip.safetensors"}
    return [word for part, name in names.items() for word in ("--backbone", f"{part}={place / 'backbones' / name}")]


def test_both_stages_with_scores_on_the_way(place: Path) -> None:
    scores = ["--eval-every", 1, "--eval-tasks", "vqav2", "--eval-limit", 4]
    done = call("align", "tiny", *backbones(place), *short(place, "align", "--note", "a toy", *scores))
    assert done.exit_code == 0, done.output
    assert "step 2 of 2: loss" in done.output
    folder = place / "align" / "checkpoint"
    assert done.output.endswith(f"{folder}\n")
    assert checkpoint.read(folder).note == "a toy"
    rows = logged(place / "align")
    trained, scored = rows[::2], rows[1::2]  # a step is logged and saved, then evaluated
    assert [row["step"] for row in scored if any("eval_vqav2/" in name for name in row)] == [1, 2]
    assert [row["step"] for row in trained if {"loss", "learning_rate", "grad_norm"} <= row.keys()] == [1, 2]
    record = json.loads((place / "align" / "training.json").read_text())
    assert record["data"][0]["samples"] == 20
    assert record["unreadable"] == {}
    assert record["versions"]["transformers"]
    data = f"instructions:{place / 'data' / 'instructions.jsonl'}"
    given = [data if str(word).startswith("pairs:") else word for word in short(place, "instruct")]
    done = call("instruct", folder, *given, "--lora-rank", 2)
    assert done.exit_code == 0, done.output
    made = checkpoint.load(place / "instruct" / "checkpoint", Loading())
    assert made.config.lora is not None
    assert made.config.lora.rank == 2


def test_what_is_refused(place: Path) -> None:
    network = place / "checkpoint"
    out = short(place, "refused")
    assert "did you mean" in str(refused("align", "tinny", *out))
    assert "no such folder" in str(refused("align", place / "nothing", *out))
    assert "no such file" in str(refused("align", place / "nothing.toml", *out))
    assert "starts from the checkpoint of train align" in str(refused("instruct", place / "nothing", *out))
    assert "--max-unreadable many" in str(refused("align", network, *out, "--max-unreadable", "many"))
    assert "go together" in str(refused("align", network, *out, "--eval-every", 1))
    assert isinstance(refused("align", network, *out, "--preset", "imagee"), NotInCatalog)
    assert isinstance(refused("align", network, *out, "--warmup", 3), WrongUse)
    assert "--backbone llm: write" in str(refused("align", network, *out, "--backbone", "llm"))
    assert "'sound' is no part of this network" in str(refused("align", network, *out, "--backbone", "sound=a"))
    lacking = [word for word in out if word not in ("--steps", 2)]
    assert "--steps: give it, or name a --preset (audio, image, imu, instruct, video)" in str(
        refused("align", network, *lacking)
    )
    assert "--report-to nowhere: nowhere is not supported" in str(
        refused("align", network, *out, "--report-to", "nowhere")
    )
    assert not (place / "refused" / "training.json").exists()


def test_another_training_on_the_same_folder(place: Path) -> None:
    shutil.rmtree(place / "same", ignore_errors=True)
    assert call("align", place / "checkpoint", *short(place, "same")).exit_code == 0
    error = refused("align", place / "checkpoint", *short(place, "same", "--seed", 7))
    assert isinstance(error, OtherRun)
    assert "differs in recipe.seed: recipe.seed was 0, now 7" in str(error)
    assert call("align", place / "checkpoint", *short(place, "same")).exit_code == 0


@pytest.fixture(scope="module")
def listening(place: Path) -> Path:
    """A network of one medium, whose memory is estimated quickly."""
    text = (Path(tiny.__file__).parent / "presets" / "tiny.toml").read_text(encoding="utf-8")
    llm, imu = (
        text.partition("[modalities")[0],
        "[modalities.imu.encoder]" + text.partition("[modalities.imu.encoder]")[2],
    )
    file = place / "backbones" / "imu.toml"
    file.write_text(llm + imu, encoding="utf-8")
    np.save(place / "data" / "0.npy", np.zeros((6, 1000), np.float32))
    rows = [{"id": str(size), "imu": "0.npy", "caption": " ".join(["red"] * size)} for size in (1, 200)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (place / "data" / "imu.jsonl").write_text(lines, encoding="utf-8")
    return file


def test_the_memory_of_a_step_before_it_is_trained(place: Path, listening: Path) -> None:
    step: list[object] = ["align", listening, "--batch-size", 16, "--estimate"]
    done = call(*step, "--data", f"pairs:{place / 'data' / 'imu.jsonl'}")
    assert done.exit_code == 0, done.output
    assert re.search(r"train align, fp32, 16 rows at once, \d+ \+ 80\d tokens of text \(of the data\)", done.output)
    assert "gradient checkpointing: off; with --memory GIB" in done.output
    assert total(call(*step, "--accumulate", 4)) < 0.8 * total(done)
    long = call(*step, "--text-tokens", 900, "--new-tokens", 20, "--device", "cuda", "--memory", 0.05)
    assert "900 + 20 tokens of text (given), on cuda" in long.output
    assert "gradient checkpointing: on; without it a step takes" in long.output


def test_a_step_that_is_too_large_recomputes_its_activations(place: Path, listening: Path) -> None:
    step = [
        "--data", f"pairs:{place / 'data' / 'imu.jsonl'}", "--steps", 1, "--batch-size", 2, "--learning-rate", 1e-3,
        "--device", "cpu", "--out", place / "small", "--memory", 0.005,
    ]  # fmt: skip
    done = call("align", listening, *step)
    assert done.exit_code == 0, done.output
    assert "gradient checkpointing: on; without it a step takes 0.0 GiB" in done.output
    assert "are more than the device's 0.0 GiB: compute fewer rows at once" in done.output
    options = json.loads((place / "small" / "training.json").read_text())["options"]
    assert options["gradient_checkpointing"] is True
    missing = call("align", listening, "--out", place / "none")
    assert (missing.exit_code, "--data is needed: KIND:PATH" in missing.output) == (2, True)


def total(done: Result) -> float:
    found = re.search(r"total +([\d.]+) GiB", done.output)
    assert found, done.output
    return float(found[1])


def test_a_cache_of_features_that_cannot_be_used_is_one_line(place: Path, tmp_path: Path, command: Command) -> None:
    """Damaged entries, and a folder that cannot be written: shown once, with how many there are; all are in the log."""
    cache = tmp_path / "features"
    align = ["align", "tiny", *backbones(place)]
    assert call(*align, *short(place, "filled", "--features", cache)).exit_code == 0
    entries = sorted(cache.glob("??/*.safetensors"))
    assert len(entries) > 2
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:-8])
    again = command("train", *align, *short(place, "damaged", "--features", cache))
    assert again.returncode == 0, again.stderr
    lines = [line for line in again.stderr.splitlines() if "is corrupt" in line]
    assert len(lines) == 2, again.stderr
    assert (place / "damaged" / "run.log").read_text().count("is corrupt") == len(entries) + 1
    assert lines[1].startswith(f"{len(entries)} such warnings, all in the log; the first: features: {cache}/")
    unwritable = call(*align, *short(place, "unwritable", "--features", "/proc/features"))
    assert unwritable.exit_code == 0, unwritable.output
    (line,) = [line for line in unwritable.output.splitlines() if line.startswith("features: /proc/features")]
    assert line.endswith("features that it lacks are not stored")


def test_threads_of_a_step_do_not_spin_for_a_core(tmp_path: Path) -> None:
    """libgomp reads its setting when torch is imported, so the command makes it before."""
    watched = """if True:
        import os, sys
        class Watch:
            def find_spec(self, name, *_):
                if name == "torch":
                    print("threads wait:", os.environ.get("OMP_WAIT_POLICY"))
        sys.meta_path.insert(0, Watch())
        from anymal_eval.cli.main import main
        main()
    """
    given = ["train", "align", "no-network", "--data", "pairs:none.jsonl", "--out", "out", "--steps", "1"]
    here = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", watched, *given], env=here | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stdout == "threads wait: passive\n"


@pytest.mark.parametrize("stage", ["align", "instruct"])
def test_every_option_has_its_place_in_the_help(stage: str) -> None:
    """Under another heading than the last, which has the help itself alone; the argument is in the usage."""
    text = call(stage, "--help").output
    assert [line.split()[0] for line in text.partition("\nOther:\n")[2].splitlines()] == ["-h,"]
    assert all(f"\n{heading}:\n" in text for heading in ("Data", "Network", "Optimization", "Execution", "Output"))
