"""A wrapper written with public names alone answers as its class does when called by hand."""

from pathlib import Path
from typing import Any

import pytest

from anymal_eval.models import choose_model
from anymal_eval.records import Decoding, Request
from tests.models.example_requests import BEAMS, GREEDY, OPTIONS, QUESTIONS, answers, request, respond


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from anymal_eval.anymal import tiny

    made = tmp_path_factory.mktemp("text-only")
    tiny.write(made)
    return made / "backbones" / "llm"


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return choose_model("tests.models.text_only:TextOnly", {"checkpoint": str(folder)}).load()


def by_hand(model: Any, text: str, decoding: Decoding) -> str:
    inputs = model.generator.tokenizer(text, return_tensors="pt")
    beams = {"num_beams": decoding.beams, "length_penalty": decoding.length_penalty} if decoding.beams > 1 else {}
    out = model.model.generate(
        **inputs, do_sample=False, max_new_tokens=decoding.max_new_tokens, min_new_tokens=decoding.min_new_tokens,
        pad_token_id=0, **beams,
    )  # fmt: skip
    text = model.generator.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text.strip()


@pytest.mark.parametrize("decoding", [GREEDY, BEAMS], ids=["greedy", "beams"])
def test_texts(model: Any, decoding: Decoding) -> None:
    requests = [request(str(place), [], text, decoding=decoding) for place, text in enumerate(QUESTIONS)]
    expected = [by_hand(model, text, decoding) for text in QUESTIONS]
    assert answers(model, requests, 1) == expected
    assert answers(model, requests, 8) == expected
    assert len(set(expected)) > 4


def test_scores(model: Any) -> None:
    import torch

    requests: list[Request] = [
        request(str(place), [], text, candidates=OPTIONS[place % 3]) for place, text in enumerate(QUESTIONS)
    ]
    tokenizer = model.generator.tokenizer
    for response, each in zip(respond(model, requests, 8), requests, strict=True):
        text = str(each.messages[0].parts[0])
        start = len(tokenizer(text)["input_ids"])
        expected = []
        for option in each.candidates:
            ids = torch.tensor(tokenizer(f"{text} {option}")["input_ids"])
            with torch.no_grad():
                logits = model.model(input_ids=ids[None]).logits[0].log_softmax(-1)
            expected.append(float(logits[start - 1 : -1].gather(1, ids[start:, None]).sum()))
        assert response.option_scores == pytest.approx(expected, abs=1e-4)
