"""The user's own settings of prompts and decoding, which go before a protocol's."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from anymal_eval.errors import WrongUse
from anymal_eval.records import Decoding


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """Settings that the user gave; None leaves the protocol's.

    Attributes:
        max_new_tokens: of an answer.
        temperature, top_p, seed: of sampling; a temperature of 0 is greedy.
        system: the system message, as it is; an empty one is none at all.
        thinking, thinking_tokens: as of :class:`anymal_eval.records.Decoding`.
    """

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    system: str | None = None
    thinking: Literal["auto", "on", "off"] | None = None
    thinking_tokens: int | None = None

    def check(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            WrongUse: names the option.
        """
        temperature, top_p = self.temperature or 0.0, 1.0 if self.top_p is None else self.top_p
        if not (math.isfinite(temperature) and temperature >= 0):
            raise WrongUse(f"--temperature {self.temperature}: write 0, or a positive number")
        if not 0 < top_p <= 1:
            raise WrongUse(f"--top-p {self.top_p}: write a number above 0 and up to 1")
        for name in ("top_p", "seed"):
            if getattr(self, name) is not None and temperature == 0:
                raise WrongUse(f"--{name.replace('_', '-')} has no effect without --temperature: nothing is sampled")
        for name in ("max_new_tokens", "thinking_tokens"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise WrongUse(f"--{name.replace('_', '-')} {value}: write a number of tokens")
        if self.thinking == "off" and self.thinking_tokens is not None:
            raise WrongUse("--thinking-tokens has no effect with --thinking off")

    @property
    def given(self) -> dict[str, Any]:
        """The settings that were given, for the manifest."""
        return {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}

    @property
    def needs(self) -> dict[str, str]:
        """What a model must be able to do, with the option that wants it."""
        needed = {"sampling": "--temperature"} if self.temperature else {}
        if self.thinking in ("on", "off") or self.thinking_tokens is not None:
            needed["thinking"] = "--thinking" if self.thinking else "--thinking-tokens"
        return needed

    def decoding(self, decoding: Decoding) -> Decoding:
        """The decoding of a protocol, with these settings.

        Raises:
            WrongUse: sampling where the protocol wants beams.
        """
        own = {name: value for name, value in self.given.items() if name != "system"}
        if self.temperature and decoding.beams > 1:
            raise WrongUse(f"--temperature: the protocol wants {decoding.beams} beams, which take no samples")
        least = min(decoding.min_new_tokens, self.max_new_tokens or decoding.min_new_tokens)
        return replace(decoding, **own, min_new_tokens=least) if own else decoding


NONE = Overrides()
