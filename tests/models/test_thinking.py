"""A chat model whose template switches thinking: what the processor and ``generate`` do when called by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import RequestFailed, WrongUse
from anymal_eval.models import choose_model
from anymal_eval.protocols.reading import TRUNCATED, Reading, read_response
from anymal_eval.records import Decoding, Example
from tests.models import tiny_chats
from tests.models.example_requests import medium, request, respond

# As Qwen3's: it thinks unless it is told not to, and then finds its thinking over.
SWITCHED = tiny_chats.PLAIN_CHAT + (
    "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}"
)
OPENED = tiny_chats.PLAIN_CHAT + "{% if add_generation_prompt %}<think>\n{% endif %}"
CAPTION = Example(id="q", cluster="1", kind="caption")


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("thinking")
    for name, template in (("switched", SWITCHED), ("opened", OPENED), ("plain", tiny_chats.PLAIN_CHAT)):
        tiny_chats.llava(home / name, template)
    return {name: home / name for name in ("switched", "opened", "plain")}


def load(folder: Path) -> Any:
    return choose_model(f"hf:{folder}", {"device": "cpu"}).load()


def prompt(pictures: Sequence[Path], **decoding: Any) -> Any:
    how = Decoding(max_new_tokens=3, **decoding)
    return request("q", [medium(pictures[0])], "What is the colour?", decoding=how)


def by_hand(folder: Path, picture: Path, tokens: int, **variables: Any) -> str:
    import transformers
    from PIL import Image

    found: Any = transformers
    processor = found.AutoProcessor.from_pretrained(folder)
    model = found.AutoModelForImageTextToText.from_pretrained(folder).eval()
    content = [
        {"type": "image", "image": Image.open(picture).convert("RGB")},
        {"type": "text", "text": "What is the colour?"},
    ]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
        return_tensors="pt", **variables,
    )  # fmt: skip
    out = model.generate(**inputs, do_sample=False, max_new_tokens=tokens)
    text: str = processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text.strip()


def test_a_template_with_a_switch(chats: dict[str, Path], pictures: list[Path]) -> None:
    model = load(chats["switched"])
    folder, picture = chats["switched"], pictures[0]
    # A model that does not think stops at the limit of its answer, budget or not.
    [auto, on, off] = [respond(model, [prompt(pictures, thinking=how)])[0] for how in ("auto", "on", "off")]
    assert auto.answer == by_hand(folder, picture, 3)
    assert on.answer == by_hand(folder, picture, 3, enable_thinking=True)
    assert off.answer == by_hand(folder, picture, 3, enable_thinking=False)
    assert off.answer != on.answer
    assert (auto.finish, auto.new_tokens) == ("length", 3)
    prepared = model.prepare(prompt(pictures, thinking="on", thinking_tokens=7))
    assert prepared.request.decoding.most_new_tokens == 10
    assert model.prepare(prompt(pictures, thinking="off")).request.decoding.most_new_tokens == 3
    ranked = request("r", [medium(picture)], "Which?", candidates=("red", "blue"))
    closed = model.prepare(ranked).inputs["input_ids"]
    assert closed.shape[1] > model.prepare(prompt(pictures)).inputs["input_ids"].shape[1] - len("What is the colour?")
    model.close()


def test_a_template_that_opens_thinking(chats: dict[str, Path], pictures: list[Path]) -> None:
    model = load(chats["opened"])
    [response] = respond(model, [prompt(pictures, thinking_tokens=9)])
    # The random network never ends its thinking: all of the budget is used, and there is no answer.
    assert response.answer is not None
    assert response.answer.startswith("<think>")
    assert response.answer.removeprefix("<think>").strip() == by_hand(chats["opened"], pictures[0], 12)
    answer = read_response(response, CAPTION, Reading())
    assert (answer.state, answer.text) == ("error", TRUNCATED)
    ranked = request("r", [medium(pictures[0])], "Which?", candidates=("red", "blue"))
    with pytest.raises(RequestFailed, match="options cannot be ranked inside it"):
        model.prepare(ranked)
    with pytest.raises(WrongUse, match="options cannot be ranked inside it"):
        model.refuse(ranked)
    with pytest.raises(WrongUse, match="always opens thinking"):
        model.refuse(prompt(pictures, thinking="off"))
    model.refuse(prompt(pictures))
    model.close()


def test_a_template_without_thinking(chats: dict[str, Path], pictures: list[Path]) -> None:
    model = load(chats["plain"])
    assert model.prepare(prompt(pictures)).request.decoding.most_new_tokens == 3
    with pytest.raises(WrongUse, match="knows no thinking"):
        model.refuse(prompt(pictures, thinking="on"))
    model.refuse(prompt(pictures, thinking="off"))
    model.close()
