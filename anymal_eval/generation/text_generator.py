"""Generation and ranking with a transformers language model, as the protocol's settings say and nothing else.

Shapes:  b rows · t positions · r rows of options · m tokens of the longest option · v vocabulary
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anymal_eval.generation.logits import FiniteLogitsProcessor, StopStringCriteria, check_finite
from anymal_eval.generation.prefix_kv import BatchedPrefix, writable
from anymal_eval.records import Decoding, Finish

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 64  # options scored at once


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What one row said; ``new_tokens`` counts up to and with the token that ended it."""

    text: str
    finish: Finish
    new_tokens: int


class TextGenerator:
    """A model with ``generate`` and ``forward``, and its tokenizer. Generation runs on one thread."""

    def __init__(self, model: Any, tokenizer: Any, lock: threading.Lock | None = None) -> None:
        self.repetition_penalty = 1.0  # of what was said already
        self.model = model
        self.tokenizer = tokenizer
        self.timings: dict[str, float] = dict.fromkeys(("prefilling", "decoding"), 0.0)
        # A fast tokenizer borrows its Rust half mutably while it is set up for a call: two threads at once would fail.
        self.lock = lock or threading.Lock()
        own = model.generation_config
        ends = own.eos_token_id
        self.ends = frozenset([ends] if isinstance(ends, int) else ends or [])
        pad = own.pad_token_id if own.pad_token_id is not None else tokenizer.pad_token_id
        self.pad = int(pad if pad is not None else min(self.ends, default=0))
        self.seq2seq = bool(model.config.is_encoder_decoder)
        self._takes = frozenset(inspect.signature(model.forward).parameters)
        # Multimodal rotary positions and masks of cross attention are made by the class itself, from the whole prompt.
        rotary = hasattr(getattr(model, "model", model), "get_rope_index")
        self.one_by_one = rotary or "cross_attention_mask" in self._takes

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, from any thread."""
        with self.lock:
            found: list[int] = self.tokenizer(text)["input_ids"]
        return found

    def generate(
        self, inputs: Mapping[str, Tensor], decoding: Decoding, past: BatchedPrefix | None = None
    ) -> list[Completion]:
        """Let b rows go on.

        Args:
            inputs: what ``generate`` takes, padded on the left (an encoder's on the right), with its mask.
            decoding: how; nothing is sampled.
            past: what of the same rows is computed.

        Raises:
            BadLogits: a row's logits hold NaN or infinity.
        """
        import transformers

        config: Any = transformers.GenerationConfig
        settings = config(
            do_sample=False,
            num_beams=decoding.beams,
            length_penalty=decoding.length_penalty if decoding.beams > 1 else None,
            max_new_tokens=decoding.max_new_tokens,
            min_new_tokens=decoding.min_new_tokens or None,
            pad_token_id=self.pad,
        )
        # Of what generate returns, so much is not new: the prompt's ids, or the token that a decoder starts with.
        start = 1 if self.seq2seq else inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
        extra: dict[str, Any] = {} if past is None else {"past_key_values": past.cache(decoding.beams)}
        if decoding.stop and decoding.beams == 1:
            extra["stopping_criteria"] = [StopStringCriteria(self.text, decoding.stop, start)]
        finite = FiniteLogitsProcessor(decoding.beams)
        watching: list[Any] = [finite]
        if self.repetition_penalty != 1.0:
            watching.append(transformers.RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
        begun = time.perf_counter()
        out: Tensor = self.model.generate(**inputs, generation_config=settings, logits_processor=watching, **extra)
        rows = out.tolist()
        self.timings["prefilling"] += finite.first - begun
        self.timings["decoding"] += time.perf_counter() - finite.first
        return [self._said(row[start:], decoding) for row in rows]

    def rank(
        self,
        inputs: Mapping[str, Tensor],
        options: Sequence[Sequence[Sequence[int]]],
        past: BatchedPrefix | None = None,
    ) -> list[tuple[float, ...]]:
        """Sums of log p of each row's options as what a decoder goes on with.

        The rows are computed once; options of one token are read from them, longer ones go on from their cache.

        Args:
            inputs: as for ``generate``: b rows padded on the left, ``attention_mask`` among them.
            options: for each row, its options' ids.
            past: what of the same rows is computed.

        Raises:
            BadLogits: a row's logits hold NaN or infinity.
        """
        if self.one_by_one:
            return [self.rank_whole(_row(inputs, row), own) for row, own in enumerate(options)]
        mask = inputs["attention_mask"]
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        last = {"logits_to_keep": 1} if "logits_to_keep" in self._takes else {}
        given: dict[str, Any] = {**inputs, "position_ids": positions}
        if past is not None:
            given |= {name: given[name][:, past.positions :] for name in ("input_ids", "position_ids")}
            given["past_key_values"] = past.cache()
        begun = time.perf_counter()
        out = self.model(**given, use_cache=True, **last)
        logits = out.logits[:, -1]  # (b, v)
        check_finite(logits)
        computed = time.perf_counter()
        self.timings["prefilling"] += computed - begun
        first = logits.float().log_softmax(dim=-1)
        totals = [[float(first[row, option[0]]) for option in own] for row, own in enumerate(options)]
        rest = [(row, place) for row, own in enumerate(options) for place, option in enumerate(own) if len(option) > 1]
        for begin in range(0, len(rest), ROWS):
            chunk = rest[begin : begin + ROWS]
            chosen = [row for row, _ in chunk]
            sums = self._go_on(out.past_key_values, mask, chosen, [options[row][place] for row, place in chunk])
            for (row, place), value in zip(chunk, sums, strict=True):
                totals[row][place] += value
        self.timings["decoding"] += time.perf_counter() - computed
        return [tuple(row) for row in totals]

    def rank_whole(self, inputs: Mapping[str, Tensor], options: Sequence[Sequence[int]]) -> tuple[float, ...]:
        """The same for one row, every option as a whole prompt of its own, for classes whose cache cannot be shared."""
        import torch

        totals = []
        length = inputs["input_ids"].shape[1]
        for option in options:
            tail = torch.tensor([option], device=inputs["input_ids"].device)
            longer = dict(inputs)
            longer["input_ids"] = torch.cat([inputs["input_ids"], tail], dim=1)
            longer["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(tail)], dim=1)
            for name in ("token_type_ids", "mm_token_type_ids"):
                if name in longer:
                    longer[name] = torch.cat([longer[name], torch.zeros_like(tail)], dim=1)
            if "cross_attention_mask" in longer:  # an answer looks at what the prompt's last token looks at
                seen = longer["cross_attention_mask"]
                longer["cross_attention_mask"] = torch.cat([seen, seen[:, -1:].expand(-1, len(option), -1, -1)], dim=1)
            logits = self.model(**longer).logits[:, length - 1 : -1]
            check_finite(logits[0])
            scores = logits.float().log_softmax(dim=-1).gather(-1, tail[..., None])
            totals.append(float(scores.sum()))
        return tuple(totals)

    def rank_decoded(
        self, inputs: Mapping[str, Tensor], options: Sequence[Sequence[Sequence[int]]]
    ) -> list[tuple[float, ...]]:
        """Sums of log p of each row's options as what a decoder writes; every row is encoded once.

        Args:
            inputs: ``inputs_embeds`` (b, t, d) and ``attention_mask``.
            options: for each row, its options' ids, with the token that ends them.

        Raises:
            BadLogits: a row's logits hold NaN or infinity.
        """
        from transformers.modeling_outputs import BaseModelOutput

        encoded = self.model.get_encoder()(**inputs).last_hidden_state  # (b, t, d)
        totals: list[list[float]] = [[] for _ in options]
        pairs = [(row, option) for row, own in enumerate(options) for option in own]
        for begin in range(0, len(pairs), ROWS):
            chunk = pairs[begin : begin + ROWS]
            rows = [row for row, _ in chunk]
            start = self.model.generation_config.decoder_start_token_id
            given, targets, used = self._padded([[start, *option] for _, option in chunk])
            out = self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded[rows]),
                attention_mask=inputs["attention_mask"][rows],
                decoder_input_ids=given,
                use_cache=False,
            )
            for row, value in zip(rows, _scores(out.logits, targets, used), strict=True):
                totals[row].append(value)
        return [tuple(row) for row in totals]

    def _go_on(self, cache: Any, mask: Tensor, rows: list[int], options: list[Sequence[int]]) -> list[float]:
        """Sums of log p of each option's second to last token, each over its row's cache, which is not changed."""
        import torch

        given, targets, used = self._padded(options)
        chosen = torch.tensor(rows, device=mask.device)
        own = writable(cache)
        own.batch_select_indices(chosen)
        whole = torch.cat([mask[chosen], used.long()], dim=1)
        positions = (whole.cumsum(dim=1) - 1)[:, -given.shape[1] :]
        out = self.model(
            input_ids=given, attention_mask=whole, position_ids=positions, past_key_values=own, use_cache=True
        )
        return _scores(out.logits, targets, used)

    def _padded(self, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """(r, m) all ids but each row's last, the ids that follow them, and which of them are real."""
        import torch

        device = self.model.device
        shape = (len(sequences), max(map(len, sequences)) - 1)
        given = torch.full(shape, self.pad, device=device)
        targets = torch.zeros(shape, dtype=torch.long, device=device)
        used = torch.zeros(shape, dtype=torch.bool, device=device)
        for row, sequence in enumerate(sequences):
            ids = torch.tensor(sequence, device=device)
            given[row, : len(ids) - 1], targets[row, : len(ids) - 1] = ids[:-1], ids[1:]
            used[row, : len(ids) - 1] = True
        return given, targets, used

    def _said(self, ids: list[int], decoding: Decoding) -> Completion:
        end = next((place for place, token in enumerate(ids) if token in self.ends), None)
        kept = ids if end is None else ids[:end]
        text = self.text(kept)
        found = [place for place in (text.find(stop) for stop in decoding.stop) if place >= 0]
        if found:
            text = text[: min(found)]
        return Completion(
            text=text.strip(),
            finish="length" if end is None and not found else "stop",
            new_tokens=len(kept) + (end is not None),
        )

    def text(self, ids: Sequence[int]) -> str:
        """Ids as text, without special tokens."""
        with self.lock:
            found: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return found


def _row(inputs: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    if len(inputs["input_ids"]) != 1:
        raise ValueError(f"row {row}: a class that computes its own positions is ranked one row at a time")
    return dict(inputs)


def _scores(logits: Tensor, targets: Tensor, used: Tensor) -> list[float]:
    """(r, m, v) logits and (r, m) targets -> r sums of log p over the positions that are used."""
    logits = logits.to(targets.device)  # a model over several devices ends on another than it begins on
    check_finite(logits[used])
    scores = logits.float().log_softmax(dim=-1).gather(-1, targets[..., None])[..., 0]
    return [float(value) for value in scores.masked_fill(~used, 0.0).sum(dim=1)]
