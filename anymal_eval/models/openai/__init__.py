"""Any OpenAI-compatible chat server (vLLM, SGLang, TGI, transformers serve): ``-o url=http://HOST:PORT/v1``."""

from __future__ import annotations

import json
import os
import re
import string
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from anymal_eval import fingerprint
from anymal_eval.errors import WrongUse
from anymal_eval.generation.thinking import BUDGET
from anymal_eval.models._prepared import PreparedRequest, media_key
from anymal_eval.models._protocols import PLAIN_WORDING, Model, Prepared
from anymal_eval.models.openai.dialects import Abilities, Dialect, begun, fields, refuse
from anymal_eval.models.openai.options import ClientOptions
from anymal_eval.models.openai.secret import Secret
from anymal_eval.protocols import Phrase, Wording
from anymal_eval.protocols.prompting import YES_NO_TRUE_FALSE
from anymal_eval.records import Decoding, MediaKind, Request, Response

if TYPE_CHECKING:
    from anymal_eval.models.openai.connection import Connection
    from anymal_eval.models.openai.ranking import Ranker

KEY = "OPENAI_API_KEY"
# Requests of one ``answer`` for each one in flight: the wait for the slowest request comes once in so many rounds.
ROUNDS = 4
LEAST = {"concurrency": 1, "timeout": 0.001, "retries": 0, "retry_budget": 0, "sample_rate": 1}
PLAIN_NAME = re.compile(r"[A-Z]{1,16}(_[A-Z]{1,16})*")  # of a variable; anything else may be the key itself
RANKED_BY_ONE_TOKEN = frozenset(string.ascii_uppercase) | frozenset(YES_NO_TRUE_FALSE)

# A chat server gives no log-likelihood of a text: the model writes its choice, which is read from the text.
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
class Options(ClientOptions):
    """What ``-o name=value`` may set.

    Attributes:
        checkpoint: the model's name on the server (``--model openai:NAME``).
        url: of the server's API, with ``/v1``.
        key_env: the environment variable with the key; by default OPENAI_API_KEY, if it is set.
        media: the media that the model takes, with commas: image, audio, video (as images).
        dialect: whose further fields the server understands: openai (none), vllm or sglang.
        tokens_field: the server's name for the limit of new tokens.
        unlisted: use the model although the server does not list it.
    """

    checkpoint: str
    url: str = "http://127.0.0.1:8000/v1"
    key_env: str = ""
    media: str = "image"
    dialect: Dialect = "openai"
    tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    unlisted: bool = False


def accepts(options: Options) -> frozenset[MediaKind]:
    """The media of ``-o media=``: a server does not list them.

    Raises:
        WrongUse: it names a medium that no chat server takes.
    """
    return media_kinds("openai", options.media)


def media_kinds(name: str, given: str) -> frozenset[MediaKind]:
    """The media that an option names, with commas; ``name`` is the model's, for messages.

    Raises:
        WrongUse: it names a medium that no chat server takes.
    """
    named = [each.strip() for each in given.split(",") if each.strip()]
    possible = [kind for kind in get_args(MediaKind) if kind != "imu"]
    for each in named:
        if each not in possible:
            # Only a medium is quoted: any other word may be a key in the wrong place.
            what = repr(each) if each in get_args(MediaKind) else "what is no medium"
            raise WrongUse(f"model {name}: option media names {what}; chat servers take {', '.join(possible)}")
    return frozenset(kind for kind in possible if kind in named)


def load(options: Options) -> Model:
    """Connect to the server and look for the model in its list.

    Raises:
        WrongUse: no server answers, it wants a key, or it does not list this model.
    """
    from anymal_eval.models.openai.connection import Address, connect

    require_numbers("openai", options)
    kinds = accepts(options)
    connection = connect(options, kinds, Address(options.url, _key(options), options.checkpoint, options.unlisted),
                         options.dialect)  # fmt: skip
    return OpenAIModel(options, kinds, connection)


def require_numbers(name: str, options: ClientOptions) -> None:
    """Refuse limits below the least; ``name`` is the model's, for the message.

    Raises:
        WrongUse: names the option.
    """
    for option, least in LEAST.items():
        if not least <= getattr(options, option) < float("inf"):
            raise WrongUse(f"model {name}: option {option} must be at least {least}, not {getattr(options, option)}")


def _key(options: Options) -> str:
    # Messages never quote the option: a user may have given the key instead of its name, and messages end up in logs.
    if options.key_env and not options.key_env.isidentifier():
        raise WrongUse("model openai: option key_env must be the name of an environment variable, not the key itself")
    key = os.environ.get(options.key_env or KEY, "").strip()
    if options.key_env and not key:
        named = options.key_env if PLAIN_NAME.fullmatch(options.key_env) else "a variable"
        raise WrongUse(f"model openai: option key_env names {named}, which is not set in the environment")
    if not (key.isascii() and key.isprintable()):
        raise WrongUse("model openai: what is in the variable of the key is no key: it holds unprintable characters")
    secret = Secret(key)
    for name in ("checkpoint", "url", "key_env", "media"):
        if secret.is_option(str(getattr(options, name))):
            raise WrongUse(
                f"model openai: option {name} holds the key itself, which would be written into the run folder; "
                "leave it in the environment alone"
            )
    return key


@dataclass(frozen=True, kw_only=True)
class PreparedBody(PreparedRequest):
    """A request with the body that is sent, its media encoded."""

    body: Mapping[str, Any]


