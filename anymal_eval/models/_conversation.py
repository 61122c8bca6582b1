"""Requests in the form that chat templates read, and what their processors made of them in one batch.

Shapes:  b rows · t positions
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anymal_eval.errors import BadCheckpoint
from anymal_eval.records import Media, Request

if TYPE_CHECKING:
    pass


def require_template(processor: Any, name: str) -> None:
    """Refuse a processor that cannot render a conversation.

    Raises:
        BadCheckpoint: it has no chat template.
    """
    if getattr(processor, "tokenizer", None) is None:
        raise BadCheckpoint(f"{name}: its processor ({type(processor).__name__}) has no tokenizer of its own")
    if not getattr(processor, "chat_template", None):
        raise BadCheckpoint(
            f"{name}: its processor ({type(processor).__name__}) has no chat template; "
            "put the model's own into chat_template.jinja beside its weights"
        )


def blocks(part: str | Media, request: Request) -> list[dict[str, str]]:
    """A part of a message in the form that chat templates read; a clip is its frames."""
    if isinstance(part, str):
        return [{"type": "text", "text": part}]
    if part.kind == "video":
        return [{"type": "image"}] * request.frames
    return [{"type": part.kind}]
