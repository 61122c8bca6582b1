"""Prefix caching of chat models is on where the self-test passes, and no answer depends on it."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anymal_eval.engine import EngineSettings
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.local import run_requests
from anymal_eval.errors import OutOfMemory
from anymal_eval.generation import OptionRanker
from anymal_eval.generation.self_test import ON
from anymal_eval.models import Prepared, choose_model
from anymal_eval.models._prefix_sharing import NO_MEDIA, RANKING
from anymal_eval.records import Decoding, Media, Message, Request, Response
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import medium
from tests.models.tiny_models import WORDS
from tests.processors import needs_bf16_attention

SHARING = [("hf", "llava"), ("hf", "llava-next"), ("hf", "idefics3"), ("hf_audio", "qwen2-audio")]
PICTURES, EACH = 4, 4
SYSTEM = "You are a careful helper."
PREAMBLE = "All that you are to know of this old matter was written down here in one long sentence: "
LETTERS = ("A", "a", "yes")  # one token each
TEXTS = ("a cat on a mat", "two men with an umbrella", "it is at night", "red")


def requests_on(media: Sequence[Media], candidates: tuple[str, ...] = (), beams: int = 1) -> list[Request]:
    """Questions of many lengths on each medium and on none, shuffled."""
    drawn = np.random.default_rng(1)
    words = WORDS.replace("(A)", "").split()
    made = []
    for place, shown in enumerate([*media[:PICTURES], None]):
        for number in range(EACH):
            text = " ".join(drawn.choice(words, int(drawn.integers(2, 12))))
            parts = ("Look at this: ", shown, text) if shown is not None else (PREAMBLE, text)
            first = (Message(role="system", parts=(SYSTEM,)),)
            made.append(
                Request(
                    id=f"{place}-{number}",
                    messages=(*first, Message(role="user", parts=parts)),
                    candidates=candidates,
                    decoding=Decoding(max_new_tokens=5, beams=beams),
                )
            )
    return [made[place] for place in drawn.permutation(len(made))]


def answers(
    model: Any, requests: Sequence[Request], size: int | None, clock: Clock | None = None
) -> dict[str, Response]:
    found: list[Response] = []
    run_requests(requests, model, found.extend, EngineSettings(batch_size=size), clock)
    assert sorted(response.id for response in found) == sorted(request.id for request in requests)
    return {response.id: response for response in found}


def alone(model: Any, requests: Sequence[Request]) -> dict[str, Response]:
    """One request at a time, without prefix caching."""
    sharing, model.prefix_sharing = model.prefix_sharing, None
    try:
        return answers(model, requests, 1)
    finally:
        model.prefix_sharing = sharing


@pytest.mark.parametrize(("wrapper", "name"), SHARING)
def test_texts_are_those_of_single_requests(wrapper: str, name: str, media: list[Media], opened: Open) -> None:
    model = opened(wrapper, name)
    assert model.provenance["prefix_sharing"] == ON
    for beams in (1, 3):
        requests = requests_on(media, beams=beams)[: 20 if beams == 1 else 8]
        expected = alone(model, requests)
        assert len({response.answer for response in expected.values()}) > len(requests) // 2
        for size, order in ((7, 1), (None, -1)):
            found = answers(model, requests[::order], size)
            assert {name: one.answer for name, one in found.items()} == {
                name: one.answer for name, one in expected.items()
            }, "no two best tokens of these models are level, so that there are no exceptions"
            assert {(one.id, one.prompt_tokens, one.new_tokens, one.finish) for one in found.values()} == {
                (one.id, one.prompt_tokens, one.new_tokens, one.finish) for one in expected.values()
            }


@pytest.mark.parametrize(("wrapper", "name"), SHARING)
@pytest.mark.parametrize("candidates", [LETTERS, TEXTS], ids=["letters", "texts"])
def test_scores_are_those_of_single_requests(
    wrapper: str, name: str, candidates: tuple[str, ...], media: list[Media], opened: Open
) -> None:
    model = opened(wrapper, name)
    requests = requests_on(media, candidates)
    expected = alone(model, requests)
    for size in (7, None):
        for name_, one in answers(model, requests, size).items():
            assert one.option_scores == pytest.approx(expected[name_].option_scores, abs=1e-4)
            assert one.option_tokens == expected[name_].option_tokens


def counting(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every forward from now on."""
    rows: list[int] = []
    forward = type(model.network).forward

    def watched(self: Any, input_ids: Any = None, **given: Any) -> Any:
        rows.append(len(input_ids))
        return forward(self, input_ids=input_ids, **given)

    monkeypatch.setattr(type(model.network), "forward", watched)
    return rows


