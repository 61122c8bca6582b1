"""Text generation with a language model of transformers, by the request's settings alone.

Shapes:  b rows · t positions · d width of the language model
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from anymal_eval.generation.compiled_step import CompiledStep
from anymal_eval.generation.freed_memory import keep_freed_memory
from anymal_eval.generation.literal_text import LiteralText, PromptTokenizer
from anymal_eval.generation.logits import FiniteLogitsProcessor, Traces
from anymal_eval.generation.open_generation import OpenGeneration
from anymal_eval.generation.prefix_kv import BatchedPrefix, positions_depend_on_length
from anymal_eval.generation.rows import Completion, Row
from anymal_eval.generation.sampling import SamplingProcessor
from anymal_eval.generation.stop_strings import AfterThinking, RowEnd, RowEndCriteria, StopStrings, cut_at_stop
from anymal_eval.generation.thinking import answer_start, special_tags
from anymal_eval.records import Decoding

if TYPE_CHECKING:
    from torch import Tensor


class TextGenerator:
    """A causal or encoder-decoder language model with its tokenizer. ``generate`` runs on one thread.

    Attributes:
        end_ids: the ids that end an answer, from the model's generation settings.
        pad_id: the id to pad with.
        encoder_decoder: whether the prompt goes through an encoder.
        grows_in_place: whether a step of greedy search or sampling writes into a KV cache with room for it, which rows
            leave when they end; a causal model whose cache keeps every token may have it. False where it was tried and
            failed, None before.
        compiled_step: computes the steps of greedy search and sampling; None for the model itself.
        repetition_penalty: of tokens generated before; 1.0 for none.
        traces: take the steps of greedy search; None: nobody does.
        timings: seconds spent so far in ``prefilling`` and ``decoding``.
        lock: held while the tokenizer works.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        lock: threading.Lock | None = None,
        timings: dict[str, float] | None = None,
    ) -> None:
        """``lock`` is given where others use the tokenizer too, ``timings`` where others count in it."""
        self.model = model
        if model.device.type == "cpu":
            keep_freed_memory()
        self.tokenizer = tokenizer
        self.repetition_penalty = 1.0
        self.timings = timings if timings is not None else dict.fromkeys(("prefilling", "decoding"), 0.0)
        # A fast tokenizer's Rust half is borrowed mutably during a call: two threads at once would fail.
        self.lock = lock or threading.Lock()
        self._literal: LiteralText | None = None
        self._kept = special_tags(_special(tokenizer))
        own = model.generation_config
        ends = own.eos_token_id
        self.end_ids = frozenset([ends] if isinstance(ends, int) else ends or [])
        pad = own.pad_token_id if own.pad_token_id is not None else tokenizer.pad_token_id
        self.pad_id = int(pad if pad is not None else min(self.end_ids, default=0))
        self.encoder_decoder = bool(model.config.is_encoder_decoder)
        self.grows_in_place: bool | None = None
        self.compiled_step: CompiledStep | None = None
        self.traces: Traces | None = None

    def token_ids(self, text: str) -> list[int]:
        """Tokenise a text of data, within the tokenizer's special tokens. Safe in any thread.

        No control token in the text becomes one.
        """
        return self.prompt_ids(self.guard(text))

    def guard(self, text: str) -> str:
        """Guard a text of data for :meth:`prompt_ids`: no control token in it becomes one. Safe in any thread."""
        with self.lock:
            self._literal = self._literal or LiteralText(self.tokenizer)
            return self._literal.guard(text)

    def prompt_ids(self, prompt: str, *, add_special_tokens: bool = True) -> list[int]:
        """Tokenise a rendered prompt with guarded texts. Safe in any thread."""
        with self.lock:
            self._literal = self._literal or LiteralText(self.tokenizer)
            encode = PromptTokenizer(self.tokenizer, self._literal)
            ids: list[int] = encode(prompt, add_special_tokens=add_special_tokens)["input_ids"]
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """Decode ids, without special tokens but the tags of thinking. Safe in any thread."""
        parts: list[str] = []
        start = 0
        with self.lock:
            for place, token in enumerate((*ids, None)):
                if token is None or token in self._kept:
                    parts.append(self.tokenizer.decode(list(ids[start:place]), skip_special_tokens=True))
                    parts.append(self._kept[token] if token is not None else "")
                    start = place + 1
        return "".join(parts)

    def generate(
        self,
        inputs: Mapping[str, Tensor],
        decoding: Decoding,
        prefix: BatchedPrefix | None = None,
        rows: Sequence[Row] = (),
    ) -> list[Completion]:
        """Generate the continuation of b rows.

        Args:
            inputs: what the model's ``generate`` takes, whole prompts padded on the left (an encoder's on the right),
                with ``attention_mask``.
            decoding: how, and its limits.
            prefix: the computed first positions of the same rows.
            rows: what else is known of them; sampling and thinking need it.

        Raises:
            BadLogits: a row's logits hold NaN or infinity.
        """
        with self.compiled(decoding):
            generate = self._generate_open if self.rows_leave(decoding) else self._generate_whole
            found = generate(inputs, decoding, prefix, rows)
        if self.traces is not None:
            self.traces.ids |= {row.name: ids for row, ids in zip(rows, found, strict=True)}
        opened = [row.opened for row in rows] or [""] * len(found)
        return [self.completion(ids, decoding, tag) for ids, tag in zip(found, opened, strict=True)]

    def rows_leave(self, decoding: Decoding) -> bool:
        """Whether rows of this decoding leave when they end."""
        return bool(self.grows_in_place) and decoding.beams == 1 and self.repetition_penalty == 1.0

    def rows_join(self, decoding: Decoding) -> bool:
        """Whether rows may join others that are being generated."""
        return self.rows_leave(decoding) and not positions_depend_on_length(self.model)

    def _generate_open(
        self, inputs: Mapping[str, Tensor], decoding: Decoding, prefix: BatchedPrefix | None, rows: Sequence[Row]
    ) -> list[list[int]]:
        """The generated ids of rows that leave the batch when they end."""
        import torch

        found: dict[int, list[int]] = {}
        with torch.no_grad():
            generation = OpenGeneration(self, decoding)
            numbers = generation.join(inputs, prefix, rows)
            while not generation.is_empty:
                found |= generation.advance()
        return [found[number] for number in numbers]

    def _generate_whole(
        self, inputs: Mapping[str, Tensor], decoding: Decoding, prefix: BatchedPrefix | None, rows: Sequence[Row]
    ) -> list[list[int]]:
        """The same by transformers' own search: every row is computed until the last one ends."""
        import transformers

        started = time.perf_counter()
        settings = self.settings(
            num_beams=decoding.beams,
            length_penalty=decoding.length_penalty if decoding.beams > 1 else None,
            max_new_tokens=decoding.most_new_tokens,
            min_new_tokens=decoding.min_new_tokens or None,
        )
        # ``generate`` returns the prompt's ids too where it was given ids, and a decoder's start token.
        start = 1 if self.encoder_decoder else inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
        extra: dict[str, Any] = {} if prefix is None else {"past_key_values": prefix.cache(decoding.beams)}
        row_ended = self.row_end(decoding, rows) if decoding.beams == 1 else None
        ends = None if row_ended is None else RowEndCriteria(row_ended, start)
        if ends is not None:
            extra["stopping_criteria"] = [ends]
        finite = FiniteLogitsProcessor(decoding.beams, self.traces, [row.name for row in rows])
        processors: list[Any] = [finite]
        if self.repetition_penalty != 1.0:
            processors.append(transformers.RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
        if decoding.temperature > 0:
            processors.append(SamplingProcessor(decoding, [row.name for row in rows]))
        out: Tensor = self.model.generate(**inputs, generation_config=settings, logits_processor=processors, **extra)
        found = [row[start:] for row in out.tolist()]
        if ends is not None:
            found = [ids[: ends.lengths.get(row)] for row, ids in enumerate(found)]
        self.timings["prefilling"] += finite.first - started
        self.timings["decoding"] += time.perf_counter() - finite.first
        return found

    def compiled(self, decoding: Decoding) -> AbstractContextManager[None]:
        """The context in which the compiled step, if there is one, computes the steps of this decoding."""
        step = self.compiled_step
        return nullcontext() if step is None or decoding.beams > 1 else step.used()

    def settings(self, **settings: Any) -> Any:
        """Of transformers' ``generate``."""
        import transformers

        config: Any = transformers.GenerationConfig
        return config(do_sample=False, pad_token_id=self.pad_id, **settings)

    def row_end(self, decoding: Decoding, rows: Sequence[Row]) -> RowEnd | None:
        """What ends a row before its end token and its last token do."""
        if decoding.thinking == "on":
            return AfterThinking(self.text, decoding, [row.opened for row in rows])
        return StopStrings(self.text, decoding.stop) if decoding.stop else None

    def completion(self, ids: list[int], decoding: Decoding, opened: str = "") -> Completion:
        """The completion in generated ids: up to the first that ends an answer, and the first stop string.

        Args:
            ids: of one row.
            decoding: its settings.
            opened: the tag by which its prompt opened the model's thinking.
        """
        if decoding.thinking == "on":
            return self._thoughtful(ids, decoding, opened)
        end = next((place for place, token in enumerate(ids) if token in self.end_ids), None)
        kept = ids if end is None else ids[:end]
        whole = self.text(kept)
        text = cut_at_stop(whole, decoding.stop)
        return Completion(
            text=text,
            ids=tuple(kept),
            finish="length" if end is None and text == whole else "stop",
            new_tokens=len(kept) + (end is not None),
        )

    def _thoughtful(self, ids: list[int], decoding: Decoding, opened: str) -> Completion:
        """With thinking before its answer: the limit of tokens and the stop strings are the answer's."""
        end = next((place for place, token in enumerate(ids) if token in self.end_ids), None)
        kept = ids if end is None else ids[:end]
        start = answer_start(opened + self.text(kept))
        if start is not None:
            closed = bisect_left(range(len(kept)), 1, key=lambda n: self._start(opened, kept[:n])) if start else 0
            if len(kept) - closed > decoding.max_new_tokens:
                kept, end = kept[: closed + decoding.max_new_tokens], None
        whole = opened + self.text(kept)
        text = whole if start is None else whole[:start] + cut_at_stop(whole[start:], decoding.stop)
        return Completion(
            text=text,
            ids=tuple(kept),
            finish="length" if end is None and text == whole else "stop",
            new_tokens=len(kept) + (end is not None),
        )

    def _start(self, opened: str, ids: Sequence[int]) -> int:
        return answer_start(opened + self.text(ids)) or 0


def _special(tokenizer: Any) -> dict[str, int]:
    """The special tokens of a tokenizer, which decoding leaves out, by their texts."""
    found = getattr(tokenizer, "added_tokens_decoder", {})
    return {str(token): number for number, token in found.items() if token.special}
