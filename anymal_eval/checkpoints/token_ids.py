"""Which token ids end an answer, pad a batch and start a decoder, out of metadata that may contradict each other.

A checkpoint names them up to three times: in ``generation_config.json``, in ``config.json`` (the language model's part)
and in its tokenizer. The rules:

1. An id counts only if it is an integer within the rows of the embedding.
2. End tokens are those of ``generation_config.json``; where it names none, those of ``config.json``. The tokenizer's
   end token is always one of them. An id that the tokenizer uses to begin a text, or for unknown text, is none.
3. The id to pad with is the first that counts of ``generation_config.json``, the tokenizer and ``config.json``, and is
   not the place of a medium; else an end token. Padding is masked, so its value changes no answer.
4. The other ids are the first that counts of ``generation_config.json``, the tokenizer and ``config.json``.

What was not used, and what only some of the three name, is recorded and printed. A checkpoint that names end tokens
none of which counts is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anymal_eval.checkpoints.files import read_json
from anymal_eval.errors import BadCheckpoint

GENERATION, CONFIG = "generation_config.json", "config.json"
_TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")
_DEFAULTS = ("eos_token_id", "pad_token_id", "decoder_start_token_id")
_MEDIA = tuple(f"{medium}_token_{kind}" for medium in ("image", "audio", "video") for kind in ("id", "index"))


@dataclass(frozen=True, kw_only=True)
class TokenIds:
    """The resolved ids.

    Attributes:
        ends: the ids that end an answer, sorted.
        pad: the id to pad with.
        begin: the first id of a text, where it has one.
        decoder_start: of an encoder-decoder.
        notes: what was contradictory, one line each.
    """

    ends: tuple[int, ...]
    pad: int
    begin: int | None = None
    decoder_start: int | None = None
    notes: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """For a ``GenerationConfig``."""
        return {
            "eos_token_id": list(self.ends) or None,
            "pad_token_id": self.pad,
            "bos_token_id": self.begin,
            "decoder_start_token_id": self.decoder_start,
        }


def resolve_token_ids(folder: Path, model: Any, tokenizer: Any) -> TokenIds:
    """Resolve them for a loaded model.

    Args:
        folder: the checkpoint.
        model: the language model whose ``generate`` is called.
        tokenizer: its tokenizer.

    Raises:
        BadCheckpoint: no end token that it names counts, or no start of the decoder.
    """
    rows = int(model.get_input_embeddings().weight.shape[0])
    own = model.generation_config
    named = _Named(
        generation=_object(folder / GENERATION),
        config=_text_part(_object(folder / CONFIG)),
        defaults={name: getattr(own, name, None) for name in _DEFAULTS},
        tokenizer=tokenizer,
        rows=rows,
    )
    ends = named.ends()
    media = {value for name in _MEDIA for part in named.parts for value in [part.get(name)] if isinstance(value, int)}
    pads = [one for one in named.each("pad_token_id", of_tokenizer=True) if one not in media]
    start = None
    if model.config.is_encoder_decoder:
        start = next(named.each("decoder_start_token_id"), next(named.each("bos_token_id", of_tokenizer=True), None))
        if start is None:
            raise BadCheckpoint(f"{folder}: neither {GENERATION} nor {CONFIG} names a usable decoder_start_token_id")
    if not ends and named.notes:
        raise BadCheckpoint(f"{folder}: no usable end token: {'; '.join(named.notes)}")
    return TokenIds(
        ends=tuple(sorted(ends)),
        pad=pads[0] if pads else min(ends, default=0),
        begin=next(named.each("bos_token_id", of_tokenizer=True), None),
        decoder_start=start,
        notes=tuple(dict.fromkeys(named.notes)),
    )


@dataclass(kw_only=True)
class _Named:
    """What the files and the tokenizer name."""

    generation: Mapping[str, Any]
    config: Mapping[str, Any]
    defaults: Mapping[str, Any]
    tokenizer: Any
    rows: int
    notes: list[str] = field(default_factory=list)

    @property
    def parts(self) -> tuple[Mapping[str, Any], ...]:
        return (self.generation, self.config)

    def ends(self) -> set[int]:
        sources = ((GENERATION, self.generation), (CONFIG, self.config), ("the model's defaults", self.defaults))
        where, found = next(
            ((where, value) for where, part in sources if (value := part.get("eos_token_id")) is not None),
            ("", []),
        )
        ends = {one for one in self._usable(where, "eos_token_id", found) if not self._other_role(where, one)}
        last = next(self._usable("the tokenizer", "eos_token_id", self._of_tokenizer("eos_token_id")), None)
        if last is not None and ends and last not in ends:
            self.notes.append(f"{where} ends answers with {sorted(ends)}, the tokenizer with {last}: all of them do")
        ends |= set() if last is None else {last}
        unused = [one for one in _listed(self.config.get("eos_token_id")) if one not in [*ends] and where == GENERATION]
        if unused:
            self.notes.append(f"{CONFIG} ends answers with {_shown(unused)}, {GENERATION} does not: not used")
        return ends

    def each(self, name: str, *, of_tokenizer: bool = False) -> Iterator[int]:
        """The usable ids of one name, in the order of precedence."""
        yield from self._usable(GENERATION, name, self.generation.get(name))
        if of_tokenizer:
            yield from self._usable("the tokenizer", name, self._of_tokenizer(name))
        yield from self._usable(CONFIG, name, self.config.get(name))
        yield from self._usable("the model's defaults", name, self.defaults.get(name))

    def _usable(self, where: str, name: str, value: Any) -> Iterator[int]:
        for one in _listed(value):
            if type(one) is int and 0 <= one < self.rows:
                yield one
            else:
                self.notes.append(
                    f"{where}: {name} {_shown([one])} is no row of the embedding, which has {self.rows}: not used"
                )

    def _other_role(self, where: str, one: int) -> bool:
        """Whether the tokenizer begins texts with an id, or writes it for unknown text."""
        if one == self._of_tokenizer("eos_token_id"):
            return False
        roles = [role for role in ("bos", "unk") if self._of_tokenizer(f"{role}_token_id") == one]
        if roles:
            self.notes.append(f"{where}: eos_token_id {one} is the {roles[0]}_token of the tokenizer: not used")
        return bool(roles)

    def _of_tokenizer(self, name: str) -> Any:
        return getattr(self.tokenizer, name, None)


def _object(file: Path) -> Mapping[str, Any]:
    content = read_json(file) if file.is_file() else {}
    if not isinstance(content, dict):
        raise BadCheckpoint(f"{file} holds no JSON object")
    return content


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a configuration names for its language model, its own keys where that has none."""
    parts = [config[name] for name in _TEXT_PARTS if isinstance(config.get(name), dict)]
    nested = [inner for part in parts for name in _TEXT_PARTS if isinstance(inner := part.get(name), dict)]
    found = dict(config)
    for part in (*parts, *nested):
        found |= {name: value for name, value in part.items() if name.endswith("_token_id") and value is not None}
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _shown(values: Any) -> str:
    return ", ".join(sorted(repr(value)[:40] for value in values))
