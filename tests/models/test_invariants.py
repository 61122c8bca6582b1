"""What an answer may depend on: its own request, and nothing beside it.

In fp32 the same text wherever the gap between the two best tokens exceeds 1e-4, scores to 1e-4, at any batch size, in
any order and beside any neighbours; bitwise the same at equal batches.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import OutOfMemory
from anymal_eval.records import Media, Request, Response
from tests.models.conftest import Open
from tests.models.example_requests import BEAMS, GREEDY, ranked, request, requests, respond

WRAPPED = [
    ("blip2", "blip2-opt"), ("blip2", "blip2-t5"),
    ("instructblip", "instructblip-llama"), ("instructblip", "instructblip-t5"),
    ("hf", "llava"), ("hf", "llava-next"), ("hf", "idefics3"), ("hf", "gemma3"), ("hf", "mllama"),
    ("hf_audio", "qwen2-audio"),
]  # fmt: skip


def mixed(media: Sequence[Media]) -> list[Request]:
    """Greedy, beams and ranking in one batch, with no, one and two media."""
    two = [request(f"t{n}", [media[n], media[n + 1]], f"Which of {n}?", decoding=GREEDY) for n in range(3)]
    two.append(request("none", [], "What would it be?", decoding=GREEDY))  # what ``--ablate no-media`` asks
    mine = [*requests(media, GREEDY, 8), *ranked(media, 5), *two]
    beams = [replace(each, id="b" + each.id) for each in requests(media, BEAMS, 4)]
    return [*mine, *beams]


def by_id(responses: Sequence[Response]) -> dict[str, Response]:
    return {response.id: response for response in responses}


def exceptions(found: Sequence[Response], expected: Sequence[Response]) -> int:
    """How many texts differ; scores must not."""
    differing = 0
    wanted = by_id(expected)
    assert len(found) == len(wanted)
    for response in found:
        other = wanted[response.id]
        assert response.failure is None, response.failure
        differing += response.answer != other.answer
        if other.option_scores is not None:
            assert response.option_scores == pytest.approx(other.option_scores, abs=1e-4)
        assert (response.prompt_tokens, response.option_tokens) == (other.prompt_tokens, other.option_tokens)
    return differing


@pytest.mark.parametrize(("wrapper", "name"), WRAPPED)
def test_batch_order_and_neighbours_change_nothing(wrapper: str, name: str, opened: Open, media: list[Media]) -> None:
    model: Any = opened(wrapper, name)
    prompts = mixed(media)
    alone = respond(model, prompts, 1)
    assert len({response.answer for response in alone}) > 6
    assert exceptions(respond(model, prompts, 4), alone) == 0
    whole = respond(model, prompts, 16)
    assert exceptions(whole, alone) == 0
    assert exceptions(respond(model, prompts[::-1], 16), alone) == 0
    assert exceptions(respond(model, prompts[3:6], 16), alone[3:6]) == 0
    assert respond(model, prompts, 16) == whole  # bitwise, scores too
    assert [response.id for response in whole] == [each.id for each in prompts]


@pytest.mark.parametrize(("wrapper", "name"), WRAPPED)
def test_requests_are_prepared_in_threads(wrapper: str, name: str, opened: Open, media: list[Media]) -> None:
    """Fast tokenizers fail when two threads use one ("Already borrowed")."""
    model: Any = opened(wrapper, name)
    once = mixed(media)
    size = len(once)
    with ThreadPoolExecutor(8) as pool:
        items = list(pool.map(model.prepare, once * 3))
    assert model.answer(items[:size]) == respond(model, once, size)
    lengths = [(item.prefix_tokens, item.suffix_tokens, item.option_token_ids) for item in items]
    assert lengths[:size] == lengths[size : 2 * size] == lengths[2 * size :]


@pytest.mark.parametrize(("wrapper", "name"), WRAPPED)
def test_a_row_that_breaks_breaks_alone(wrapper: str, name: str, opened: Open, media: list[Media]) -> None:
    """One row's numbers become NaN on the way into the language model; its neighbours answer as ever."""
    model: Any = opened(wrapper, name)
    prompts = [*requests(media, GREEDY, 3), *requests(media, BEAMS, 3), *ranked(media, 3)]
    prompts = [replace(each, id=str(place)) for place, each in enumerate(prompts)]
    expected = respond(model, prompts)
    items = [model.prepare(each) for each in prompts]
    broken = {1, 4, 7}
    items = [spoilt(item, place) if place in broken else item for place, item in enumerate(items)]
    for place, response in enumerate(model.answer(items)):
        if place in broken:
            assert response.failure is not None
            assert response.failure.kind == "logits"
        else:
            assert exceptions([response], [expected[place]]) == 0


def spoilt(item: Any, place: int) -> Any:
    """The same request with NaN for its picture or sound."""
    import torch

    if hasattr(item, "images"):
        return replace(item, images=((f"nan{place}", torch.full_like(item.images[0][1], torch.nan)),))
    inputs = {
        name: torch.full_like(value, torch.nan) if value.is_floating_point() else value
        for name, value in item.inputs.items()
    }
    return replace(item, inputs=inputs, prefix_key=item.prefix_key and f"nan{place}")


def test_a_batch_that_does_not_fit_is_out_of_memory(
    opened: Open, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model: Any = opened("blip2", "blip2-opt")
    prompts = requests(pictures, GREEDY, 6)
    expected = respond(model, prompts)
    generate = model.generator.model.generate

    def scarce(**inputs: Any) -> Any:
        if len(inputs["inputs_embeds"]) > 2:
            raise torch.OutOfMemoryError("no more")
        return generate(**inputs)

    monkeypatch.setattr(model.generator.model, "generate", scarce)
    with pytest.raises(OutOfMemory):
        model.answer([model.prepare(each) for each in prompts])
    assert exceptions(respond(model, prompts, 2), expected) == 0
