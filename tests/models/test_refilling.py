"""Requests of a local network leave the batch when they are answered, and others take their places."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from anymal_eval.anymal import tiny
from anymal_eval.models import Prepared, Refilling, SelfTesting, choose_model
from anymal_eval.records import Decoding, Media, Message, Request, Response
from tests.models.conftest import Open, Tiny
from tests.models.test_prefix_sharing import answers

SIZES = [(40, 60), (60, 40), (150, 50), (90, 200), (40, 60), (200, 90), (60, 60), (333, 100)]  # several shapes of tiles


@pytest.fixture
def several(tmp_path: Path) -> list[Request]:
    """Questions on pictures of several sizes and on none, of many lengths."""
    drawn = np.random.default_rng(2)
    made = []
    for number, size in enumerate([*SIZES, None, None, None, None]):
        parts: tuple[str | Media, ...] = ("what is it " * (1 + number % 4),)
        if size is not None:
            file = tmp_path / f"{number}.png"
            Image.fromarray(drawn.integers(0, 256, (*size, 3), dtype=np.uint8)).save(file)
            parts = (Media(kind="image", uri=str(file)), *parts)
        decoding = Decoding(max_new_tokens=32)
        made += [
            Request(
                id=f"{number}-{again}", messages=(Message(role="user", parts=(*parts, "x" * again)),), decoding=decoding
            )
            for again in range(2)
        ]
    return made


def open_rows(
    model: Any, network: Any, requests: Sequence[Request], size: int
) -> tuple[dict[str, Response], list[int]]:
    """The answers, and how many rows each step of decoding computed."""
    rows: list[int] = []

    def count(_: Any, args: Any, given: dict[str, Any]) -> None:
        ids = given.get("input_ids")
        if ids is not None and ids.shape[1] == 1:
            rows.append(len(ids))

    if isinstance(model, SelfTesting):
        model.self_test(requests)
    hook = network.register_forward_pre_hook(count, with_kwargs=True)
    try:
        return answers(model, requests, size), rows
    finally:
        hook.remove()


@pytest.mark.parametrize("name", ["llava-next", "idefics3"])
def test_pictures_of_several_sizes_are_decoded_together(
    name: str, several: list[Request], opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = opened("hf", name)
    assert isinstance(cast(object, model), Refilling)
    ids = np.random.default_rng(3).permutation(len(model.generator.tokenizer))
    # A random network ends nothing by itself.
    monkeypatch.setattr(model.generator, "end_ids", frozenset(ids[: len(ids) // 6].tolist()))
    alone, _ = open_rows(model, model.network, several, 1)
    found, rows = open_rows(model, model.network, several, 6)
    assert found == alone
    lengths = Counter(one.new_tokens for one in alone.values())
    assert len(lengths) > 3
    assert 4 <= max(rows) <= 6  # an answer may end with its first token
    steps = sum((one.new_tokens or 0) - 1 for one in alone.values())  # the first token comes from the prompt
    assert sum(rows) == steps
    assert len(rows) < 0.45 * steps
    monkeypatch.setattr(model.generator, "grows_in_place", False)
    assert open_rows(model, model.network, several, 6)[0] == alone


def test_the_network_refills_too(several: list[Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = choose_model(f"anymal:{tiny.write(tmp_path / 'network')}", {}).load()
    assert isinstance(cast(object, model), Refilling)
    llm = model._network.llm
    drawn = np.random.default_rng(3)
    ends = drawn.permutation(llm.vocabulary)[: llm.vocabulary // 6].tolist()
    monkeypatch.setattr(llm.model.generation_config, "eos_token_id", ends)
    alone, _ = open_rows(model, llm.model, several, 1)
    found, rows = open_rows(model, llm.model, several, 6)
    assert found == alone
    assert len(Counter(one.new_tokens for one in alone.values())) > 3
    assert 4 <= max(rows) <= 6  # an answer may end with its first token
    steps = sum((one.new_tokens or 0) - 1 for one in alone.values())
    assert sum(rows) == steps
    assert len(rows) < 0.45 * steps


def test_ranking_and_beams_are_answered_whole(several: list[Request], tiny: Tiny) -> None:
    model: Any = choose_model(f"hf:{tiny('llava')}", {}).load()
    never = _Never()
    ranked = [replace(one, candidates=("a", "b")) for one in several[:4]]
    beams = [replace(one, decoding=Decoding(max_new_tokens=4, beams=2)) for one in several[:4]]
    for requests in (ranked, beams, [several[0], ranked[1]]):
        batch = [model.prepare(one) for one in requests]
        (responses,) = model.answer_each(batch, never)
        assert responses == model.answer(batch)


class _Never:
    def __call__(self) -> Sequence[Prepared]:
        raise AssertionError("nothing may join a batch that is answered whole")


def test_rows_that_are_open_are_freed_where_memory_ends(
    several: list[Request], tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = choose_model(f"hf:{tiny('llava')}", {}).load()
    expected = answers(model, several, 6)
    real, calls = model._inputs, 0

    def sometimes(items: Sequence[Any]) -> Any:
        nonlocal calls
        calls += 1
        if calls % 3 == 2 and len(items) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return real(items)

    monkeypatch.setattr(model, "_inputs", sometimes)
    assert answers(model, several, 6) == expected
    assert calls > 3