def test_a_medium_is_prefilled_once_and_letters_are_read_from_one_forward(
    tiny: Tiny, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = choose_model(f"hf:{tiny('llava')}", {}).load()
    shown = [medium(file) for file in pictures]
    requests = [request for request in requests_on(shown, LETTERS) if request.media]
    model.self_test(requests)
    before = model.preprocessed.made
    rows = counting(model, monkeypatch)
    clock = Clock()
    answers(model, requests, None, clock)
    assert model.prefix_sharing.prefilled == PICTURES
    assert sorted(rows) == [1] * PICTURES + [len(requests)]
    assert model.preprocessed.made == before + PICTURES
    assert clock.seconds["prefilling"] > 0
    # More questions on the last image, one at a time: its prefix is still cached.
    last = [replace(request, id=f"again {request.id}") for request in requests if request.id.startswith("3-")]
    answers(model, last, 1)
    assert model.prefix_sharing.prefilled == PICTURES
    model.close()


def test_what_a_run_does_not_do_is_not_tested_and_what_fails_its_test_is_not_shared(
    tiny: Tiny, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path))
    model: Any = choose_model(f"hf:{tiny('llava')}", {}).load()
    shown = [medium(file) for file in pictures]
    generated, ranked = requests_on(shown), requests_on(shown, TEXTS)
    assert model.prefix_sharing.tested == {}
    model.self_test(one for one in generated if one.media)
    assert model.prefix_sharing.tested == {}
    real = OptionRanker._continued

    def another(self: Any, cache: Any, *given: Any) -> list[float]:
        """Wrong where several rows are ranked, as those of the test are that share prefixes."""
        return [value + (len(cache.layers[0].keys) > 1) for value in real(self, cache, *given)]

    with monkeypatch.context() as patch:
        patch.setattr(OptionRanker, "_continued", another)
        model.self_test(ranked)
    assert model.prefix_sharing.tested == {RANKING: False, NO_MEDIA: True}
    why = model.provenance["prefix_sharing"]
    assert why == f"{ON}; off for ranking: self-test failed, scores differ by 1.0e+00"
    for requests in (ranked, generated):
        expected = alone(model, requests)
        model.prefix_sharing.prefilled = 0
        found = answers(model, requests, None)
        assert (model.prefix_sharing.prefilled > 0) == (requests is generated)
        assert {name: one.answer for name, one in found.items()} == {n: one.answer for n, one in expected.items()}
    model.close()
    again: Any = choose_model(f"hf:{tiny('llava')}", {}).load()
    rows = counting(again, monkeypatch)
    again.self_test(one for one in generated if not one.media)
    assert (again.prefix_sharing.tested, rows) == ({NO_MEDIA: True}, []), "it is remembered"
    again.self_test(ranked)
    assert again.prefix_sharing.tested == {RANKING: True, NO_MEDIA: True}
    assert again.provenance["prefix_sharing"] == ON
    assert rows, "a test that failed is not remembered"
    again.close()


