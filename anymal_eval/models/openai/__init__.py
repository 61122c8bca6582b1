"""Any OpenAI-compatible chat server (vLLM, SGLang, TGI, transformers serve): ``-o url=http://HOST:PORT/v1``."""

from __future__ import annotations

import json
import os
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from anymal_eval import fingerprint
from anymal_eval.errors import RequestFailed, WrongUse
from anymal_eval.models._prepared import failed_response, media_key, media_reader
from anymal_eval.models._protocols import PLAIN_WORDING, Model, Prepared
from anymal_eval.protocols import Phrase, Wording
from anymal_eval.protocols.prompting import YES_NO_TRUE_FALSE
from anymal_eval.records import Decoding, MediaKind, Request, Response

if TYPE_CHECKING:
    from anymal_eval.models.openai.client import Client
    from anymal_eval.models.openai.content import Content

KEY = "OPENAI_API_KEY"
# Requests given to ``answer`` at once, for each one in flight: the wait for the slowest comes once in so many rounds.
ROUNDS = 4
RANKED_BY_ONE_TOKEN = frozenset(string.ascii_uppercase) | frozenset(YES_NO_TRUE_FALSE)

# A chat server gives no log-likelihood of a text: choices are asked for in words, and read from them.
WORDING: Wording = {
    **PLAIN_WORDING,
    "choice": Phrase(
        user="Context: {hint}\n{question}\n{options}\n{instruction}\nAnswer with the option's letter alone.",
        extract="letter",
        decoding=Decoding(max_new_tokens=16),
    ),
    "yes_no": replace(
        PLAIN_WORDING["yes_no"],
        user="It says: {ocr}\n{question}\n{instruction}\nAnswer with yes or no alone.",
        length_normalise=False,
        decoding=Decoding(max_new_tokens=8),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What ``-o name=value`` may set.

    Attributes:
        checkpoint: the model's name on the server (``--model openai:NAME``).
        url: where the server's API begins.
        key_env: the environment variable that holds the key; by default OPENAI_API_KEY, where it is set.
        concurrency: requests in flight at once.
        timeout: seconds that one try may take, from the first byte sent to the last one read.
        retries: further tries after a 429, a 5xx, a time-out or a cut connection.
        media: what the model takes: image, audio, video (as pictures), with commas.
        max_image_side: larger pictures are scaled down to it; 0 sends them as they are.
        sample_rate: of the sounds sent, in Hz.
        media_timeout: seconds after which a decoder is given up.
        tokens_field: what the server calls the most tokens that it may write.
        unlisted: ask for the model although the server does not list it.
    """

    checkpoint: str
    url: str = "http://127.0.0.1:8000/v1"
    key_env: str = ""
    concurrency: int = 16
    timeout: float = 60.0
    retries: int = 5
    media: str = "image"
    max_image_side: int = 0
    sample_rate: int = 16_000
    media_timeout: float = 60.0
    tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    unlisted: bool = False


def accepts(options: Options) -> frozenset[MediaKind]:
    """What ``-o media=`` says; a server cannot be asked.

    Raises:
        WrongUse: it names a medium that no chat server takes.
    """
    named = [name.strip() for name in options.media.split(",") if name.strip()]
    possible = [kind for kind in get_args(MediaKind) if kind != "imu"]
    for name in named:
        if name not in possible:
            raise WrongUse(f"model openai: option media names {name!r}; chat servers take {', '.join(possible)}")
    return frozenset(kind for kind in possible if kind in named)


def load(options: Options) -> Model:
    """Ask the server which models it has.

    Raises:
        WrongUse: no server is there, it wants a key, or it does not list this model.
    """
    from anymal_eval.models.openai.client import Client, Server
    from anymal_eval.models.openai.content import Content

    for name, least in (("concurrency", 1), ("timeout", 0.001), ("retries", 0), ("sample_rate", 1)):
        if not least <= getattr(options, name) < float("inf"):
            raise WrongUse(f"model openai: option {name} must be at least {least}, not {getattr(options, name)}")
    client = Client(
        Server(url=options.url, key=_key(options), timeout_s=options.timeout, retries=options.retries),
        concurrency=options.concurrency,
    )
    listed = client.listed(options.checkpoint, may_be_unlisted=options.unlisted)
    content = Content(
        media_reader(options.media_timeout), max_side=options.max_image_side, sample_rate=options.sample_rate
    )
    return _OpenAI(options, client, content, listed)


def _key(options: Options) -> str:
    # Never part of a message: whoever mistakes the key's name for the key must not read it in a log.
    if options.key_env and not options.key_env.isidentifier():
        raise WrongUse("model openai: option key_env must be the name of an environment variable, not the key itself")
    key = os.environ.get(options.key_env or KEY, "").strip()
    if options.key_env and not key:
        raise WrongUse(f"model openai: option key_env names {options.key_env}, which is not set in the environment")
    if not (key.isascii() and key.isprintable()):
        raise WrongUse(f"model openai: what is in {options.key_env or KEY} is no key: it holds unprintable characters")
    return key


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A request as the server will get it, its media encoded."""

    request: Request
    body: Mapping[str, Any]
    prefix_key: str | None
    media_key: str | None
    nbytes: int
    prefix_tokens: int = 0
    suffix_tokens: int = 0


class _OpenAI:
    """``fingerprint`` holds what the server says of the model, not where it is: it may come back on another port."""

    def __init__(self, options: Options, client: Client, content: Content, listed: Mapping[str, Any]) -> None:
        self._options = options
        self._client = client
        self._content = content
        self.accepts = accepts(options)
        self.wording: Wording = WORDING
        self.batch_hint = ROUNDS * options.concurrency
        self.provenance: Mapping[str, Any] = {"url": options.url, "models": dict(listed)}
        name = fingerprint.of(
            [options.checkpoint, _lasting(listed), sorted(self.accepts), options.max_image_side, options.sample_rate]
        )
        self.fingerprint = f"openai:{name}"

    def prepare(self, request: Request) -> _Ready:
        """Encode the media and lay the request out as the API wants it.

        Raises:
            WrongUse: no chat server can be asked like that.
            MediaError: a medium cannot be read.
        """
        self.refuse(request)
        messages = [self._content.message(message, request.frames) for message in request.messages]
        body: dict[str, Any] = {
            "model": self._options.checkpoint,
            "messages": messages,
            "temperature": 0,
            self._options.tokens_field: request.decoding.max_new_tokens,
        }
        if request.decoding.stop:
            body["stop"] = list(request.decoding.stop)
        keys = "|".join(media_key(part, request.frames) for part in request.media) or None
        return _Ready(request=request, body=body, prefix_key=keys, media_key=keys, nbytes=len(json.dumps(messages)))

    def refuse(self, request: Request) -> None:
        """Say at once what a chat server can never do.

        Raises:
            WrongUse: ranking whole texts, beam search, a least length, an answer that is begun for the model, or a
                medium that it was not said to take.
        """
        how = request.decoding
        unsaid = sorted({part.kind for part in request.media} - self.accepts)
        if unsaid:
            raise WrongUse(f"model openai was not said to take {unsaid[0]}: give -o media={unsaid[0]} if it does")
        if not set(request.candidates) <= RANKED_BY_ONE_TOKEN:
            raise WrongUse(
                f"a chat server cannot rank whole texts by likelihood, and {request.id} asks for that "
                f"({request.candidates[0]!r} ...): choose a protocol that asks for letters, or the model's own words "
                "with --protocol plain"
            )
        if request.candidates:
            return
        if how.beams > 1:
            raise WrongUse(f"a chat server has no beam search, and the protocol wants {how.beams} beams")
        if how.min_new_tokens > 1:
            raise WrongUse(
                f"a chat server promises no least length, and the protocol wants {how.min_new_tokens} tokens"
            )
        if request.answer_prefix:
            raise WrongUse(
                f"a chat server's answer cannot be begun for it, and the protocol wants {request.answer_prefix!r}"
            )

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Answer a batch, ``concurrency`` requests at once; a request that the server will not answer fails alone."""
        items = [item for item in batch if isinstance(item, _Ready)]
        found = self._client.ask_all([(item.request, item.body) for item in items])
        return [
            failed_response(item.request, one) if isinstance(one, RequestFailed) else one
            for item, one in zip(items, found, strict=True)
        ]

    def close(self) -> None:
        """Close the connections and end the decoder processes."""
        self._client.close()
        self._content.close()


def _lasting(listed: Mapping[str, Any]) -> dict[str, Any]:
    # Servers put the time of their start and random permissions beside what the model is.
    return {key: listed[key] for key in ("id", "root", "parent", "max_model_len", "owned_by") if key in listed}
