"""What ``show`` prints after the chat template: every token id once, special ones and media marked and counted."""

import re
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.evaluation.load import load_model
from anymal_eval.evaluation.plan import make_plan
from anymal_eval.evaluation.prompts import sent_lines
from anymal_eval.evaluation.report_content import ReportOptions, read_report
from anymal_eval.evaluation.requests import build_requests
from anymal_eval.evaluation.resolve import resolve
from anymal_eval.evaluation.run import run
from anymal_eval.models import Showing
from anymal_eval.models._shown import shown_prompt
from anymal_eval.report.gallery.details import detail
from anymal_eval.store.responses import read_responses
from anymal_eval.store.shown_prompts import read_prompts
from tests.conftest import ROOT

TOKENIZER = ROOT / "anymal_eval" / "demo" / "model" / "llm"


def test_the_text_is_that_of_the_template_with_special_tokens_marked() -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(TOKENIZER)
    conversation = [{"role": "user", "content": "What color is the shape?"}]
    template: dict[str, Any] = {"conversation": conversation, "add_generation_prompt": True}
    ids = tokenizer.apply_chat_template(**template, tokenize=True, return_dict=False)
    shown = shown_prompt(tokenizer, ids)
    marked = re.findall("‹([^›]*)›", shown.text)
    assert re.sub("[‹›]", "", shown.text) == tokenizer.apply_chat_template(**template, tokenize=False)
    assert (shown.tokens, shown.special) == (len(ids), len(marked))
    assert [shown.text[start:end] for start, end in zip(shown.marks[::2], shown.marks[1::2], strict=True)] == [
        f"‹{token}›" for token in marked
    ]
    assert set(marked) == {token for token in tokenizer.convert_ids_to_tokens(ids) if token.startswith("<")}
    again = shown_prompt(tokenizer, [*ids[:1] * 3, *ids], [(1, "image", 5)])
    start = tokenizer.convert_ids_to_tokens(ids[0])
    assert again.text.startswith(f"‹{start}›‹image: 5 tokens›‹{start}›x3")
    assert (again.tokens, again.special) == (len(ids) + 8, len(marked) + 8)


def test_a_prompt_has_as_many_tokens_as_its_response_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path))
    plan = make_plan("hateful_memes", model=None, demo_examples=4)
    resolved = resolve(plan, SilentConsole())
    model = load_model(resolved)
    try:
        (dataset,) = resolved.datasets
        request = build_requests(dataset, model.wording, resolved.protocol, "none").requests[0]
        item = model.prepare(request)
        (response,) = model.answer([item])
        assert isinstance(model, Showing)
        assert model.shown(item).tokens == response.prompt_tokens
        first, *text = sent_lines(model, request)
        assert first.startswith(f"sent         {response.prompt_tokens} tokens, ")
        assert str(request.messages[-1].parts[-1]).strip() in "\n".join(text)
    finally:
        model.close()


def test_a_run_keeps_them_for_the_gallery_and_a_second_session_adds_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path))
    plan = make_plan("hateful_memes", demo_examples=6, out=tmp_path / "run")
    finished = run(plan, SilentConsole())
    file = tmp_path / "run" / "hateful_memes" / "prompts.jsonl"
    kept = read_prompts(file)
    responses = read_responses(file.with_name("responses.jsonl"))
    assert {name: item.tokens for name, item in kept.items()} == {
        name: item.prompt_tokens for name, item in responses.items()
    }
    first, *others = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first)
    file.with_name("responses.jsonl").write_bytes(b"")
    run(plan, SilentConsole())
    again = file.read_bytes().splitlines(keepends=True)
    assert (again[0], sorted(again)) == (first, sorted((first, *others)))
    assert read_responses(file.with_name("responses.jsonl")).keys() == kept.keys()
    options = ReportOptions(
        runs=(finished.root,), against=(), data_root=tmp_path, examples=9, tasks_dir=(), accepted=tmp_path
    )
    (page,) = read_report(options).pages
    details = [detail(page, example, {}) for example in page.examples]
    assert ["".join(piece for piece, _ in each["sent"][0]["parts"]) for each in details] == [
        kept[example.id].text for example in page.examples
    ]
    file.write_bytes(b"{damaged\n")
    assert read_report(options).pages[0].sides[0].sent == {}
