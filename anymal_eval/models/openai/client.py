"""A client of chat servers: many requests in flight, retries with back-off, and the key in no message."""

import asyncio
import difflib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2

from anymal_eval.errors import (
    ContextTooLong,
    IncompleteRun,
    Refused,
    RequestFailed,
    ServerFailed,
    UnexpectedError,
    WrongUse,
)
from anymal_eval.generation.stop_strings import cut_at_stop
from anymal_eval.models._prepared import failed_response
from anymal_eval.models.openai.ranking import Post
from anymal_eval.models.openai.reading import read_completion
from anymal_eval.models.openai.retries import RetryBudget, wait_s
from anymal_eval.models.openai.retries import retry_after as _retry_after
from anymal_eval.models.openai.secret import Secret
from anymal_eval.models.openai.transport import Reply, Transport, TryAgain
from anymal_eval.records import Request, Response
from anymal_eval.visible import visible_line

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
NO_KEY = frozenset({401, 403})
REDIRECTS = range(300, 400)
TOP_TOKENS = (20, 5, 0)  # log-probabilities to request: OpenAI and vLLM give 20, TGI 5, others none
MESSAGE_LENGTH = 600  # characters of a failure's message
# Of a server's entry for a model, which goes into the manifest.
ENTRY_FIELDS, ENTRY_LENGTH, LARGEST = 32, 300, 1 << 62
NEAR_AMONG, LONGEST_NAME = 1_000, 200  # names that are compared with a mistyped one

T = TypeVar("T")
# Answers a request by sending bodies, such as one for each candidate.
Rank = Callable[[Post, Request, Mapping[str, Any]], Awaitable[Response]]
# Whether a server that may have died since a moment of ``time.monotonic`` was started again.
Recover = Callable[[float], Awaitable[bool]]

BAD_URL = "model openai: option url must look like http://HOST:PORT/v1"
SECRET_URL = "model openai: option url must hold no key or password: put it in the environment"  # noqa: S105  # none


@dataclass(frozen=True, kw_only=True)
class Server:
    """Address, key and patience. ``url`` is that of the API, with ``/v1`` if it has that."""

    url: str
    key: str = field(default="", repr=False)
    timeout_s: float = 60.0
    retries: int = 5
    retry_budget_s: float = 7200.0


