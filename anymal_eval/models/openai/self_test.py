"""Finds out what a server can do: each field is tried once, and counts where its effect is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anymal_eval.errors import RequestFailed
from anymal_eval.models.openai.dialects import ALL_FRAMES, FRAMES_READ, Abilities, Body, Dialect, begun
from anymal_eval.models.openai.ranking import Post, first_token_fields, first_token_scores, prompt_ids, tail_score

QUESTION, WORD = "Is this a test? Answer yes or no.", "yes"


async def abilities_of(post: Post, model: str, dialect: Dialect, clip: Mapping[str, Any] | None) -> Abilities:
    """Try the fields of a dialect; what fails, or has no effect, the server lacks.

    Args:
        post: sends a body, and returns the reply's JSON.
        model: its name on the server.
        dialect: whose fields; with ``openai`` none is tried.
        clip: a part of a message that holds a tiny clip; None where clips are not sent.
    """
    if dialect == "openai":
        return Abilities()
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 1}
    if dialect == "vllm":
        found = replace(
            await _ranking(post, body), beams=await _has_beams(post, body), first_token=await _lacks_first(post, body)
        )
    else:
        found = Abilities()
    if not found.begun_answers:
        found = replace(found, begun_answers=await _continues(post, body))
    found = replace(found, least_length=await _refuses(post, {**body, "max_tokens": 2, "min_tokens": 5}))
    if clip is not None:
        content = [clip, {"type": "text", "text": QUESTION}]
        about = {**body, "messages": [{"role": "user", "content": content}]}
        named = await _answers(post, {**about, "media_io_kwargs": ALL_FRAMES})
        clips = named or await _answers(post, about)
        found = replace(found, clips=clips, clip_fields=named, most_frames=None if named else FRAMES_READ)
    return found


async def _ranking(post: Post, body: Body) -> Abilities:
    """Whether the word that ends a prompt is found there, with its log-probability and by its id alone."""
    with_ids = {**body, "return_token_ids": True}
    try:
        prompt = prompt_ids(await post(with_ids))
        reply = await post({**begun(with_ids, WORD), "prompt_logprobs": 0})
        longer = prompt_ids(reply)
        longest = prompt_ids(await post(begun(with_ids, f"{WORD} {WORD}")))
        tail_score(reply, longer[len(prompt) :])
    except RequestFailed:
        return Abilities()
    # The word must follow the open prompt, and nothing may follow the word, such as the end of a message.
    if longer[: len(prompt) - 1] != prompt[:-1] or longest[: len(longer)] != longer or len(longer) <= len(prompt):
        return Abilities()
    ids = (longer[-1], prompt[0])
    try:
        first_token_scores(await post({**body, **first_token_fields(ids)}), ids)
    except RequestFailed:
        return Abilities(ranking=True, begun_answers=True)
    return Abilities(ranking=True, begun_answers=True, token_ids=True)


async def _lacks_first(post: Post, body: Body) -> bool:
    """Whether a first token that is requested comes before the prompt, and not a second time."""
    with_ids = {**body, "return_token_ids": True}
    try:
        plain = prompt_ids(await post(with_ids))
        special = prompt_ids(await post({**with_ids, "add_special_tokens": True}))
    except RequestFailed:
        return False
    return special[1:] == plain and special[0] != plain[0]


async def _continues(post: Post, body: Body) -> bool:
    """Whether a begun answer adds to the prompt no more than its own few tokens."""
    word = begun(body, WORD)
    closed = {name: value for name, value in word.items() if name != "continue_final_message"} | {
        "add_generation_prompt": True
    }
    try:
        plain, continued, other = [_prompt_tokens(await post(each)) for each in (body, word, closed)]
    except RequestFailed:
        return False
    return 0 < plain < continued < other


async def _has_beams(post: Post, body: Body) -> bool:
    try:
        reply = await post({**body, "use_beam_search": True, "n": 2, "max_tokens": 2})
    except RequestFailed:
        return False
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    texts = [str(choice) for choice in choices] if isinstance(choices, list) else []
    # Without beam search, two greedy answers are the same one.
    return len(set(texts)) == 2 and _text(choices, 0) != _text(choices, 1)


def _text(choices: Any, place: int) -> object:
    message = choices[place].get("message") if isinstance(choices[place], Mapping) else None
    return message.get("content") if isinstance(message, Mapping) else None


async def _refuses(post: Post, body: Body) -> bool:
    """Whether a server knows a field, by its refusal of a value that cannot be."""
    return not await _answers(post, body)


async def _answers(post: Post, body: Body) -> bool:
    try:
        await post(body)
    except RequestFailed:
        return False
    return True


def _prompt_tokens(reply: object) -> int:
    usage = reply.get("usage") if isinstance(reply, Mapping) else None
    count = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    return count if type(count) is int else 0
