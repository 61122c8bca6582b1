"""What every model must do: answer each request by itself, in any batch, order and thread.

A new model needs ``tests/golden/models/NAME.json`` and no change here. Its keys: ``checkpoint`` is a tiny network of
transformers (``class``, ``architecture``, ``chat_template``) that is written with random weights, or is left out;
``options`` are the model's own, as ``-o`` takes them; ``media`` are the kinds that it takes; ``answer`` is its answer
to every question, if that is known. ``"reference": "text"`` compares a language model with transformers itself.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anymal_eval import catalog
from anymal_eval.checkpoints.loading import quiet
from anymal_eval.models import Model, choose_model
from anymal_eval.records import ALL_MEDIA, Media, Request, Response
from tests.models.example_requests import GREEDY, request, respond
from tests.models.tiny_models import library, scramble, tokenizer

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
# These have tests of their own, over checkpoints of their families, files of answers and servers.
OTHERS = {"anymal", "blip2", "hf", "hf_audio", "instructblip", "openai", "replay", "vllm"}
OPTIONS = ("red", "a green hat")
CASES = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(GOLDEN.glob("*.json"))}


def write(case: dict[str, Any], folder: Path, seed: int) -> Path:
    """A random checkpoint with a tokenizer of some 400 tokens."""
    hub, words = library(), tokenizer("<s>", None, chat=case["checkpoint"]["chat_template"])
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": len(words)}
    config = hub.AutoConfig.for_model(**case["checkpoint"]["architecture"], **ends)
    with quiet():
        scramble(getattr(hub, case["checkpoint"]["class"])(config), seed).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def load(name: str, folder: Path, seed: int = 0) -> Model:
    case = CASES[name]
    if "checkpoint" not in case:
        return choose_model(name, case["options"]).load()
    own = folder / str(seed)
    typed = f"{name}:{own if own.exists() else write(case, own, seed)}"
    return choose_model(typed, {"device": "cpu", **case["options"]}).load()


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str, tmp_path: Path) -> Iterator[Model]:
    loaded = load(name, tmp_path)
    yield loaded
    loaded.close()


@pytest.fixture
def mixed(name: str, tmp_path: Path) -> list[Request]:
    """Open questions and options of several lengths, with a picture where the model takes pictures."""
    media: list[Media] = []
    if "image" in CASES[name]["media"]:
        Image.fromarray(np.full((28, 28, 3), 90, dtype=np.uint8)).save(tmp_path / "grey.png")
        media = [Media(kind="image", uri=str(tmp_path / "grey.png"))]
    texts = ("what?", "What is the colour?", "how many dogs are there", "why would two men hold an umbrella at night?")
    open_ = [request(f"q{n}", media[: n % 2], text, decoding=GREEDY) for n, text in enumerate(texts)]
    options = (("yes", "no"), ("red", "a green hat", "blue"), ("A", "B", "C"))
    ranked = [request(f"r{n}", media, texts[n], candidates=each) for n, each in enumerate(options)]
    return [*open_, *ranked]


def close(found: Response, other: Response) -> bool:
    same = (found.id, found.answer, found.failure) == (other.id, other.answer, other.failure)
    return same and found.option_scores == (other.option_scores and pytest.approx(other.option_scores, abs=1e-4))


def check_texts_and_scores(model: Model, folder: Path) -> None:
    """A greedy text and two log-probabilities, computed by transformers from the same chat template."""
    import torch

    hub = library()
    network, words = hub.AutoModelForCausalLM.from_pretrained(folder), hub.AutoTokenizer.from_pretrained(folder)
    conversation = [{"role": "user", "content": "What is the colour?"}]
    text = words.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    ids = words(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        out = network.generate(ids, do_sample=False, max_new_tokens=GREEDY.max_new_tokens)
        scores = []
        for option in OPTIONS:
            whole = words(f"{text} {option}", add_special_tokens=False, return_tensors="pt")["input_ids"]
            logs = network(whole).logits[0, ids.shape[1] - 1 : -1].log_softmax(dim=-1)
            scores.append(float(logs.gather(1, whole[0, ids.shape[1] :, None]).sum()))
    question = "What is the colour?"
    asked = [request("q", [], question, decoding=GREEDY), request("r", [], question, candidates=OPTIONS)]
    open_, ranked = respond(model, asked)
    assert open_.answer == words.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert ranked.option_scores == pytest.approx(scores, abs=1e-4)


def test_every_model_is_tested() -> None:
    missing = sorted(set(catalog.models().names()) - CASES.keys() - OTHERS)
    assert not missing, f"write {GOLDEN}/{missing[0]}.json: the docstring of this file lists its keys"
    assert all(case["source"] for case in CASES.values())


def test_it_says_what_it_takes_and_names_its_weights(name: str, model: Model, tmp_path: Path) -> None:
    case = CASES[name]
    assert set(case["media"]) <= model.accepts <= ALL_MEDIA
    assert load(name, tmp_path).fingerprint == model.fingerprint
    if "checkpoint" in case:
        assert load(name, tmp_path, seed=1).fingerprint != model.fingerprint


def test_each_request_has_its_response(name: str, model: Model, mixed: list[Request], tmp_path: Path) -> None:
    found = respond(model, mixed)
    assert [response.id for response in found] == [each.id for each in mixed]
    for given, response in zip(mixed, found, strict=True):
        assert response.failure is None
        assert len(response.option_scores or ()) == len(given.candidates)
        assert (response.answer is None) == bool(given.candidates)
    if "answer" in CASES[name]:
        assert {response.answer for response in found if response.answer is not None} == {CASES[name]["answer"]}
    if CASES[name].get("reference") == "text":
        check_texts_and_scores(model, tmp_path / "0")


def test_batches_order_and_threads_change_nothing(model: Model, mixed: list[Request]) -> None:
    alone = respond(model, mixed, 1)
    assert all(map(close, respond(model, mixed, 3), alone))
    assert all(map(close, respond(model, mixed[::-1]), alone[::-1]))
    with ThreadPoolExecutor(8) as pool:
        prepared = list(pool.map(model.prepare, mixed * 3))
    assert all(map(close, model.answer(prepared[: len(mixed)]), alone))
