"""Checkpoints whose files name different end and pad tokens answer as those that agree do, and say so."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import BadCheckpoint, RequestFailed
from anymal_eval.models import choose_model
from anymal_eval.records import Decoding
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import medium, ranked, request, requests, respond

LONG = Decoding(max_new_tokens=24)
VICUNA = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}  # salesforce/LAVIS#509


def edited(folder: Path, copy: Path, name: str, part: str, **values: Any) -> Path:
    """A copy with other values in a JSON file; None deletes the key."""
    target = copy if copy.exists() else Path(shutil.copytree(folder, copy))
    content = json.loads((target / name).read_text())
    inner = content[part] if part else content
    inner |= values
    for key in [key for key, value in inner.items() if value is None]:
        del inner[key]
    (target / name).write_text(json.dumps(content))
    return target


@pytest.mark.parametrize("has_generation_config", [True, False])
def test_instructblip_vicuna(
    has_generation_config: bool, tiny: Tiny, opened: Open, pictures: list[Path], tmp_path: Path
) -> None:
    folder = edited(tiny("instructblip-llama"), tmp_path / "vicuna", "config.json", "text_config", **VICUNA)
    if not has_generation_config:
        (folder / "generation_config.json").unlink()
    else:
        ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        edited(folder, folder, "generation_config.json", "", **ids)
    model: Any = choose_model(f"instructblip:{folder}", {"device": "cpu"}).load()
    assert model.generator.end_ids == {2}
    assert model.generator.pad_id == 0
    assert any("eos_token_id" in note or "ends answers" in note for note in model.provenance["contradictions"])
    agreeing = opened("instructblip", "instructblip-llama")
    assert model.fingerprint != agreeing.fingerprint
    for prompts in (requests(pictures, LONG), ranked(pictures)):
        for batch in (1, 8):
            found, expected = respond(model, prompts, batch), respond(agreeing, prompts, batch)
            assert [(one.answer, one.finish) for one in found] == [(one.answer, one.finish) for one in expected]
            for one, other in zip(found, expected, strict=True):
                assert one.option_scores == (other.option_scores and pytest.approx(other.option_scores, abs=1e-4))
    model.close()


def test_a_checkpoint_that_agrees_has_no_contradiction(opened: Open) -> None:
    for wrapper, name in (("blip2", "blip2-opt"), ("blip2", "blip2-t5"), ("hf", "llava"), ("hf_audio", "qwen2-audio")):
        assert "contradictions" not in opened(wrapper, name).provenance


def test_an_end_outside_of_the_embedding_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = edited(tiny("llava"), tmp_path / "llava", "generation_config.json", "", eos_token_id=99_999)
    edited(folder, folder, "tokenizer_config.json", "", eos_token=None)
    with pytest.raises(BadCheckpoint, match=r"no usable end token: generation_config.json: eos_token_id 99999"):
        choose_model(f"hf:{folder}", {}).load()


def test_a_tokenizer_with_more_tokens_than_rows(tiny: Tiny, tmp_path: Path, pictures: list[Path]) -> None:
    """A request that has such a token is refused before it reaches a device; others are answered."""
    folder = Path(shutil.copytree(tiny("blip2-opt"), tmp_path / "blip2"))
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"].append({
        "id": 5000, "content": "zebra", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        "special": False,
    })  # fmt: skip
    size = len(content["model"]["vocab"])
    content["model"]["vocab"]["zebra"] = size
    content["added_tokens"][-1]["id"] = size
    (folder / "tokenizer.json").write_text(json.dumps(content))
    model: Any = choose_model(f"blip2:{folder}", {}).load()
    with pytest.raises(RequestFailed, match=rf"token id {size}, the embedding has \d+ rows"):
        model.prepare(request("1", [medium(pictures[0])], "a zebra?"))
    assert respond(model, [request("1", [medium(pictures[0])], "a dog?")])[0].answer is not None
    model.close()
