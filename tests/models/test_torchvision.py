"""torchvision changes no number of a model that does without it; what needs it says so."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.models import choose_model
from tests.conftest import ROOT
from tests.models.conftest import Open, Tiny
from tests.models.other_environment import answered
from tests.models.tiny_vision import needs_torchvision

OLD = ["llava", "llava-next", "idefics3", "gemma3", "mllama"]
QUESTION = "why would two men hold an umbrella?"


def in_a_process(job: dict[str, Any], *packages: Path) -> dict[str, Any]:
    paths = os.pathsep.join(map(str, [*packages, ROOT]))
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.other_environment", json.dumps(job)],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def qwen(tiny: Tiny, tmp_path: Path) -> Path:
    """What a folder of Qwen2-VL says of itself."""
    folder = Path(shutil.copytree(tiny("llava"), tmp_path / "qwen"))
    config = {"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"], "vision_config": {}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "processor_config.json").unlink()  # as its checkpoints on the hub are
    parts = {"processor_class": "Qwen2VLProcessor", "image_processor_type": "Qwen2VLImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(parts))
    return folder


def test_present_or_absent_old_families_have_the_same_fingerprints_and_answers(
    tiny: Tiny, opened: Open, pictures: list[Path], qwen: Path
) -> None:
    job = {"answered": [f"hf:{tiny(name)}" for name in OLD], "refused": [f"hf:{qwen}"]}
    absent = in_a_process({**job, "hidden": True, "picture": str(pictures[1]), "question": QUESTION})
    for name in OLD:
        model = opened("hf", name)
        assert model.provenance["image_backend"] == "pil"
        here = answered(model, str(pictures[1]), QUESTION)
        assert here == absent[f"hf:{tiny(name)}"], name
    assert absent[f"hf:{qwen}"].endswith(
        "the processor of Qwen2VLForConditionalGeneration needs torchvision, which is not installed: "
        "pip install 'anymal_eval[vision]'"
    )


def test_one_that_cannot_be_imported(tiny: Tiny, tmp_path: Path) -> None:
    package, facts = tmp_path / "torchvision", tmp_path / "torchvision-0.28.0.dist-info"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    name = f"hf:{tiny('llava')}"
    message = in_a_process({"refused": [name]}, tmp_path)[name]
    assert message.startswith("NeedsExtra: ")
    assert "torchvision 0.28.0 beside torch" in message
    assert "operator torchvision::nms does not exist; install the build that belongs to this torch" in message


@needs_torchvision
def test_a_family_that_has_no_other_uses_it_and_says_so(tiny: Tiny, opened: Open) -> None:
    installed = importlib.metadata.version("torchvision")
    backends = {name: opened("hf", name).provenance["image_backend"] for name in ("llama4", "qwen2.5-vl", "internvl")}
    assert backends == {"llama4": f"torchvision {installed}", "qwen2.5-vl": "pil", "internvl": "pil"}


@needs_torchvision
def test_pixels_are_limited_under_the_processors_own_names(tiny: Tiny, pictures: list[Path]) -> None:
    import transformers

    found: Any = transformers
    folder, limits = tiny("qwen2.5-vl"), {"min_pixels": 4 * 28 * 28, "max_pixels": 6 * 28 * 28}
    by_hand = found.AutoProcessor.from_pretrained(folder, **limits)
    model: Any = choose_model(f"hf:{folder}", {name: str(value) for name, value in limits.items()}).load()
    parts = [(part.image_processor.size, part.video_processor.size) for part in (model._processor, by_hand)]
    assert parts[0] == parts[1]
    assert model._processor.image_processor.backend == "pil"
    model.close()
