"""A client of chat servers: many requests in flight, retries with back-off, and the key in no message."""

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from anymal_eval.errors import ContextTooLong, Refused, RequestFailed, ServerFailed, WrongUse
from anymal_eval.models.openai.reading import read_completion
from anymal_eval.records import Request, Response

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
NO_KEY = frozenset({401, 403})
# Full jitter: between 0 and 0.5, 1, 2 ... 30 s, so that requests are not repeated all at once.
BACK_OFF = wait_random_exponential(multiplier=0.5, max=30.0)
LONGEST_WAIT_S = 300.0  # whatever a server's Retry-After wants
TOP_TOKENS = (20, 5, 0)  # log-probabilities to request: OpenAI and vLLM give 20, TGI 5, others none
MESSAGE_LENGTH = 300  # characters of a server's error message, before twice as many with our own words
LEAST_KEY = 8  # a shorter "key" is a placeholder such as EMPTY, which must not be cut out of messages


@dataclass(frozen=True, kw_only=True)
class Server:
    """Address, key and patience. ``url`` is that of the API, with ``/v1`` if it has that."""

    url: str
    key: str = field(default="", repr=False)
    timeout_s: float = 60.0
    retries: int = 5


class TryAgain(ServerFailed):
    """A failure that may pass; ``after_s`` is the server's Retry-After."""

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class Client:
    """Used by one thread at a time.

    Raises:
        WrongUse: the address is no URL, or holds a secret, which would be written into the run folder.
    """

    def __init__(self, server: Server, *, concurrency: int) -> None:
        parts = urlsplit(server.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WrongUse("model openai: option url must look like http://HOST:PORT/v1")
        if parts.username or parts.password or parts.query:
            raise WrongUse("model openai: option url must hold no key or password: put it in the environment")
        self._server = server
        self._url = server.url.rstrip("/")
        self._top = 0
        self._concurrency = concurrency
        self._headers = {"authorization": f"Bearer {server.key}"} if server.key else {}
        # A proxy from the environment must not stand between a machine and itself.
        self._proxied = parts.hostname not in ("localhost", "127.0.0.1", "::1")
        self._runner = asyncio.Runner()
        self._http = httpx2.AsyncClient(
            headers=self._headers,
            timeout=server.timeout_s,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=concurrency),
            trust_env=self._proxied,
        )

    def listed(self, model: str, *, may_be_unlisted: bool = False) -> Mapping[str, Any]:
        """The entry of a model in the server's list; empty if it has no list.

        Raises:
            WrongUse: no server answers, it wants a key, or it lists other models only.
        """
        try:
            reply = httpx2.get(
                f"{self._url}/models",
                headers=self._headers,
                timeout=self._server.timeout_s,
                trust_env=self._proxied,
            )
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise WrongUse(
                f"no server answers at {self._url} ({self._clean(error)}); start it, or give -o url=http://HOST:PORT/v1"
            ) from None
        if reply.status_code in NO_KEY:
            raise WrongUse(
                f"the server at {self._url} refuses the key ({reply.status_code}): "
                "put the right one into OPENAI_API_KEY, or name its variable with -o key_env=NAME"
            )
        rows = _rows(reply) if reply.status_code == httpx2.codes.OK else []
        names = [str(row.get("id", "")) for row in rows]
        if model in names:
            return rows[names.index(model)]
        if names and not may_be_unlisted:
            near = difflib.get_close_matches(model, names, n=3) or names[:3]
            raise WrongUse(
                f"the server at {self._url} does not list {model!r}; did you mean {' or '.join(near)}? "
                "(-o unlisted=true uses it all the same)"
            )
        return {}

    def complete(self, requests: Sequence[tuple[Request, Mapping[str, Any]]]) -> list[Response | RequestFailed]:
        """Send requests, ``concurrency`` at once; responses or failures in the order of the requests."""
        try:
            return self._runner.run(self._complete_all(requests))
        except KeyboardInterrupt:
            # A signal's handler raises it from inside the loop and leaves the tasks pending: closing the client under
            # them would turn each into an error of its own.
            self._runner.run(_cancel_pending())
            raise

    def close(self) -> None:
        """Close all connections. May be called again."""
        if not self._http.is_closed:
            self._runner.run(self._http.aclose())
            self._runner.close()

    async def _complete_all(
        self, requests: Sequence[tuple[Request, Mapping[str, Any]]]
    ) -> list[Response | RequestFailed]:
        slots = asyncio.Semaphore(self._concurrency)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._complete(request, body, slots)) for request, body in requests]
        return [task.result() for task in tasks]

    async def _complete(
        self, request: Request, body: Mapping[str, Any], slots: asyncio.Semaphore
    ) -> Response | RequestFailed:
        # A request that waits for its next try keeps its slot, so that an overloaded server gets fewer requests.
        async with slots:
            try:
                return read_completion(request, await self._post_with_logprobs(request, body))
            except RequestFailed as error:
                return type(error)(self._clean(error))

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
        tries = AsyncRetrying(
            retry=retry_if_exception_type(TryAgain),
            stop=stop_after_attempt(self._server.retries + 1),
            wait=_wait,
            reraise=True,
        )
        try:
            return await tries(self._once, body)
        except TryAgain as error:
            raise ServerFailed(f"{error} (given up after {self._server.retries + 1} tries)") from None

    async def _once(self, body: Mapping[str, Any]) -> object:
        try:
            # The client's own time-outs restart with each byte, which a server may send one by one.
            async with asyncio.timeout(self._server.timeout_s):
                reply = await self._http.post(f"{self._url}/chat/completions", json=body)
        except (TimeoutError, httpx2.TimeoutException):
            raise TryAgain(f"the server did not answer within {self._server.timeout_s:g} s") from None
        except httpx2.RequestError as error:
            raise TryAgain(f"the connection failed: {type(error).__name__}: {error}") from None
        if reply.status_code != httpx2.codes.OK:
            raise _error(reply, "logprobs" in body)
        try:
            return reply.json()
        except (ValueError, RecursionError) as error:
            raise ServerFailed(f"the server's answer is no JSON: {error}") from None

    def _clean(self, error: object) -> str:
        """An error on one line, without the key: servers repeat what they were sent."""
        text = " ".join(str(error).split()) or type(error).__name__
        key = self._server.key
        return (text.replace(key, "***") if len(key) >= LEAST_KEY else text)[: 2 * MESSAGE_LENGTH]


