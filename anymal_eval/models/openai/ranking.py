"""Ranks whole options on a server that returns the log-probabilities of a prompt's tokens.

An option is the last message of a conversation, which the server continues: its tokens are then the end of a prompt.
Which they are follows from the ids of the prompts with and without it, by the rule of the local wrappers. Where each
option of a closed set (letters, yes and no) is one token after the prompt, later requests name these ids, and one
request for the first token gives all scores.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anymal_eval.errors import ServerFailed
from anymal_eval.generation import option_token_ids
from anymal_eval.models.openai.dialects import Abilities, Body, begun, begun_with
from anymal_eval.records import Request, Response

Post = Callable[[Body], Awaitable[object]]

MOST_SETS = 256  # sets of options whose ids are kept
ENDING = 4  # ids at a prompt's end that must be the same where the ids of its options are taken from another request
LEAST, MOST = -1e6, 1.0  # of a log-probability; leaves out NaN and infinity too


@dataclass(frozen=True)
class SingleTokens:
    """The options of a closed set, each one token, after prompts that end with these ids."""

    ids: tuple[int, ...]
    ending: tuple[int, ...]


class Ranker:
    """Ranks the candidates of requests. Used in one event loop."""

    def __init__(self, abilities: Abilities) -> None:
        """``abilities``: with ``ranking``."""
        self._single: dict[Hashable, SingleTokens] = {}
        self._by_ids = abilities.token_ids

    async def rank(self, post: Post, request: Request, body: Body) -> Response:
        """Score every candidate of a request.

        Args:
            post: sends a body, and returns the reply's JSON.
            request: with candidates.
            body: of it, without them.

        Raises:
            ServerFailed: a reply does not hold the log-probabilities.
        """
        # Options are ranked without thinking, as by models in this process.
        without = {"chat_template_kwargs": {"enable_thinking": False}}
        base = {**begun(body, request.answer_prefix), **without, "max_tokens": 1, "return_token_ids": True}
        for name in ("min_tokens", "stop"):
            base.pop(name, None)
        key = (request.candidates, request.answer_prefix, tuple(message.role for message in request.messages))
        known = self._single.get(key)
        if known is not None:
            data = await post({**base, **first_token_fields(known.ids)})
            prompt = prompt_ids(data)
            if tuple(prompt[-ENDING:]) == known.ending:
                scores = first_token_scores(data, known.ids)
                return _ranked(request, scores, (1,) * len(scores), len(prompt))
        else:
            prompt = prompt_ids(await post(base))
        replies = []
        for candidate in request.candidates:
            option = begun_with(body, request, candidate)
            replies.append(await post({**base, **option, "max_tokens": 1, "prompt_logprobs": 0}))
        kept, tails = option_token_ids(prompt, [prompt_ids(reply) for reply in replies])
        if known is None and self._by_ids and kept == len(prompt) and all(len(tail) == 1 for tail in tails):
            if len(self._single) >= MOST_SETS:
                self._single.clear()
            self._single[key] = SingleTokens(tuple(tail[0] for tail in tails), tuple(prompt[-ENDING:]))
        scores = [tail_score(reply, tail) for reply, tail in zip(replies, tails, strict=True)]
        return _ranked(request, scores, tuple(map(len, tails)), len(prompt))


def first_token_fields(ids: Sequence[int]) -> dict[str, Any]:
    """The fields that request the log-probabilities of ids as the first token."""
    return {"logprobs": True, "logprob_token_ids": list(ids), "return_tokens_as_token_ids": True}


def first_token_scores(data: object, ids: Sequence[int]) -> list[float]:
    """Log p of each id as the first token.

    Raises:
        ServerFailed: one lacks.
    """
    logprobs = first_choice(data).get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    first = content[0] if isinstance(content, list) and content and isinstance(content[0], Mapping) else {}
    listed = first.get("top_logprobs")
    rows = [first, *(listed if isinstance(listed, list) else ())]
    found = {row.get("token"): row.get("logprob") for row in rows if isinstance(row, Mapping)}
    return [log_probability(found.get(f"token_id:{one}")) for one in ids]


def tail_score(data: object, tail: Sequence[int]) -> float:
    """Log p of the last ids of a prompt, summed.

    Raises:
        ServerFailed: the reply has none, or those of other tokens.
    """
    rows = data.get("prompt_logprobs") if isinstance(data, Mapping) else None
    if not isinstance(rows, list) or len(rows) < len(tail):
        raise ServerFailed("the server's answer has no log-probabilities of the prompt")
    total = 0.0
    for one, row in zip(tail, rows[len(rows) - len(tail) :], strict=True):
        entry = row.get(str(one)) if isinstance(row, Mapping) else None
        total += log_probability(entry.get("logprob") if isinstance(entry, Mapping) else None)
    return total


def prompt_ids(data: object) -> list[int]:
    """The ids of the prompt.

    Raises:
        ServerFailed: the reply has none.
    """
    ids = data.get("prompt_token_ids") if isinstance(data, Mapping) else None
    if not isinstance(ids, list) or not ids or not all(type(one) is int for one in ids):
        raise ServerFailed("the server's answer has no token ids of the prompt")
    return ids


def log_probability(value: object) -> float:
    """A log-probability of a reply. Raises ServerFailed: it is none."""
    if not isinstance(value, int | float) or not LEAST < value < MOST:
        raise ServerFailed("the server's answer lacks the log-probability of an option")
    return float(value)


def first_choice(data: object) -> Mapping[str, Any]:
    """The first choice of a reply. Raises ServerFailed: it has none."""
    choices = data.get("choices") if isinstance(data, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, Mapping):
        raise ServerFailed("the server's answer has no choices")
    return first


def _ranked(request: Request, scores: Sequence[float], tokens: tuple[int, ...], length: int) -> Response:
    return Response(
        id=request.id, option_scores=tuple(scores), option_tokens=tokens, finish="ranked", prompt_tokens=length
    )
