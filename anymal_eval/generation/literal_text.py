"""Text of data never becomes a control token.

A tokenizer reads ``</s>`` or ``<image>`` in a question as the token of that name. Here texts of data are guarded before
a chat template or a processor sees them: each character that a control token could start with becomes a code point for
private use. A guarded prompt is encoded by a second tokenizer, in which control tokens have secret names: the
template's own are renamed in the prompt, then the guards are removed. All other rules of the tokenizer stay, so the ids
are those of a tokenizer that has no control tokens. A prompt without guards is encoded as ever.
"""

from __future__ import annotations

import copy
import json
import re
import secrets
import threading
from collections.abc import Iterable
from typing import Any

from anymal_eval.errors import RequestFailed

_GUARDS = range(0x10F000, 0x10FFFE)  # the end of the last plane for private use
# Intermediate names that processors of transformers give to the places of media.
_PLACEHOLDERS = ("<|placeholder|>", "<placeholder>", "<|image_pad|>", "<|video_pad|>", "<|audio_pad|>")


class LiteralText:
    """Guards texts of data, and encodes guarded prompts. Safe in any thread.

    Attributes:
        control: the texts that are read as control tokens, or as the places of media.
    """

    def __init__(self, tokenizer: Any, markers: Iterable[str] = ()) -> None:
        """``markers``: texts that a processor reads as the places of media."""
        self._tokenizer = tokenizer
        added = control_tokens(tokenizer)
        self.control = tuple(sorted({*added, *markers, *_PLACEHOLDERS}, key=len, reverse=True))
        nonce = secrets.token_hex(8)  # data cannot forge a name
        self._names = {text: f"\ufdd0{nonce}{place}\ufdd1" for place, text in enumerate(sorted(added))}
        longest_first = sorted(self._names, key=len, reverse=True)
        self._own = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._any = re.compile("|".join(map(re.escape, self.control)))
        # Letters and white space are guarded only where a whole control token follows: templates trim and split texts.
        plain = sorted({text for text in self.control if text[0].isalnum() or text[0].isspace()}, key=len, reverse=True)
        firsts = sorted({text[0] for text in self.control})
        apart = [one for one in firsts if not (one.isalnum() or one.isspace())]
        whole = [f"{re.escape(text[0])}(?={re.escape(text[1:])})" for text in plain]
        self._guarded = {one: chr(_GUARDS[place]) for place, one in enumerate(firsts)}
        # A text that holds these code points keeps them.
        reserved = list(self._guarded.values())
        self._guarded |= {one: chr(_GUARDS[len(firsts) + place]) for place, one in enumerate(reserved)}
        single = "".join(map(re.escape, [*apart, *reserved]))
        self._starts = re.compile("|".join([f"[{single}]", *whole]))
        self._plain = str.maketrans({guard: one for one, guard in self._guarded.items()})
        self._guard = re.compile(f"[{''.join(map(re.escape, self._guarded.values()))}]")
        self._lock = threading.Lock()
        self._literal: Any = None

    def guard(self, text: str) -> str:
        """The text with a guard in the place of each character that a control token could start with."""
        return self._starts.sub(lambda found: self._guarded[found[0]], text)

    def unguard(self, text: str) -> str:
        """The inverse of :meth:`guard`."""
        return text.translate(self._plain)

    def is_guarded(self, text: str) -> bool:
        """Whether a prompt holds a guarded text."""
        return self._guard.search(text) is not None

    def encode(self, text: str | list[str], **settings: Any) -> Any:
        """What the tokenizer gives for prompts whose guarded parts hold no control token.

        Raises:
            RequestFailed: a text holds a control token, and this tokenizer cannot read it as text.
        """
        texts = [text] if isinstance(text, str) else text
        with self._lock:
            if self._literal is None:
                self._literal = _without_control_tokens(self._tokenizer, self._names) or False
            if self._literal is False:
                return self._encode_slowly(text, texts, settings)
            named = [self.unguard(self._own.sub(lambda found: self._names[found[0]], one)) for one in texts]
            return self._literal(named[0] if isinstance(text, str) else named, **settings)

    def _encode_slowly(self, text: str | list[str], texts: list[str], settings: dict[str, Any]) -> Any:
        """A tokenizer without a fast backend: whole control tokens in a guarded text are refused."""
        for one in texts:
            plain = self.unguard(one)
            for found in self._any.finditer(plain):
                if self._guard.search(one[found.start() : found.end()]):
                    raise RequestFailed(
                        f"the text holds {found[0]!r}, which {type(self._tokenizer).__name__} reads as a control token"
                    )
        plain_texts = [self.unguard(one) for one in texts]
        return self._tokenizer(plain_texts[0] if isinstance(text, str) else plain_texts, **settings)