class RefusesLogprobs(ServerFailed):
    """The server does not give log-probabilities of so many tokens."""


def _error(reply: httpx2.Response, with_logprobs: bool) -> RequestFailed:
    code, text = _code_and_text(reply)
    message = f"the server answered {reply.status_code} {reply.reason_phrase}: {text}"
    lower = f"{code} {text}".lower()
    if reply.status_code in AGAIN:
        return TryAgain(message, _retry_after(reply.headers.get("retry-after", "")))
    if with_logprobs and ("logprob" in lower or "top_n_tokens" in lower):
        return RefusesLogprobs(message)
    if "content_filter" in lower or "content_policy" in lower:
        return Refused(message)
    if "context_length" in lower or "context length" in lower:
        return ContextTooLong(message)
    return ServerFailed(message)


def _code_and_text(reply: httpx2.Response) -> tuple[str, str]:
    """The code and the text of an error, from the layouts of OpenAI, FastAPI and TGI, or the bare body."""
    try:
        data = reply.json()
    except (ValueError, RecursionError):
        return "", reply.text
    error = data.get("error", data) if isinstance(data, Mapping) else data
    if not isinstance(error, Mapping):
        return "", str(error)
    text = next((error[name] for name in ("message", "detail") if error.get(name)), error)
    return str(error.get("code", "")), str(text)


def _rows(reply: httpx2.Response) -> list[Mapping[str, Any]]:
    try:
        data = reply.json()
    except (ValueError, RecursionError):
        return []
    rows = data.get("data") if isinstance(data, Mapping) else None
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    after = error.after_s if isinstance(error, TryAgain) else 0.0
    return min(after, LONGEST_WAIT_S) + BACK_OFF(state)


def _retry_after(header: str) -> float:
    """Seconds to wait, from a number or a date; 0 if it is neither."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        then = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (then.astimezone(UTC) - datetime.now(UTC)).total_seconds())


async def _cancel_pending() -> None:
    pending = asyncio.all_tasks() - {asyncio.current_task()}
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
