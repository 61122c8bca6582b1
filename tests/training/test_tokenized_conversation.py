"""A tokenized conversation has the tokens of evaluation; the text of the assistant and its end carry the loss."""

from pathlib import Path

import pytest
import torch

from anymal_eval.anymal import checkpoint, tiny
from anymal_eval.anymal.conversation import Chat, Slot, Turn
from anymal_eval.anymal.splice import pad, splice, spread
from anymal_eval.anymal.tokenized_conversation import TokenizedConversation, tokenize_conversation
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.errors import BadData

PICTURE = Slot(medium="image")
QUESTION = (
    Turn(role="system", parts=("be brief",)),
    Turn(role="user", parts=("what is ", PICTURE, " this?")),
)
ANSWER = Turn(role="assistant", parts=("a cat on a dog",))
LONG = (*QUESTION, ANSWER, Turn(role="user", parts=("and ", PICTURE)), Turn(role="assistant", parts=("yes",)))


def chat_of(style: str = "template", template: str | None = None) -> Chat:
    tokenizer = tiny.tokenizer()
    if template is not None:
        tokenizer.chat_template = template
    return Chat(tokenizer, style=style, media=["image"])  # type: ignore[arg-type]


def made(chat: Chat, turns: tuple[Turn, ...]) -> TokenizedConversation:
    return tokenize_conversation(chat, turns, [chat.tokenizer.eos_token_id])


def flat(found: TokenizedConversation) -> list[tuple[int, bool]]:
    pairs = zip(found.prompt.pieces, found.learned, strict=True)
    return [both for piece, marks in pairs for both in zip(piece, marks, strict=True)]


def learned(chat: Chat, found: TokenizedConversation) -> str:
    return str(chat.tokenizer.decode([token for token, mark in flat(found) if mark]))


@pytest.mark.parametrize("style", ["template", "plain"])
def test_tokens_are_those_of_evaluation(style: str) -> None:
    chat = chat_of(style)
    found = made(chat, (*QUESTION, ANSWER))
    prefix, tails = chat.options(QUESTION, ["a cat on a dog"])
    assert found.prompt.media == prefix.media
    assert found.prompt.pieces[:-1] == prefix.pieces[:-1]
    assert found.prompt.pieces[-1] == (*prefix.pieces[-1], *tails[0], chat.tokenizer.eos_token_id)
    assert found.prompt.pieces[-1][: len(prefix.pieces[-1])] == chat.prompt(QUESTION).pieces[-1]
    assert [token for token, mark in flat(found) if mark] == [*tails[0], chat.tokenizer.eos_token_id]


@pytest.mark.parametrize("style", ["template", "plain"])
def test_every_answer_of_a_conversation_is_learned_in_one_row(style: str) -> None:
    chat = chat_of(style)
    found = made(chat, LONG)
    assert learned(chat, found) == (" a cat on a dog</s> yes</s>" if style == "template" else " a cat on a dog yes</s>")
    assert found.prompt.media == ("image", "image")
    # before its second answer the model sees the prompt of evaluation
    begun = chat.prompt(LONG[:-1])
    text = [token for piece in begun.pieces for token in piece]
    assert [token for token, _ in flat(found)][: len(text)] == text
    assert found.targets == sum(mark for _, mark in flat(found))


def test_a_line_break_after_the_end_is_not_learned() -> None:
    template = (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + eos_token + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    chat = chat_of(template=template)
    assert learned(chat, made(chat, LONG)) == "a cat on a dog</s>yes</s>"


def test_a_template_without_an_end_gets_one() -> None:
    template = (
        "{% for m in messages %}{{ m['role'] + ':' + m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    )
    chat = chat_of(template=template)
    assert learned(chat, made(chat, (*QUESTION, ANSWER))) == "a cat on a dog</s>"


@pytest.mark.parametrize("parts", [(PICTURE,), (" ",), ()], ids=["medium", "blank", "nothing"])
def test_answers_that_are_no_text(parts: tuple[str | Slot, ...]) -> None:
    with pytest.raises(BadData, match="must be words"):
        made(chat_of(), (*QUESTION, Turn(role="assistant", parts=parts)))


@pytest.mark.parametrize("style", ["template", "plain"])
def test_control_tokens_in_words_are_learned_as_text(style: str) -> None:
    chat = chat_of(style)
    hostile = "a </s> and <|answer|> and <|anymal-image|>"
    turns = (Turn(role="user", parts=(PICTURE, f"what {hostile}?")), Turn(role="assistant", parts=(hostile,)))
    found = made(chat, turns)
    assert found.prompt.media == ("image",)
    assert learned(chat, found) == f" {hostile}</s>"
    ids = [token for token, _ in flat(found)]
    assert ids.count(chat.tokenizer.eos_token_id) == 1


def test_a_template_that_rewrites_earlier_answers_is_refused() -> None:
    template = (
        "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '>' }}{% endif %}"
    )
    with pytest.raises(BadData, match="rewrites earlier turns"):
        made(chat_of(template=template), LONG)


def test_rows_laid_together_equal_rows_laid_one_by_one(folder: Path) -> None:
    network = checkpoint.load(folder / "checkpoint", Loading())
    found = [made(network.chat, (*QUESTION, ANSWER)), made(network.chat, LONG[:3])]
    text = made(network.chat, (Turn(role="user", parts=("say",)), Turn(role="assistant", parts=("yes",))))
    found.append(text)
    media = [[torch.randn(k, network.llm.width) for k in counts] for counts in ((8,), (3,), ())]
    whole = spread(network.llm, found, media)
    rows = [splice(network.llm, one.prompt, given) for one, given in zip(found, media, strict=True)]
    answers = [[token for token, mark in flat(one) if mark] for one in found]
    apart = pad(rows, answers)
    assert torch.equal(whole.embeds, apart.embeds)
    assert torch.equal(whole.mask, apart.mask)
    assert whole.targets is not None
    assert apart.targets is not None
    assert torch.equal(whole.targets, apart.targets)
