"""Processors without settings that their classes need: derived from the network, or one line at load."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import BadCheckpoint
from anymal_eval.models import choose_model
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import GREEDY, medium, request, respond

KEYS = ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens")


def without(folder: Path, copy: Path, *keys: str) -> Path:
    target = Path(shutil.copytree(folder, copy))
    content = json.loads((target / "processor_config.json").read_text())
    for key in keys:
        del content[key]
    (target / "processor_config.json").write_text(json.dumps(content))
    return target


@pytest.mark.parametrize("keys", [*((key,) for key in KEYS), KEYS], ids=lambda keys: "+".join(keys))
def test_what_the_network_gives_is_derived(
    keys: tuple[str, ...], tiny: Tiny, opened: Open, pictures: list[Path], tmp_path: Path
) -> None:
    model: Any = choose_model(f"hf:{without(tiny('llava'), tmp_path / 'legacy', *keys)}", {"device": "cpu"}).load()
    prompts = [request(str(n), [medium(file)], "What is this?", decoding=GREEDY) for n, file in enumerate(pictures[:2])]
    expected = [one.answer for one in respond(opened("hf", "llava"), prompts)]
    assert [one.answer for one in respond(model, prompts)] == expected
    model.close()


def test_what_the_network_does_not_give_is_one_line(tiny: Tiny, tmp_path: Path) -> None:
    folder = without(tiny("llava"), tmp_path / "legacy", "patch_size")
    config = json.loads((folder / "config.json").read_text())
    del config["vision_config"]["patch_size"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadCheckpoint, match="lacks patch_size, and vision_config"):
        choose_model(f"hf:{folder}", {}).load()


@pytest.mark.parametrize("share", ["true", "false"])
def test_what_every_answer_would_meet_is_refused_at_load(share: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny("llava"), tmp_path / "broken"))
    content = json.loads((folder / "processor_config.json").read_text())
    content["num_additional_image_tokens"] = 7
    (folder / "processor_config.json").write_text(json.dumps(content))
    with pytest.raises(BadCheckpoint, match="cannot answer a question about a medium: ") as caught:
        choose_model(f"hf:{folder}", {"share": share}).load()
    assert "\n" not in str(caught.value)
