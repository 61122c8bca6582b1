"""Reads a chat completion: an answer, option scores from the first token, or a failure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from anymal_eval.errors import Refused, ServerFailed
from anymal_eval.records import Finish, Request, Response

# Servers' names for an end that the model chose; TGI has its own.
STOPPED = ("stop", "eos", "eos_token", "stop_sequence")
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
    finish = choice.get("finish_reason")
    if message.get("refusal"):
        raise Refused(f"the model refused: {_line(message['refusal'])}")
    if finish == "content_filter":
        raise Refused("the server's content filter cut the answer off")
    prompt_tokens, new_tokens = _count(data, "prompt_tokens"), _count(data, "completion_tokens")
    scores = candidate_scores(request.candidates, choice)
    if scores is not None:
        return Response(id=request.id, option_scores=scores, finish="ranked", prompt_tokens=prompt_tokens)
    text = message.get("content")
    if not isinstance(text, str):
        raise ServerFailed(f"the server's answer has no text (finish_reason {finish!r})")
    # JSON can hold half of a surrogate pair, which UTF-8 cannot.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return Response(
        id=request.id,
        answer=text,
        finish=_finish(finish, text),
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


def _finish(reason: object, text: str) -> Finish | None:
    if reason == "length":
        if not text.strip():
            raise ServerFailed("the server cut the answer off before its first word (finish_reason 'length')")
        return "length"
    if reason in STOPPED:
        return "stop"
    if reason is None and text.strip():
        return None
    raise ServerFailed(f"the server did not finish the answer (finish_reason {reason!r})")


def _count(data: object, name: str) -> int | None:
    usage = data.get("usage") if isinstance(data, Mapping) else None
    count = usage.get(name) if isinstance(usage, Mapping) else None
    return count if type(count) is int else None


def _line(message: object) -> str:
    text = message.get("message", message) if isinstance(message, Mapping) else message
    return " ".join(str(text).split())[:300]