class PromptTokenizer:
    """Takes a tokenizer's place in a processor, and encodes guarded prompts."""

    def __init__(self, tokenizer: Any, literal: LiteralText) -> None:
        """``tokenizer`` is used by one thread, ``literal`` by all."""
        self.wrapped, self.literal = tokenizer, literal

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The tokenizer's, which processors check."""
        return type(self.wrapped)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def __len__(self) -> int:
        return len(self.wrapped)

    def __call__(self, text: Any = None, *given: Any, **settings: Any) -> Any:
        """Encode one text or several."""
        texts = [text] if isinstance(text, str) else text
        plain = isinstance(texts, list) and all(isinstance(one, str) for one in texts)
        if not plain or not any(map(self.literal.is_guarded, texts)):
            return self.wrapped(text, *given, **settings)
        if given:
            raise RequestFailed("this processor encodes pairs of texts, and one of them holds a control token")
        return self.literal.encode(text, **settings)


def control_tokens(tokenizer: Any) -> frozenset[str]:
    """The added tokens that no text of data may become.

    These are the special ones, those that the chat template writes, and those in the form ``<|...|>``. Other added
    tokens, such as runs of white space, are a part of the vocabulary of texts.
    """
    template = getattr(tokenizer, "chat_template", None) or ""
    written = template if isinstance(template, str) else "\0".join(map(str, dict(template).values()))
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return frozenset(
        token.content
        for token in added
        if token.content.strip()
        and (token.special or re.fullmatch(r"<\|.*\|>", token.content) or _is_markup(token.content, written))
    )


def _is_markup(token: str, template: str) -> bool:
    return not token[0].isalnum() and len(token) > 1 and token in template


def _without_control_tokens(tokenizer: Any, names: dict[str, str]) -> Any:
    """A copy in which control tokens have other names and the same ids; None where there is no fast backend."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "to_str"):
        return None
    from tokenizers import Tokenizer

    content = json.loads(backend.to_str())
    _rename(content["model"], names)
    for token in content["added_tokens"]:
        if token["content"] in names:
            token["content"] = names[token["content"]]
            token["normalized"] = False  # names are looked for in the text as it is
    renamed = Tokenizer.from_str(json.dumps(content))
    if any(renamed.token_to_id(name) != backend.token_to_id(text) for text, name in names.items()):
        return None
    literal = copy.deepcopy(tokenizer)
    literal._tokenizer = renamed
    return literal


def _rename(model: dict[str, Any], names: dict[str, str]) -> None:
    """Rename the control tokens in a model's vocabulary, so that it does not build them from letters either."""
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(text, text): number for text, number in vocabulary.items()}
    elif isinstance(vocabulary, list):
        model["vocab"] = [[names.get(entry[0], entry[0]), *entry[1:]] for entry in vocabulary]
    if isinstance(model.get("unk_token"), str):
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    if model.get("merges"):
        model["merges"] = [pair for pair in model["merges"] if not _makes_control_token(pair, names)]


def _makes_control_token(pair: str | list[str], names: dict[str, str]) -> bool:
    left, right = pair.split(" ", 1) if isinstance(pair, str) else pair
    return left in names or right in names or left + right in names