class Client:
    """One connection to a server. Close it.

    Args:
        server: which.
        concurrency: requests in flight at once.
        recover: called after a failure that may pass; a request is then sent again without counting as a retry.
        path: of the API, where requests are sent.

    Raises:
        WrongUse: the address is no URL, or holds a secret, which would be written into the run folder.
    """

    def __init__(
        self, server: Server, *, concurrency: int, recover: Recover | None = None, path: str = "/chat/completions"
    ) -> None:
        host = _checked_host(server.url)
        self._server = server
        self.url = server.url
        self._url = server.url.rstrip("/")
        self._top = 0
        self._recover = recover
        self._path = path
        self._secret = Secret(server.key)
        self._slots = asyncio.Semaphore(concurrency)
        self.budget = RetryBudget(server.retry_budget_s, concurrency)
        self._transport = Transport(
            {"authorization": f"Bearer {server.key}"} if server.key else {},
            timeout_s=server.timeout_s,
            connections=concurrency,
            # A proxy from the environment must not stand between a machine and itself.
            trust_env=host not in ("localhost", "127.0.0.1", "::1"),
        )

    def listed(self, model: str, *, may_be_unlisted: bool = False) -> Mapping[str, Any]:
        """The entry of a model in the server's list; empty if it has no list.

        Raises:
            WrongUse: no server answers, it wants a key, it is not ready, or it lists other models only.
        """
        try:
            reply = self._transport.start(self._transport.send("GET", f"{self._url}/models")).result()
        except TryAgain as error:
            raise WrongUse(
                f"no server answers at {self._url} ({self._clean(error)}); start it, or give -o url=http://HOST:PORT/v1"
            ) from None
        except ServerFailed as error:
            raise WrongUse(f"{self._url}/models: {self._clean(error)}; give the address of a chat server") from None
        self._require_list(reply, may_be_unlisted)
        rows = _rows(reply) if reply.status == httpx2.codes.OK else []
        names = [str(row.get("id", "")) for row in rows]
        if model in names:
            return _scalars(rows[names.index(model)])
        if names and not may_be_unlisted:
            shown = [name for name in names[:NEAR_AMONG] if len(name) <= LONGEST_NAME]
            near = difflib.get_close_matches(model, shown, n=3) or shown[:3]
            meant = f"; did you mean {' or '.join(map(self._clean, near))}?" if near else ""
            raise WrongUse(
                f"the server at {self._url} does not list {model!r}{meant} (-o unlisted=true uses it all the same)"
            )
        return {}

    def described(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """An entry of ``listed`` for the manifest, without the key and at a limited length."""
        return {
            self._clean(name): self._clean(value)[:ENTRY_LENGTH] if isinstance(value, str) else value
            for name, value in list(entry.items())[:ENTRY_FIELDS]
            if not self._secret.is_in(str(value)) or isinstance(value, str)
        }

    def start(
        self, request: Request, body: Mapping[str, Any], rank: Rank | None = None, *, strip: bool = False
    ) -> Future[Response]:
        """Begin with a request; ``concurrency`` of them are sent at once. One that fails is a response too.

        Args:
            request: of which ``body`` is the form.
            body: what is sent.
            rank: answers the request by sending bodies of its own; without it, candidates are scored by the
                log-probabilities of the first token.
            strip: whether white space around an answer is dropped, as local wrappers do.
        """
        return self._transport.start(self._complete(request, body, rank, strip))

    def wait_for(self, work: Callable[[Post], Awaitable[T]]) -> T:
        """Run a coroutine function that sends bodies, and return what it does."""

        async def run() -> T:
            return await work(self._post)

        return self._transport.start(run()).result()

    def version(self) -> str:
        """What the server says of its version, beside its API; empty where it says nothing."""
        root = self._url.removesuffix("/v1")
        try:
            reply = self._transport.start(self._transport.send("GET", f"{root}/version")).result()
            data = json.loads(reply.content) if reply.status == httpx2.codes.OK else {}
        except (ServerFailed, ValueError, RecursionError):
            return ""
        version = data.get("version") if isinstance(data, Mapping) else None
        return self._clean(version)[:ENTRY_LENGTH] if isinstance(version, str) and version else ""

    def close(self) -> None:
        """Cancel what is in flight, and close all connections. May be called again."""
        self._transport.close()

    def _require_list(self, reply: Reply, may_be_unlisted: bool) -> None:
        if reply.status in NO_KEY:
            raise WrongUse(
                f"the server at {self._url} refuses the key ({reply.status}): "
                "put the right one into OPENAI_API_KEY, or name its variable with -o key_env=NAME"
            )
        if reply.status in REDIRECTS:
            raise WrongUse(
                f"the server at {self._url} redirects to another address ({reply.status}), and no redirect is "
                "followed: give the address that answers as -o url"
            )
        if reply.status in AGAIN and not may_be_unlisted:
            why = self._clean(_error(reply, with_logprobs=False))
            raise WrongUse(f"{self._url}/models: {why}; wait until it is ready, or give -o unlisted=true")

    async def _complete(self, request: Request, body: Mapping[str, Any], rank: Rank | None, strip: bool) -> Response:
        # A request that waits for its next try keeps its slot, so that an overloaded server gets fewer requests.
        async with self._slots:
            try:
                if rank is not None:
                    return await rank(self._post, request, body)
                response = read_completion(request, await self._post_with_logprobs(request, body))
                written = (response.answer or "") + (response.thinking or "")
                if self._secret.is_in_answer(written):
                    raise ServerFailed("the answer repeats the API key, which is written nowhere")
            except RequestFailed as error:
                return failed_response(request, type(error)(self._clean(error)))
            except IncompleteRun:
                raise
            except Exception as error:  # noqa: BLE001  # the engine would quote it with the key, which is taken out here
                what = f"reading the server's answer: {type(error).__name__}: {error}"
                return failed_response(request, UnexpectedError(self._clean(what)))
            if strip and response.answer is not None:
                # Beam search knows no stop strings.
                stop = request.decoding.stop if request.decoding.beams > 1 else ()
                response = replace(response, answer=cut_at_stop(response.answer, stop).strip())
            return response

    async def _post_with_logprobs(self, request: Request, body: Mapping[str, Any]) -> object:
        while request.candidates and TOP_TOKENS[self._top]:
            tried = self._top
            try:
                return await self._post({**body, "logprobs": True, "top_logprobs": TOP_TOKENS[tried]})
            except RefusesLogprobs:
                # Other requests in flight may have failed in the same way: one step for all of them.
                self._top = max(self._top, tried + 1)
        return await self._post(body)

    async def _post(self, body: Mapping[str, Any]) -> object:
        failures = 0
        while True:
            since = time.monotonic()
            try:
                return await self._once(body)
            except TryAgain as error:
                if self._recover is not None and await self._recover(since):
                    continue
                failures += 1
                if failures > self._server.retries:
                    raise ServerFailed(f"{error} (given up after {failures} tries)") from None
                wait = wait_s(failures, error.after_s)
                if not self.budget.take(since, wait):
                    raise ServerFailed(f"{error} (not repeated: {self.budget.spent})") from None
            await asyncio.sleep(wait)

    async def _once(self, body: Mapping[str, Any]) -> object:
        reply = await self._transport.send("POST", f"{self._url}{self._path}", body)
        if reply.status != httpx2.codes.OK:
            raise _error(reply, "logprobs" in body)
        try:
            return json.loads(reply.content)
        except (ValueError, RecursionError) as error:
            raise ServerFailed(f"the server's answer is no JSON: {error}") from None

    def _clean(self, error: object) -> str:
        """An error on one line, without the key: servers repeat what they were sent. Cut only when it is clean."""
        text = str(error)
        return visible_line(self._secret.clean(text))[:MESSAGE_LENGTH] or type(error).__name__


class RefusesLogprobs(ServerFailed):
    """The server does not give log-probabilities of so many tokens."""


def _checked_host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = httpx2.URL(url).host, parts.port
        (parts.hostname or "").encode("idna")  # else a label that no name server takes fails with each request
    except (ValueError, httpx2.InvalidURL):
        raise WrongUse(BAD_URL) from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise WrongUse(SECRET_URL)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise WrongUse(BAD_URL)
    return host


def _error(reply: Reply, with_logprobs: bool) -> RequestFailed:
    code, text = _code_and_text(reply)
    message = f"the server answered {reply.status} {reply.reason}: {text}"
    lower = f"{code} {text}".lower()
    if reply.status in AGAIN:
        return TryAgain(message, _retry_after(reply.retry_after))
    if reply.status in REDIRECTS:
        return ServerFailed(f"the server answered {reply.status}, and no redirect is followed: {text}")
    if with_logprobs and ("logprob" in lower or "top_n_tokens" in lower):
        return RefusesLogprobs(message)
    if "content_filter" in lower or "content_policy" in lower:
        return Refused(message)
    if "context_length" in lower or "context length" in lower:
        return ContextTooLong(message)
    return ServerFailed(message)


def _code_and_text(reply: Reply) -> tuple[str, str]:
    """The code and the text of an error, from the layouts of OpenAI, FastAPI and TGI, or the bare body."""
    try:
        data = json.loads(reply.content)
    except (ValueError, RecursionError):
        return "", reply.content.decode("utf-8", "replace")
    error = data.get("error", data) if isinstance(data, Mapping) else data
    if not isinstance(error, Mapping):
        return "", str(error)
    text = next((error[name] for name in ("message", "detail") if error.get(name)), error)
    return str(error.get("code", "")), str(text)


def _rows(reply: Reply) -> list[Mapping[str, Any]]:
    try:
        data = json.loads(reply.content)
    except (ValueError, RecursionError):
        return []
    rows = data.get("data") if isinstance(data, Mapping) else None
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _scalars(row: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a row, which JSON can hold again."""
    return {name: value for name, value in row.items() if value is None or isinstance(value, str) or _is_number(value)}


def _is_number(value: object) -> bool:
    # Python's JSON reads infinity, and integers beyond every float.
    return isinstance(value, int | float) and -LARGEST <= value <= LARGEST
