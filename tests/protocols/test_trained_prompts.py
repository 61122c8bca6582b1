"""A prompt of evaluation can be trained: a row of training with the same texts has the same token ids, per protocol."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from anymal_eval import catalog, protocols
from anymal_eval.anymal import tiny
from anymal_eval.anymal.conversation import Chat, Prompt
from anymal_eval.anymal.tokenized_conversation import tokenize_conversation
from anymal_eval.models import PLAIN_WORDING
from anymal_eval.models.anymal.network_model import turns_of
from anymal_eval.protocols import Protocol, Wording
from anymal_eval.protocols.prompting import build_request
from anymal_eval.records import Example, Media, MediaOrder, Message, Request
from anymal_eval.task import Task
from anymal_eval.training.sources import open_data
from tests.protocols.conftest import SHAPES

# As in tokenizer_config.json of meta-llama/Llama-2-7b-chat-hf, without its check that the roles alternate.
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}"
    "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
TEMPLATES = {"llama 2": LLAMA_2, "tiny": None}
ORDERS: tuple[MediaOrder, ...] = ("media-first", "instruction-first", "system-first")


@pytest.fixture(scope="module", params=TEMPLATES)
def chat(request: pytest.FixtureRequest) -> Chat:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = TEMPLATES[request.param] or tokenizer.chat_template
    return Chat(tokenizer, style="template", media=["image", "audio", "video", "imu"])


def row_of(request: Request, response: str, *, tags: bool) -> dict[str, object]:
    """A row of ``instructions:`` with the texts of a request, and tags where its media are."""
    row: dict[str, object] = {"id": request.id, "response": response}
    for message in request.messages:
        key = {"system": "system", "user": "instruction"}[message.role]
        text = "".join(_texts(message, tags=tags))
        row |= {key: text} if text or key == "instruction" else {}
    for media in request.media:
        row[media.kind] = Path(media.uri).name
    return row


def _texts(message: Message, *, tags: bool) -> Iterator[str]:
    for part in message.parts:
        if isinstance(part, str):
            yield part
        elif tags:
            yield f"<{part.kind}>"


def trained(chat: Chat, rows: Sequence[dict[str, object]], folder: Path, order: MediaOrder) -> list[Prompt]:
    table = folder / "rows.jsonl"
    table.write_text("".join(json.dumps({**row, "id": number}) + "\n" for number, row in enumerate(rows)))
    data = open_data(f"instructions:{table}", order=order)
    ends = [chat.tokenizer.eos_token_id]
    return [tokenize_conversation(chat, sample.turns, ends).prompt for sample in data.samples or ()]


def evaluated(chat: Chat, request: Request) -> list[tuple[Prompt, tuple[int, ...]]]:
    """The prompt, and the ids of each candidate after it; none of them where text is generated."""
    turns = turns_of(request)
    if not request.candidates:
        return [(chat.prompt(turns, request.answer_prefix), ())]
    prompt, ids = chat.options(turns, request.candidates, request.answer_prefix)
    return [(prompt, tuple(own)) for own in ids]


def require_equal(chat: Chat, request: Request, folder: Path, *, tags: bool, order: MediaOrder = "media-first") -> None:
    rows = [row_of(request, answer, tags=tags) for answer in request.candidates or ("a cat",)]
    for row, (prompt, answer) in zip(trained(chat, rows, folder, order), evaluated(chat, request), strict=True):
        assert row.media == prompt.media
        assert row.pieces[:-1] == prompt.pieces[:-1]
        assert row.pieces[-1][: len(prompt.pieces[-1])] == prompt.pieces[-1]
        rest = row.pieces[-1][len(prompt.pieces[-1]) :]
        if answer:
            assert rest[: len(answer)] == answer
            assert chat.tokenizer.decode(rest[len(answer) :]).strip() == chat.tokenizer.eos_token
        else:
            assert chat.tokenizer.decode(rest).split(chat.tokenizer.eos_token)[0].strip() == "a cat"


def requests_of(
    protocol: Protocol, wording: Wording, folder: Path, made: tuple[Callable[[str], Task], Callable[[str], Example]]
) -> Iterator[Request]:
    task, example = made
    for name in SHAPES:
        if not protocol.tasks or name in protocol.tasks:
            kind = SHAPES[name][1]
            (folder / f"1.{kind}").touch()
            media = (Media(kind=kind, uri=str(folder / f"1.{kind}")),)
            yield build_request(dataclasses.replace(example(name), media=media), task(name), wording, protocol)


@pytest.mark.parametrize("name", catalog.protocols().names())
def test_a_prompt_of_evaluation_can_be_trained(
    name: str, chat: Chat, tmp_path: Path, task: Callable[[str], Task], example: Callable[[str], Example]
) -> None:
    found = list(requests_of(protocols.get(name), PLAIN_WORDING, tmp_path, (task, example)))
    assert found
    for request in found:
        # Media before all else need no tag: LLaVA's tag would take the line break of a text after it.
        leading = len(request.messages) == 1 and isinstance(request.messages[0].parts[0], Media)
        require_equal(chat, request, tmp_path, tags=not leading)


@pytest.mark.parametrize("order", ORDERS)
def test_the_plain_protocol_has_the_order_of_the_network(
    order: MediaOrder, chat: Chat, tmp_path: Path, task: Callable[[str], Task], example: Callable[[str], Example]
) -> None:
    """Rows without tags, as the network's order places their media; also where the protocol names the order."""
    plain = protocols.get("plain")
    own = {kind: dataclasses.replace(phrase, order=order) for kind, phrase in PLAIN_WORDING.items()}
    named = dataclasses.replace(plain, order=order)
    seen = set()
    for wording, protocol in ((own, plain), (PLAIN_WORDING, named)):
        for request in requests_of(protocol, wording, tmp_path, (task, example)):
            require_equal(chat, request, tmp_path, tags=False, order=order)
            first = request.messages[0]
            seen.add((first.role, isinstance(first.parts[0], Media), isinstance(first.parts[-1], Media)))
    assert (
        seen
        == {
            "media-first": {("user", True, False)},
            "instruction-first": {("user", False, True)},
            "system-first": {("system", True, True)},
        }[order]
    )
