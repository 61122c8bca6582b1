"""What servers understand beyond the chat API: the fields of vLLM and SGLang, and which of them a server has.

vLLM's are in its documentation of the OpenAI-compatible server ("Extra parameters"), SGLang's in its "OpenAI APIs" and
"Sampling Parameters". A field that a server does not know it drops in silence, so each is tried when the model is
loaded (``self_test``), and an ability is had only where its effect was seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from anymal_eval.errors import WrongUse
from anymal_eval.generation import join_with_space
from anymal_eval.records import Request

Dialect = Literal["openai", "vllm", "sglang"]
Body = Mapping[str, Any]
# vLLM's setting by which it reads every frame that is sent, and how many it reads without.
ALL_FRAMES: Mapping[str, Any] = {"video": {"num_frames": -1}}
FRAMES_READ = 32


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What a server can do beyond the chat API.

    Attributes:
        ranking: log-probabilities of a prompt's tokens, and their ids, so that whole texts are ranked.
        token_ids: log-probabilities of the first token for ids that the request names.
        begun_answers: the last message is the start of the answer.
        least_length: a least number of tokens.
        beams: beam search.
        clips: a clip as one part of a message; None where it was not tried.
        clip_fields: a request may say that all frames of its clips are read. vLLM 0.32 refuses that unless it was
            started with ``--trust-request-mm-kwargs``.
        most_frames: of a clip; None for any number.
        first_token: the tokenizer has a first token that the chat template does not write. It is then requested, as
            processors of transformers add it; vLLM would leave it out.
    """

    ranking: bool = False
    token_ids: bool = False
    begun_answers: bool = False
    least_length: bool = False
    beams: bool = False
    clips: bool | None = None
    clip_fields: bool | None = None
    most_frames: int | None = None
    first_token: bool | None = None

    def described(self) -> dict[str, bool | int | None]:
        """For the manifest."""
        return asdict(self)

    @property
    def lacking(self) -> str:
        """The names of what was not found, with commas; empty where nothing lacks."""
        return ", ".join(
            name.replace("_", " ")
            for name, found in asdict(self).items()
            if found is False and name not in ("first_token", "clip_fields")
        )


def refuse(request: Request, abilities: Abilities) -> None:
    """Refuse what the server cannot do.

    Raises:
        WrongUse: beam search, a least length, a prefix of the answer or a clip's frames that it does not have.
    """
    decoding = request.decoding
    most = abilities.most_frames
    if abilities.clips and most is not None and request.frames > most and _has_clip(request):
        raise WrongUse(
            f"the server reads the first {most} frames of a clip, and the protocol wants {request.frames}: "
            f"start it with --media-io-kwargs '{json.dumps(ALL_FRAMES)}', or leave out -o video=native"
        )
    if request.candidates:
        return
    if decoding.beams > 1 and not abilities.beams:
        raise WrongUse(f"a chat server has no beam search, and the protocol wants {decoding.beams} beams")
    if decoding.min_new_tokens > 1 and not abilities.least_length:
        raise WrongUse(f"a chat server has no least length, and the protocol wants {decoding.min_new_tokens} tokens")
    if request.answer_prefix and not abilities.begun_answers:
        raise WrongUse(
            f"a chat server cannot continue an answer, and the protocol wants the prefix {request.answer_prefix!r}"
        )


def fields(request: Request, dialect: Dialect, abilities: Abilities, *, whole_clips: bool = False) -> dict[str, Any]:
    """The fields of a request that the chat API does not have; none for ``openai``.

    Args:
        request: without its messages and limits.
        dialect: whose fields.
        abilities: of the server.
        whole_clips: whether a clip is one part of a message.
    """
    if dialect == "openai":
        return {}
    decoding = request.decoding
    # A checkpoint's own penalty changes greedy answers; no local wrapper uses it either.
    found: dict[str, Any] = {"repetition_penalty": 1.0}
    if abilities.first_token:
        found["add_special_tokens"] = True
    if whole_clips and abilities.clip_fields and _has_clip(request):
        found["media_io_kwargs"] = ALL_FRAMES
    if decoding.min_new_tokens > 0:
        found["min_tokens"] = decoding.min_new_tokens
    if decoding.beams > 1:
        found |= {"use_beam_search": True, "n": decoding.beams, "length_penalty": decoding.length_penalty}
    return found


def begun(body: Body, answer: str) -> dict[str, Any]:
    """The body of a request whose answer starts with a text; unchanged where that is empty."""
    if not answer:
        return dict(body)
    messages = [*body["messages"], {"role": "assistant", "content": answer}]
    return {**body, "messages": messages, "add_generation_prompt": False, "continue_final_message": True}


def begun_with(body: Body, request: Request, candidate: str) -> dict[str, Any]:
    """The body of a request whose answer is the request's prefix and one candidate, as local wrappers join them."""
    return begun(body, join_with_space(request.answer_prefix, candidate))


def _has_clip(request: Request) -> bool:
    return any(part.kind == "video" for part in request.media)
