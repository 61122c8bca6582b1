"""The AnyMAL network as a model of the harness."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint
from anymal_eval.checkpoints.device_map import placement
from anymal_eval.generation import BatchedPrefix, OptionTokenIds, drawn_rows, memory_guard, try_compiling
from anymal_eval.models._prepared import answer_in_groups, nbytes, require_vocabulary, respond
from anymal_eval.models._prompt_limits import PromptLimits
from anymal_eval.models._protocols import PLAIN_WORDING, Prepared
from anymal_eval.models._refilling import PromptBatch, generate_each, may_refill
from anymal_eval.models._shown import ShownPrompt, shown_prompt
from anymal_eval.models.anymal.media_inputs import MediaInputs, ModalityTokens, open_cache
from anymal_eval.models.anymal.options import Options
from anymal_eval.models.anymal.prefixes import PrefixBatches, PreparedPrompt
from anymal_eval.protocols import Wording
from anymal_eval.records import Media, MediaKind, Request, Response

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.anymal.model import AnyMAL
    from anymal_eval.media.reader import MediaReader

LEAST_TOKENS, MOST_TOKENS = 1024, 16_384  # of a batch
STRIP = False  # white space around a text stays, as in all recorded runs of this model


class NetworkModel:
    """The wrapper of a loaded network."""

    def __init__(self, network: AnyMAL, reader: MediaReader, name: str, options: Options) -> None:
        from anymal_eval.anymal import checkpoint

        cache = open_cache(options.features)
        self._network = network
        self._reader = reader
        self.fingerprint = name
        self.remark = ""
        self.provenance: dict[str, object] = {
            "device": str(network.llm.device),
            "precision": options.precision,
            "quantize": options.quantize,
            "device_map": placement(network.llm.model, options.device_map),
            "frozen": checkpoint.fingerprints(network),
        }
        if network.llm.contradictions:
            self.provenance["contradictions"] = list(network.llm.contradictions)
        self.accepts: frozenset[MediaKind] = network.accepts
        self.skills = frozenset({"sampling"})
        self.provenance["prompt_orders"] = [network.config.prompt_order]
        # The plain protocol has the order of training.
        self.wording: Wording = {
            kind: replace(phrase, order=network.config.prompt_order) for kind, phrase in PLAIN_WORDING.items()
        }
        self.timings = network.llm.timings
        self.inputs = MediaInputs(network, reader, cache)
        self.tokens = ModalityTokens(network, cache)
        self.prefixes = PrefixBatches(network, share=options.share)
        self.token_budget = _token_budget(network)
        self._prompt_limits = PromptLimits(network.llm.model, network.llm.chat.tokenizer, network.llm.context)
        self.memory_forecast = self._prompt_limits.forecast

    def compile_decoding(self, *, exact: bool) -> None:
        """Turn compiled decoding on if it passes its test, and record in ``provenance`` why it is on or off.

        Args:
            exact: whether the language model computes in float32.
        """
        generator = self._network.llm.generator
        rows = drawn_rows(self._network.llm.vocabulary)
        self.provenance["compiled_decoding"] = try_compiling(generator, rows, exact=exact)
        self._network.llm.compiled_step = generator.compiled_step
        self.memory_forecast.fixed_cache = generator.compiled_step is not None

    def prepare(self, request: Request) -> PreparedPrompt:
        """Decode, preprocess and tokenise."""
        request = replace(request, decoding=self._network.with_own_stop(request.decoding))
        inputs = self.inputs.of(request)
        turns = turns_of(request)
        option_ids: OptionTokenIds = ()
        if request.candidates:
            prompt, option_ids = self._network.chat.options(turns, request.candidates, request.answer_prefix)
        else:
            prompt = self._network.chat.prompt(turns, request.answer_prefix)
        own = (*chain.from_iterable(prompt.pieces), *chain.from_iterable(option_ids))
        require_vocabulary(own, len(self._network.llm.model.get_input_embeddings().weight))
        head, tail = prompt.split()
        keys = "|".join(item.key for item in inputs) or None
        prefix_tokens = head.text_tokens + sum(item.tokens for item in inputs)
        self._prompt_limits.require(request, prefix_tokens + tail.text_tokens, option_ids)
        return PreparedPrompt(
            request=request,
            prompt=prompt,
            option_token_ids=option_ids,
            inputs=inputs,
            prefix_key=keys and fingerprint.of([keys, head.pieces]),
            media_key=keys,
            prefix_tokens=prefix_tokens,
            suffix_tokens=tail.text_tokens,
            nbytes=nbytes(item.tensor for item in inputs),
        )

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Encode each medium once, then generate or rank; a request whose logits are broken fails alone."""
        import torch

        items = [item for item in batch if isinstance(item, PreparedPrompt)]
        with torch.no_grad(), memory_guard(f"answering {len(items)} requests", self._free):
            tokens = self._modality_tokens(items)
            return answer_in_groups(items, lambda rows: self._compute(rows, tokens))

    def answer_each(
        self, batch: Sequence[Prepared], more: Callable[[], Sequence[Prepared]]
    ) -> Generator[Sequence[Response], None, None]:
        """Generate the answers of a batch and of what joins it; other batches as :meth:`answer` does."""
        items = [item for item in batch if isinstance(item, PreparedPrompt)]
        generator = self._network.llm.generator
        if may_refill(items, generator):
            yield from generate_each(items, generator, self._prompts, more, self._free, strip=STRIP)
        else:
            yield self.answer(items)

    def shown(self, item: Prepared) -> ShownPrompt:
        """What the language model is given; a medium's tokens are those of its projector."""
        assert isinstance(item, PreparedPrompt)  # noqa: S101
        ends = list(accumulate(map(len, item.prompt.pieces)))
        media = [(end, kind, one.tokens) for end, kind, one in zip(ends, item.prompt.media, item.inputs, strict=False)]
        chat = self._network.chat
        with chat.lock:
            return shown_prompt(chat.tokenizer, tuple(chain.from_iterable(item.prompt.pieces)), media)

    def close(self) -> None:
        """Stop the decoder processes."""
        self._reader.close()

    def _free(self) -> None:
        """Free the device's memory that is kept for the next batch."""
        self.tokens.cached.clear()
        self.prefixes.clear()
        if self._network.llm.compiled_step is not None:
            self._network.llm.compiled_step.clear()

    def _modality_tokens(self, items: Sequence[PreparedPrompt]) -> Mapping[str, Tensor]:
        with self._timed("encoding"):
            return self.tokens.of([one for item in items for one in item.inputs])

    def _prompts(self, items: Sequence[PreparedPrompt]) -> Iterator[PromptBatch]:
        yield PromptBatch(items, *self._inputs(items, self._modality_tokens(items)))

    def _inputs(
        self, items: Sequence[PreparedPrompt], tokens: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], BatchedPrefix | None]:
        with self._timed("prefilling"):
            return self.prefixes.batch(items, tokens)

    def _compute(self, items: Sequence[PreparedPrompt], tokens: Mapping[str, Tensor]) -> list[Response]:
        inputs, prefix = self._inputs(items, tokens)
        llm = self._network.llm
        ranker = llm.ranker
        ranker.forecast = self.memory_forecast
        return respond(items, (llm.generator, ranker), inputs, prefix, strip=STRIP)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        import torch

        started = time.perf_counter()
        try:
            yield
        finally:
            if self._network.llm.device.type == "cuda":
                torch.cuda.synchronize()
            self.timings[part] += time.perf_counter() - started


def _token_budget(network: AnyMAL) -> int:
    """Tokens whose KV caches take a quarter of the free memory: a prefix and the rows that use it each hold one."""
    import torch

    config = network.llm.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token = 2 * config.num_hidden_layers * heads * size * network.llm.dtype.itemsize
    if network.llm.device.type == "cuda":
        free = torch.cuda.mem_get_info(network.llm.device)[0]
    else:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return int(min(MOST_TOKENS, max(LEAST_TOKENS, free // 4 // token)))


def turns_of(request: Request) -> list[Any]:
    """The messages of a request, with the places of its media."""
    from anymal_eval.anymal.conversation import Slot, Turn

    return [
        Turn(
            role=message.role,
            parts=tuple(Slot(medium=part.kind) if isinstance(part, Media) else part for part in message.parts),
        )
        for message in request.messages
    ]
