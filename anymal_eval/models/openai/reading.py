"""Reads a chat completion: an answer, option scores from the first token, or a failure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from anymal_eval.errors import Refused, ServerFailed
from anymal_eval.generation.thinking import split
from anymal_eval.records import Finish, Request, Response

# Words of servers and gateways for the end of an answer, in lower case: the model's own end, the limit of tokens, a
# filter, and an end that leaves a part of an answer. With any other word, or none, a text is the answer.
STOPPED = frozenset(
    {"stop", "eos", "eos_token", "stop_sequence", "end_turn", "stop_token", "end", "complete", "completed"}
)
CUT = frozenset({"length", "max_tokens", "max_output_tokens", "max_length", "model_length", "token_limit"})
FILTERED = frozenset(
    {"content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content", "spii", "refusal",
     "guardrail_intervened"}
)  # fmt: skip
BROKEN = frozenset(
    {"abort", "aborted", "error", "cancelled", "canceled", "timeout", "network_error", "insufficient_system_resource",
     "incomplete", "failed"}
)  # fmt: skip
# Kinds of the parts of a content that are no part of the answer.
THINKING = frozenset({"thinking", "reasoning", "reasoning_content", "redacted_thinking"})
MOST_TOKENS = 1 << 40
LEAST = -1e6  # no log p is below it; this and 1 also leave out NaN and infinity


def read_completion(request: Request, data: object) -> Response:
    """Read the server's reply with status 200.

    Candidates are scored by the log-probabilities of the first token, if the server gave them; else the text is the
    answer.

    Raises:
        ServerFailed: it holds no whole answer.
        Refused: the model, or a content filter, declined.
    """
    choice = _first_choice(data)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise ServerFailed("the server's answer has no message")
    if message.get("refusal"):
        raise Refused(f"the model refused: {_line(message['refusal'])}")
    finish = _word(choice.get("finish_reason"))
    if finish in FILTERED:
        raise Refused(f"a content filter cut the answer off (finish_reason {choice['finish_reason']!r})")
    prompt_tokens, new_tokens = _count(data, "prompt_tokens"), _count(data, "completion_tokens")
    thinking = _thinking(message)
    text = _text(message.get("content"))
    # The first token of a model that thinks is no candidate, likely as some candidate may be in its place.
    scores = None if thinking or split(text or "") is not None else candidate_scores(request.candidates, choice)
    if scores is not None:
        return Response(id=request.id, option_scores=scores, finish="ranked", prompt_tokens=prompt_tokens)
    if text is None and thinking and finish in CUT:
        text = ""
    if text is None:
        raise ServerFailed(f"the server's answer has no text (finish_reason {choice.get('finish_reason')!r})")
    return Response(
        id=request.id,
        answer=text,
        finish=_finish(finish, text or thinking or "", choice.get("finish_reason")),
        thinking=thinking,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
    )


def candidate_scores(candidates: Sequence[str], choice: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Log p of each candidate as the first token, summed over its spellings (`` Yes``, ``yes``).

    A candidate that is not among the likeliest tokens gets the log-probability of the least likely of these, an upper
    bound of its own. None if the server gave none, or no candidate is among them.

    >>> top = [{"token": " Yes", "logprob": -0.5}, {"token": "No", "logprob": -1.5}, {"token": "It", "logprob": -4}]
    >>> candidate_scores(("no", "yes"), {"logprobs": {"content": [{"top_logprobs": top}]}})
    (-1.5, -0.5)
    """
    found = _likeliest(choice)
    if not candidates or not found:
        return None
    least = min(log_p for _, log_p in found)
    scores = []
    for candidate in candidates:
        # Letters are compared as they are: "a" is a word.
        exact = len(candidate) == 1
        own = [p for token, p in found if (token if exact else token.lower()) == candidate]
        scores.append(math.log(sum(map(math.exp, own))) if own and max(own) > -700.0 else None)
    if all(score is None for score in scores):
        return None
    return tuple(least if score is None else score for score in scores)


def _likeliest(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    first = content[0] if isinstance(content, list) and content else None
    top = first.get("top_logprobs") if isinstance(first, Mapping) else None
    rows = [row for row in top if isinstance(row, Mapping)] if isinstance(top, list) else []
    return [
        (str(row.get("token", "")).strip(), float(row["logprob"]))
        for row in rows
        if isinstance(row.get("logprob"), int | float) and LEAST < row["logprob"] < 1
    ]


def _first_choice(data: object) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ServerFailed(f"the server answered with a JSON {type(data).__name__}, not an object")
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        why = f": {_line(data['error'])}" if data.get("error") else ""
        raise ServerFailed(f"the server's answer has no choices{why}")
    return choices[0]


def _word(reason: object) -> str:
    """The word of a finish_reason; empty where it is none, such as null."""
    return reason.strip().lower() if isinstance(reason, str) else ""


def _text(content: object) -> str | None:
    """The text of a message: a string, or the texts of a list of parts joined; None where it has none."""
    if isinstance(content, Mapping):
        content = [content]
    if isinstance(content, list):
        texts = [text for text in map(_part, content) if text is not None]
        content = "".join(texts) if texts else None
    # JSON can hold half of a surrogate pair, which UTF-8 cannot.
    return content.encode("utf-8", "replace").decode("utf-8") if isinstance(content, str) else None


def _thinking(message: Mapping[str, Any]) -> str | None:
    """The model's thinking, which servers with a parser for it give apart from the content."""
    found = (_text(message.get(name)) for name in ("reasoning_content", "reasoning"))
    return next((text for text in found if text), None)


def _part(part: object) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or _word(part.get("type")) in THINKING:
        return None
    if part.get("refusal"):
        raise Refused(f"the model refused: {_line(part['refusal'])}")
    text = part.get("text")
    if isinstance(text, Mapping):
        text = text.get("value")
    return text if isinstance(text, str) else None


def _finish(word: str, text: str, reason: object) -> Finish | None:
    if word in CUT:
        if not text.strip():
            raise ServerFailed(f"the server cut the answer off before its first word (finish_reason {reason!r})")
        return "length"
    if word in STOPPED:
        return "stop"
    if text.strip() and word not in BROKEN:
        return None
    raise ServerFailed(f"the server did not finish the answer (finish_reason {reason!r})")


def _count(data: object, name: str) -> int | None:
    usage = data.get("usage") if isinstance(data, Mapping) else None
    count = usage.get(name) if isinstance(usage, Mapping) else None
    return count if type(count) is int and 0 <= count < MOST_TOKENS else None


def _line(message: object) -> str:
    # Not cut here: the caller removes the key first, which a cut could leave in part.
    text = message.get("message", message) if isinstance(message, Mapping) else message
    return " ".join(str(text).split())