class OpenAIModel:
    """A model on a chat server.

    Its ``fingerprint`` holds the server's description of the model and not its address, so that a run can be resumed
    on another port.
    """

    def __init__(self, options: ClientOptions, kinds: frozenset[MediaKind], connection: Connection) -> None:
        self._connection = connection
        self._client, self._content = connection.client, connection.content
        self._dialect, self._abilities = connection.dialect, connection.abilities
        self._tokens_field = options.tokens_field if isinstance(options, Options) else "max_tokens"
        self._ranker = _ranker(connection.abilities)
        self.accepts = kinds
        self._whole_clips = options.video == "native" and "video" in kinds
        self.wording: Wording = PLAIN_WORDING if connection.abilities.ranking else WORDING
        self.skills = frozenset({"sampling", "thinking"})
        self.batch_hint = ROUNDS * options.concurrency
        self.in_flight = options.concurrency
        listed = connection.listed
        self.provenance: Mapping[str, Any] = {
            "url": self._client.url,
            "models": self._client.described(listed),
            **_further(connection),
        }
        of_model = [
            connection.name,
            _lasting_fields(listed),
            sorted(self.accepts),
            options.max_image_side,
            options.sample_rate,
        ]
        if connection.dialect != "openai":
            of_model.append([connection.dialect, options.video])
        self.fingerprint = f"openai:{fingerprint.of(of_model)}"

    def prepare(self, request: Request) -> PreparedBody:
        """Encode the media and write the request in the form of the API.

        Raises:
            WrongUse: a request that no chat server can answer.
            MediaError: a medium cannot be read.
        """
        self.refuse(request)
        if request.decoding.thinking == "on" and request.decoding.thinking_tokens is None:
            request = replace(request, decoding=replace(request.decoding, thinking_tokens=BUDGET))
        messages = [self._content.message(message, request.frames) for message in request.messages]
        body: dict[str, Any] = {
            "model": self._connection.name,
            "messages": messages,
            "temperature": request.decoding.temperature or 0,
            self._tokens_field: request.decoding.most_new_tokens,
            **_settings(request),
            **fields(request, self._dialect, self._abilities, whole_clips=self._whole_clips),
        }
        if request.decoding.stop:
            body["stop"] = list(request.decoding.stop)
        keys = "|".join(media_key(part, request.frames) for part in request.media) or None
        return PreparedBody(
            request=request, body=body, prefix_key=keys, media_key=keys, nbytes=len(json.dumps(messages))
        )

    def refuse(self, request: Request) -> None:
        """Refuse a request that no chat server can answer.

        Raises:
            WrongUse: ranking of whole texts, beam search, a least length, a prefix of the answer, or a medium that is
                not in ``-o media=``.
        """
        other = sorted({part.kind for part in request.media} - self.accepts)
        if other:
            raise WrongUse(f"model openai is not set up for {other[0]}: give -o media={other[0]} if the model takes it")
        if not set(request.candidates) <= RANKED_BY_ONE_TOKEN and self._ranker is None:
            raise WrongUse(
                f"a chat server cannot rank whole texts by likelihood, and {request.id} needs that "
                f"({request.candidates[0]!r} ...): choose a protocol whose options are letters, or the model's own "
                "prompts with --protocol plain"
            )
        refuse(request, self._abilities)

    @property
    def retry_summary(self) -> str:
        """A line about the requests that were repeated, and the budget for it; empty where there were none."""
        return self._client.budget.summary

    def submit(self, item: Prepared) -> Future[Response]:
        """Begin with a request; one that fails at the server is a response with a failure."""
        if not isinstance(item, PreparedBody):
            raise TypeError(f"{item.request.id} was prepared by another model")
        if item.request.candidates and self._ranker is not None:
            return self._client.start(item.request, item.body, self._ranker.rank)
        body = begun(item.body, item.request.answer_prefix) if self._abilities.begun_answers else item.body
        return self._client.start(item.request, body, strip=self._dialect != "openai")

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Answer a batch, ``concurrency`` requests at once; a request that fails at the server fails alone."""
        started = [self.submit(item) for item in batch]
        try:
            return [future.result() for future in started]
        finally:
            for future in started:
                future.cancel()

    def close(self) -> None:
        """Cancel what is in flight, close the connections and stop the decoder processes."""
        self._connection.close()


def _ranker(abilities: Abilities) -> Ranker | None:
    from anymal_eval.models.openai.ranking import Ranker

    return Ranker(abilities) if abilities.ranking else None


def _further(connection: Connection) -> dict[str, Any]:
    """What the manifest holds of a server that has more than the chat API."""
    if connection.dialect == "openai":
        return {}
    return {
        "dialect": connection.dialect,
        "abilities": connection.abilities.described(),
        "version": connection.version,
    }


def _settings(request: Request) -> dict[str, Any]:
    """Fields of the body that are sent only where they were set, as not every server knows them."""
    decoding, found = request.decoding, dict[str, Any]()
    if decoding.temperature > 0:
        found |= {"top_p": decoding.top_p, "seed": decoding.seed}
    if decoding.thinking != "auto":  # the variable of the chat template, as vLLM and SGLang take it
        thinks = decoding.thinking == "on" and not request.candidates
        found["chat_template_kwargs"] = {"enable_thinking": thinks}
    return found


def _lasting_fields(listed: Mapping[str, Any]) -> dict[str, Any]:
    # Servers also list the time of their start and random permission ids, which say nothing about the model.
    return {key: listed[key] for key in ("id", "root", "parent", "max_model_len", "owned_by") if key in listed}