def test_images_of_several_shapes_share_a_batch(tiny: Tiny, pictures: list[Path], opened: Open) -> None:
    """Prefixes are prefilled one by one; the rest of every prompt is text, of one shape."""
    model = opened("hf", "llava-next")
    items = [model.prepare(request) for request in requests_on([medium(file) for file in pictures]) if request.media]
    shapes = {tuple(item.inputs["pixel_values"].shape) for item in items}
    assert len(shapes) > 1
    assert len({str(item.batch_key) for item in model.prefix_sharing.with_batch_keys(items)}) == 1


@pytest.mark.parametrize(
    ("name", "options", "outcome"),
    [
        ("gemma3", {}, "off: tokens of a picture look ahead"),
        ("mllama", {}, "off: its pictures come in by cross attention"),
        ("llava", {"share": "false"}, "off: -o share=false"),
        pytest.param("llava", {"precision": "bf16"}, ON, marks=needs_bf16_attention),
    ],
)
def test_the_outcome_is_recorded(name: str, options: dict[str, str], outcome: str, tiny: Tiny) -> None:
    model: Any = choose_model(f"hf:{tiny(name)}", options).load()
    assert model.provenance["prefix_sharing"] == outcome
    assert (model.prefix_sharing is not None) == (outcome == ON)
    model.close()


LOOKS_BACK = '''
from transformers import LlavaConfig, LlavaForConditionalGeneration


class OwnConfig(LlavaConfig):
    model_type = "own"


class OwnModel(LlavaForConditionalGeneration):
    """The second token of a prompt is another one, depending on what follows it."""

    config_class = OwnConfig

    def forward(self, input_ids=None, attention_mask=None, past_key_values=None, position_ids=None,
                pixel_values=None, logits_to_keep=0, **given):
        begins = past_key_values is None or past_key_values.get_seq_length() == 0
        if begins and input_ids is not None and input_ids.shape[1] > 2:
            first = (input_ids != 0).int().argmax(dim=1)
            input_ids = input_ids.clone()
            for row, place in enumerate(first.tolist()):
                input_ids[row, place + 1] = 10 + input_ids[row, place + 2 :].sum() % 80
        return super().forward(
            input_ids=input_ids, attention_mask=attention_mask, past_key_values=past_key_values,
            position_ids=position_ids, pixel_values=pixel_values, logits_to_keep=logits_to_keep, **given,
        )
'''


def test_a_model_whose_tokens_depend_on_later_ones_fails_the_self_test(
    tiny: Tiny, opened: Open, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = Path(shutil.copytree(tiny("llava"), tmp_path / "coded"))
    (folder / "modeling_own.py").write_text(LOOKS_BACK)
    save_file(opened("hf", "llava").network.state_dict(), folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own", "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForImageTextToText": "modeling_own.OwnModel"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    model: Any = choose_model(f"hf:{folder}", {"trust_remote_code": "true"}).load()
    assert model.provenance["prefix_sharing"].startswith("off: self-test failed, scores differ by ")
    assert model.prefix_sharing is None
    requests = requests_on([medium(file) for file in pictures])[:8]
    found = answers(model, requests, None)
    model.close()
    plain: Any = choose_model(f"hf:{folder}", {"trust_remote_code": "true", "share": "false"}).load()
    assert found == answers(plain, requests, None)
    plain.close()


def test_out_of_memory_frees_the_prefixes_and_changes_nothing(
    tiny: Tiny, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = choose_model(f"hf:{tiny('llava')}", {}).load()
    requests = requests_on([medium(file) for file in pictures])
    whole = answers(model, requests, 8)
    real, calls = model._compute, 0

    def scarce(items: Sequence[Prepared]) -> list[Response]:
        nonlocal calls
        calls += 1
        if calls % 3 == 1 and len(items) > 1:
            raise OutOfMemory("injected")
        return real(items)  # type: ignore[no-any-return]

    monkeypatch.setattr(model, "_compute", scarce)
    found = answers(model, requests, 8)
    assert {name: one.answer for name, one in found.items()} == {name: one.answer for name, one in whole.items()}
    model.close()
