"""Connects to a chat server: looks for the model, and finds out what the server can do."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anymal_eval.errors import WrongUse
from anymal_eval.models._prepared import media_reader
from anymal_eval.models.openai.client import Client, Recover, Server
from anymal_eval.models.openai.content import SENT_BYTES, Content, tiny_clip
from anymal_eval.models.openai.self_test import abilities_of

if TYPE_CHECKING:
    from anymal_eval.models.openai.dialects import Abilities, Dialect
    from anymal_eval.models.openai.options import ClientOptions
    from anymal_eval.models.openai.ranking import Post
    from anymal_eval.records import MediaKind


@dataclass(frozen=True)
class Address:
    """Where a model is, and its name there. ``unlisted``: the server's list need not have it."""

    url: str
    key: str = field(repr=False)
    name: str
    unlisted: bool = False


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A server that answers, and what it can do. Close it."""

    client: Client
    content: Content
    name: str
    listed: Mapping[str, Any] = field(repr=False)  # as the server wrote it, which may repeat the key
    dialect: Dialect
    abilities: Abilities
    version: str

    def close(self) -> None:
        """Cancel what is in flight, close the connections and stop the decoder processes."""
        self.client.close()
        self.content.close()


def connect(
    options: ClientOptions, kinds: frozenset[MediaKind], address: Address, dialect: Dialect,
    recover: Recover | None = None,
) -> Connection:  # fmt: skip
    """Connect to a server.

    Args:
        options: how requests are sent.
        kinds: the media that the model takes.
        address: of the server.
        dialect: whose further fields it understands.
        recover: for a server that can be started again.

    Raises:
        WrongUse: no server answers, it wants a key, it does not list this model, or it takes no clips and is to.
    """
    server = Server(
        url=address.url,
        key=address.key,
        timeout_s=options.timeout,
        retries=options.retries,
        retry_budget_s=options.retry_budget,
    )
    native = options.video == "native" and "video" in kinds
    if native and dialect != "vllm":
        raise WrongUse("-o video=native needs a server that takes the frames of a clip as one part: -o dialect=vllm")
    client = Client(server, concurrency=options.concurrency, recover=recover)
    try:
        listed = client.listed(address.name, may_be_unlisted=address.unlisted)

        def find_out(post: Post) -> Awaitable[Abilities]:
            return abilities_of(post, address.name, dialect, tiny_clip() if native else None)

        abilities = client.wait_for(find_out)
        if native and not abilities.clips:
            raise WrongUse(f"the server at {address.url} takes no clip as one part: leave out -o video=native")
        version = client.version() if dialect != "openai" else ""
    except BaseException:
        client.close()
        raise
    content = Content(
        media_reader(options),
        max_side=options.max_image_side,
        sample_rate=options.sample_rate,
        most_bytes=int(SENT_BYTES * options.media_budget),
        whole_clips=native,
    )
    return Connection(
        client=client, content=content, name=address.name, listed=listed, dialect=dialect, abilities=abilities,
        version=version,
    )  # fmt: skip
