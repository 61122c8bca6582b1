"""Thinking of chat models: whether a prompt leads to it, how long it may be, and how a template switches it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from anymal_eval.errors import RequestFailed, WrongUse
from anymal_eval.generation.thinking import BUDGET, opened_by, switch_of, thinks
from anymal_eval.records import Decoding, Request

RANKED_INSIDE = (
    "the chat template opens the model's thinking, and options cannot be ranked inside it; choose a protocol whose "
    "answers are generated"
)


@dataclass(frozen=True, kw_only=True)
class TemplateThinking:
    """How a chat template deals with thinking.

    Attributes:
        template: in Jinja.
    """

    template: str

    def variables(self, request: Request) -> dict[str, bool]:
        """The template's variable for a request: options are ranked without thinking, ``auto`` leaves it alone."""
        switch = switch_of(self.template)
        if not switch or (request.decoding.thinking == "auto" and not request.candidates):
            return {}
        return {switch: request.decoding.thinking == "on" and not request.candidates}

    def decoding(self, request: Request, prompt: str, room: int | None) -> Decoding:
        """The decoding of a request, with ``on`` and a number of tokens where the model may think, else ``off``.

        Args:
            request: with the user's setting.
            prompt: rendered.
            room: tokens of the context that the prompt leaves; None for any number. The default budget ends there.

        Raises:
            RequestFailed: options would be ranked inside of thinking.
        """
        own = request.decoding
        if request.candidates and opened_by(prompt):
            raise RequestFailed(RANKED_INSIDE)
        # A search of beams compares whole texts: it would compare thinking, and end at another length.
        if request.candidates or own.beams > 1 or not thinks(self.template, prompt):
            return replace(own, thinking="off", thinking_tokens=None)
        budget = own.thinking_tokens
        if budget is None:
            budget = BUDGET if room is None else max(0, min(BUDGET, room - own.max_new_tokens))
        return replace(own, thinking="on", thinking_tokens=budget)

    def refuse(self, request: Request, prompt: str, name: str) -> None:
        """Refuse a setting that the template does not have.

        Args:
            request: with the user's setting.
            prompt: rendered.
            name: of the model, for the message.

        Raises:
            WrongUse: what to do instead.
        """
        setting = request.decoding.thinking
        if request.candidates and opened_by(prompt):
            raise WrongUse(f"{name}: {RANKED_INSIDE}")
        if request.candidates:
            return
        if request.decoding.beams > 1 and (setting == "on" or opened_by(prompt)):
            raise WrongUse(f"{name} thinks before it answers, and the protocol wants beams; choose another protocol")
        if setting == "on" and not thinks(self.template, prompt):
            raise WrongUse(f"--thinking on: the chat template of {name} knows no thinking; leave it out")
        if setting == "off" and opened_by(prompt):
            raise WrongUse(f"--thinking off: the chat template of {name} always opens thinking; leave it out")
