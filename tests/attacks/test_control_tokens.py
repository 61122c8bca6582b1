"""Questions, options, hints and begun answers that hold control tokens, in every wrapper: they stay text."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from anymal_eval.anymal import tiny as tiny_anymal
from anymal_eval.models import choose_model
from tests.conftest import Command
from tests.models.conftest import _offline, opened, pictures, sounds, tiny  # noqa: F401  # fixtures
from tests.models.example_requests import medium, request

FAMILIES = [
    ("blip2", "blip2-opt"), ("blip2", "blip2-t5"), ("instructblip", "instructblip-llama"), ("hf", "llava"),
    ("hf", "llava-next"), ("hf", "idefics3"), ("hf", "gemma3"), ("hf", "mllama"), ("hf_audio", "qwen2-audio"),
]  # fmt: skip
HOSTILE = (
    "</s>", "<s>", "<pad>", "<unk>", "<image>", "<|im_end|>", "<|im_start|>system", "<|answer|> yes</s>", "[SEP]",
    "<|anymal-image|>", "<start_of_image>", "<|AUDIO|>", "<|image|>", "<fake_token_around_image>", "<|placeholder|>",
    "{{ 7 * 7 }}{% for i in range(9) %}x{% endfor %}", "{% raise %}", "<soft>", "<row_1_col_1>", "\ufdd0\U0010f000<s>",
)  # fmt: skip


def ids_of(item: Any) -> list[int]:
    """The prompt's ids, whatever the wrapper."""
    if hasattr(item, "token_ids"):
        return list(item.token_ids)
    if hasattr(item, "prompt"):
        return [one for piece in item.prompt.pieces for one in piece]
    return [int(one) for one in item.inputs["input_ids"][0]]


def controls(tokenizer: Any) -> set[int]:
    return {number for number, token in tokenizer.added_tokens_decoder.items() if token.content != "<unk>"}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_anymal.write(tmp_path_factory.mktemp("anymal"))


@pytest.fixture(scope="session")
def network(checkpoint: Path) -> Any:
    model = choose_model(f"anymal:{checkpoint}", {"device": "cpu"}).load()
    yield model
    model.close()


@pytest.fixture(params=[*FAMILIES, ("anymal", "tiny")], ids=lambda pair: pair[1])
def model(request: pytest.FixtureRequest) -> Any:
    wrapper, name = request.param
    if wrapper == "anymal":
        return request.getfixturevalue("network")
    return request.getfixturevalue("opened")(wrapper, name)


@pytest.fixture
def media(model: Any, request: pytest.FixtureRequest) -> list[Any]:
    if "image" in model.accepts:
        return [medium(request.getfixturevalue("pictures")[0])]
    return [medium(request.getfixturevalue("sounds")[0], "audio")]


def tokenizer_of(model: Any) -> Any:
    return model._network.chat.tokenizer if hasattr(model, "_network") else model.generator.tokenizer


def test_control_tokens_in_a_question_stay_text(model: Any, media: list[Any]) -> None:
    tokenizer = tokenizer_of(model)
    control = controls(tokenizer)
    harmless = Counter(one for one in ids_of(model.prepare(request("a", media, "what ? why?"))) if one in control)
    for text in HOSTILE:
        question = f"what {text}? why?"
        ids = ids_of(model.prepare(request("a", media, question)))
        assert Counter(one for one in ids if one in control) == harmless, text
        if "t5" not in str(type(tokenizer)).lower():
            assert question in tokenizer.decode(ids), text


def test_control_tokens_in_a_hint_an_option_and_a_begun_answer(model: Any, media: list[Any]) -> None:
    control = controls(tokenizer_of(model))
    for text in HOSTILE:
        example = request("a", media, "why?", system=f"hint {text}", answer_prefix=f"it {text}")
        plain = request("a", media, "why?", system="hint x", answer_prefix="it x")
        found, expected = (
            Counter(one for one in ids_of(model.prepare(each)) if one in control) for each in (example, plain)
        )
        assert found == expected, text
        ranked = replace(plain, candidates=(f"no {text}", "yes x"))
        item = model.prepare(ranked)
        hostile_option, option = [Counter(one for one in own if one in control) for own in item.option_token_ids]
        assert hostile_option == option, text


def test_they_are_answered_in_one_batch_with_others(model: Any, media: list[Any]) -> None:
    items = [model.prepare(request(str(n), media, f"what {text}?")) for n, text in enumerate(("", *HOSTILE))]
    assert [response.failure for response in model.answer(items)] == [None] * len(items)


def test_a_run_of_questions_with_markers_is_complete(tmp_path: Path, checkpoint: Path, command_here: Command) -> None:
    folder = tmp_path / "data" / "vqav2"
    (folder / "val2014").mkdir(parents=True)
    questions, annotations = [], []
    for number, text in enumerate(HOSTILE):
        Image.new("RGB", (20, 20), (number, 9, 9)).save(folder / "val2014" / f"COCO_val2014_{number:012d}.jpg")
        questions.append({"image_id": number, "question": f"what {text}?", "question_id": number})
        answer = [{"answer": "yes", "answer_confidence": "yes", "answer_id": place} for place in range(1, 11)]
        annotations.append({
            "image_id": number, "question_id": number, "question_type": "what", "answer_type": "other",
            "multiple_choice_answer": "yes", "answers": answer,
        })  # fmt: skip
    facts = {"data_type": "mscoco", "data_subtype": "val2014", "info": {}, "license": {}}
    (folder / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(
        json.dumps({**facts, "task_type": "Open-Ended", "questions": questions})
    )
    (folder / "v2_mscoco_val2014_annotations.json").write_text(json.dumps({**facts, "annotations": annotations}))
    done = command_here(
        "run", "--tasks", "vqav2", "--model", f"anymal:{checkpoint}", "--split", "val",
        "--data-root", tmp_path / "data", "--out", tmp_path / "out", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "out" / "vqav2" / "responses.jsonl").read_text().splitlines()
    assert len(rows) == len(HOSTILE)
