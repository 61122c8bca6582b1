"""The AnyMAL model computes nothing twice, and prefix caching changes no answer."""

import json
import os
import shutil
import wave
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anymal_eval.anymal import checkpoint, tiny
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.engine import EngineSettings
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.local import run_requests
from anymal_eval.errors import MediaError, OutOfMemory
from anymal_eval.models import anymal
from anymal_eval.records import Decoding, Media, Message, Request, Response

PICTURES, QUESTIONS = 6, 5
WORDS = ["what", "is", "the", "color", "of", "a", "dog", "man", "riding", "wave", "video", "sound"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network, six pictures and two sounds."""
    made = tmp_path_factory.mktemp("sharing")
    tiny.write(made)
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(made / f"{number}.png")
    for number in range(2):
        with wave.open(str(made / f"{number}.wav"), "wb") as out:
            out.setparams((1, 2, 48_000, 0, "NONE", ""))
            out.writeframes(rng.integers(-3000, 3000, 48_000, dtype=np.int16).tobytes())
    return made


def load(folder: Path, **options: Any) -> Any:
    return anymal.load(anymal.Options(checkpoint=str(folder / "checkpoint"), **options))


def questions(folder: Path, candidates: tuple[str, ...] = (), beams: int = 1) -> list[Request]:
    rng = np.random.default_rng(1)
    media = [Media(kind="image", uri=str(folder / f"{number}.png")) for number in range(PICTURES)]
    media += [Media(kind="audio", uri=str(folder / f"{number}.wav")) for number in range(2)]
    made = []
    for place, medium in enumerate([*media, None]):
        for number in range(QUESTIONS):
            text = " ".join(rng.choice(WORDS, int(rng.integers(2, 14))))
            parts: tuple[str | Media, ...] = ("Look at this: ", medium, text) if medium else ("Look at nothing: ", text)
            made.append(
                Request(
                    id=f"{place}-{number}",
                    messages=(Message(role="user", parts=parts),),
                    candidates=candidates,
                    decoding=Decoding(max_new_tokens=6, beams=beams),
                )
            )
    return [made[place] for place in rng.permutation(len(made))]


def answers(
    model: Any, requests: Sequence[Request], size: int | None, clock: Clock | None = None
) -> dict[str, Response]:
    found: list[Response] = []
    run_requests(requests, model, found.extend, EngineSettings(batch_size=size), clock)
    assert len(found) == len(requests)
    return {item.id: item for item in found}


@pytest.mark.parametrize("beams", [1, 3])
def test_texts_are_those_of_single_requests(folder: Path, beams: int) -> None:
    requests = questions(folder, beams=beams)
    alone = answers(load(folder, share=False), requests, 1)
    assert len({item.answer for item in alone.values()}) > 10, "the questions must matter for this to mean something"
    for size in (1, 7, 16, None):
        assert answers(load(folder), requests, size) == alone


@pytest.mark.parametrize(
    "candidates", [("A", "B", "C"), ("a man riding a wave", "the dog", "a cat on the surfboard", "no")]
)
def test_scores_are_those_of_single_requests(folder: Path, candidates: tuple[str, ...]) -> None:
    requests = questions(folder, candidates)
    alone = answers(load(folder, share=False), requests, 1)
    for size in (7, None):
        shared = answers(load(folder), requests, size)
        for name, one in alone.items():
            assert one.option_scores is not None
            assert shared[name].option_scores == pytest.approx(one.option_scores, abs=1e-4)
            assert shared[name].option_tokens == one.option_tokens


def test_every_medium_is_opened_encoded_and_prefilled_once(folder: Path) -> None:
    requests = questions(folder)
    model = load(folder)
    clock = Clock()
    answers(model, requests, 15, clock)
    assert model.inputs.cached.made == model.tokens.cached.made == PICTURES + 2
    assert model.prefixes.prefilled == PICTURES + 2 + 1
    assert {"waiting", "encoding", "prefilling", "decoding", "writing"} <= set(clock.seconds)
    assert clock.seconds["decoding"] > 0
    apart = load(folder)
    answers(apart, requests, 2)  # each picture's five questions in three batches: its prefix stays
    assert apart.inputs.cached.made == apart.tokens.cached.made == PICTURES + 2
    assert apart.prefixes.prefilled < 2 * (PICTURES + 2) + len(requests) // 4


def test_many_options_on_a_clip_prefill_it_once(folder: Path) -> None:
    model = load(folder)
    answers(model, [item for item in questions(folder, ("yes it is", "no", "maybe so")) if item.media], None)
    assert model.prefixes.prefilled == PICTURES + 2


def test_a_retrained_projector_re_encodes_nothing(folder: Path, tmp_path: Path) -> None:
    requests, features = questions(folder), str(tmp_path / "features")
    cold = load(folder, features=features)
    first = answers(cold, requests, 15)
    assert cold._network.encoder_calls > 0
    warm = load(folder, features=features)
    assert answers(warm, requests, 15) == first
    assert warm._network.encoder_calls == 0
    shutil.copytree(folder / "backbones", tmp_path / "backbones")
    network = checkpoint.load(folder / "checkpoint", Loading())
    for parameter in network.projectors.parameters():
        parameter.data.mul_(1.5)
    network.config = checkpoint.load(folder / "checkpoint", Loading()).config
    checkpoint.save(network, tmp_path / "checkpoint")
    retrained = load(tmp_path, features=features)
    assert retrained.fingerprint != cold.fingerprint
    again = answers(retrained, requests, 15)
    assert retrained._network.encoder_calls == 0
    assert again != first
    assert again == answers(load(tmp_path), requests, 15)


def test_a_broken_picture_fails_its_own_questions_and_is_opened_once(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    broken = Media(kind="image", uri=str(folder / "broken.png"))
    prompts = [
        Request(id=str(number), messages=(Message(role="user", parts=(broken, f"{number}?")),)) for number in range(5)
    ]
    model = load(folder)
    found = answers(model, [*prompts, *questions(folder)], 16)
    assert [found[str(number)].failure is not None for number in range(5)] == [True] * 5
    assert sum(item.failure is not None for item in found.values()) == 5
    assert model.inputs.cached.made == PICTURES + 2 + 1
    with pytest.raises(MediaError):
        model.prepare(prompts[0])


@pytest.mark.parametrize("size", [8, None])
def test_out_of_memory_at_every_seventh_batch_changes_nothing(
    folder: Path, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = questions(folder)
    whole = answers(load(folder), requests, size)
    model = load(folder)
    given: list[str] = []
    calls = 0
    real = model.prefixes.batch

    def sometimes(items: Sequence[Any], tokens: Any) -> Any:
        nonlocal calls
        calls += 1
        if (calls % 7 == 0 or calls == 1) and len(items) > 1:
            raise OutOfMemory("injected")
        given.extend(item.request.id for item in items)
        return real(items, tokens)

    monkeypatch.setattr(model.prefixes, "batch", sometimes)
    assert answers(model, requests, size) == whole
    assert sorted(given) == sorted(item.id for item in requests)


def test_a_decoder_that_hangs_is_waited_for_once_and_the_run_ends(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hangs.mp4")
    clip = Media(kind="video", uri=str(tmp_path / "hangs.mp4"))
    stuck = [Request(id=f"h{at}", messages=(Message(role="user", parts=(clip, f"{at}?")),)) for at in range(QUESTIONS)]
    requests = questions(folder)
    whole = answers(load(folder), requests, 15)
    model = load(folder, media_timeout=1.0)
    found = answers(model, [*requests[:20], *stuck, *requests[20:]], 15)
    model.close()
    failures = {name: item.failure for name, item in found.items() if item.failure is not None}
    assert {name: failure.kind for name, failure in failures.items()} == {
        f"h{at}": "timeout" for at in range(QUESTIONS)
    }
    assert model.inputs.cached.made == PICTURES + 2 + 1
    assert {name: item for name, item in found.items() if name not in failures} == whole


def test_an_answer_ends_where_the_network_was_trained_to_end_it(folder: Path, tmp_path: Path) -> None:
    request = replace(questions(folder)[0], decoding=Decoding(max_new_tokens=12))

    def answered(where: Path) -> str:
        model = load(where)
        [response] = model.answer([model.prepare(request)])
        model.close()
        assert response.answer is not None
        return str(response.answer)

    whole = answered(folder)
    end = whole.strip()[len(whole.strip()) // 2]
    shutil.copytree(folder, tmp_path / "own")
    file = tmp_path / "own" / "checkpoint" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["network"]["llm"]["stop"] = [end]
    file.write_text(json.dumps(config), encoding="utf-8")
    assert answered(tmp_path / "own") == whole[: whole.index(end)]
