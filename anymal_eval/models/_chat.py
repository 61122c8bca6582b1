"""Chat models of transformers: a processor with a chat template, and ``generate``.

A request becomes a conversation in the form of the processor's documentation; every thread has a processor of its own.
Requests whose images or sounds have the same shape are batched, padded on the left; others are computed one after the
other, because classes differ in how they batch images of several shapes. Where rows leave the batch when they end, this
holds for the prompts alone: their answers are generated together.

Options are ranked as continuations of the rendered prompt, after a space unless it ends with white space. The ids that
an option adds, or changes at the end of the prompt, are found in the text before its media are expanded to many tokens.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint
from anymal_eval.checkpoints.templates import render_template
from anymal_eval.errors import RequestFailed, reason
from anymal_eval.generation import (
    SEQUENCES,
    BatchedPrefix,
    LiteralText,
    OptionRanker,
    PromptTokenizer,
    TextGenerator,
    join_with_space,
    left_padded,
    memory_guard,
    option_token_ids,
)
from anymal_eval.generation.thinking import opened_by
from anymal_eval.models._chat_media import ChatMedia, MediaLimits, OpenedMedia
from anymal_eval.models._native_video import NativeVideo
from anymal_eval.models._prefix_sharing import PrefixSharing, PreparedChat, kinds, media_token_ids
from anymal_eval.models._prepared import (
    answer_in_groups,
    by_batch_key,
    failed_response,
    media_key,
    nbytes,
    require_vocabulary,
    respond,
)
from anymal_eval.models._processor_cache import preprocessed_cache, set_media_key, with_cache
from anymal_eval.models._prompt_limits import PromptLimits
from anymal_eval.models._protocols import PLAIN_WORDING, Prepared
from anymal_eval.models._refilling import PromptBatch, generate_each, may_refill
from anymal_eval.models._shown import ShownPrompt, shown_prompt
from anymal_eval.models._thinking import TemplateThinking
from anymal_eval.protocols import Wording
from anymal_eval.records import Media, Request, Response

if TYPE_CHECKING:
    from anymal_eval.checkpoints.transformers_model import LoadedModel
    from anymal_eval.media.reader import MediaReader

# Attributes of tokenizers and processors with the texts that they read as the place of a medium.
MARKERS = ("image_token", "audio_token", "video_token", "boi_token", "fake_image_token")


class ChatModel:
    """The wrapper of a chat model.

    Attributes:
        media: opens them.
        prefix_sharing: None until ``_prefix_self_test.try_sharing`` turns it on.
        passes: tests one of ``_prefix_sharing.kinds``; None where there is no test.
    """

    def __init__(
        self, loaded: LoadedModel, reader: MediaReader, limits: MediaLimits, native: NativeVideo | None = None
    ) -> None:
        """``native`` takes clips in the class's own way; None gives it their frames as pictures."""
        self.fingerprint = loaded.fingerprint
        self.provenance = dict(loaded.provenance)
        self.remark = loaded.remark
        self.accepts = limits.kinds
        self.wording: Wording = PLAIN_WORDING
        self.skills = frozenset({"sampling", "thinking"})
        self._thinking = TemplateThinking(template=_template(loaded.processor))
        self.network = loaded.model
        self._processor = loaded.processor
        self.media = ChatMedia(loaded.processor, reader, limits, native)
        self._reader = reader
        self.preprocessed = preprocessed_cache()
        self._lock = threading.Lock()
        self._thread = threading.local()
        self.generator = TextGenerator(loaded.model, loaded.processor.tokenizer)
        self.timings = self.generator.timings  # media are encoded as a part of prefilling
        self.ranker = OptionRanker(loaded.model, self.generator.pad_id, self.timings)
        self.prefix_sharing: PrefixSharing | None = None
        self.passes: Callable[[ChatModel, str], bool] | None = None
        self._literal = _literal_text(loaded.processor)
        self._rows = len(loaded.model.get_input_embeddings().weight)
        self._places = media_token_ids(loaded.model.config)
        self._prompt_limits = PromptLimits(loaded.model, loaded.processor.tokenizer, loaded.context)
        self.memory_forecast = self.ranker.forecast = self._prompt_limits.forecast

    def prepare(self, request: Request) -> PreparedChat:
        """Decode, render the chat template, preprocess and tokenise."""
        processor = self._processor_of_thread()
        media = self.media.open(request)
        key = "|".join(media_key(each, request.frames) for each in request.media) or None
        set_media_key(processor, key)
        rendered = self._render(processor, request)
        text = join_with_space(rendered, self._literal.guard(request.answer_prefix))
        # The rule of ``apply_chat_template(tokenize=True)``: a template that writes the first token needs no other.
        first = processor.tokenizer.bos_token
        special = not (first and text.startswith(first))
        inputs = self._process(processor, text, special, media)
        option_ids, changed = self._option_ids(processor.tokenizer, text, special, request.candidates)
        if changed:
            inputs = {name: value[:, :-changed] if name in SEQUENCES else value for name, value in inputs.items()}
        length = int(inputs["input_ids"].shape[1])
        room = None if self._prompt_limits.context is None else self._prompt_limits.context - length
        request = replace(request, decoding=self._thinking.decoding(request, rendered, room))
        self._prompt_limits.require(request, length, option_ids)
        ids = inputs["input_ids"][0].tolist()
        require_vocabulary((*ids, *chain.from_iterable(option_ids)), self._rows, self._places)
        shared = self.prefix_sharing.prefix_length(request, ids) if self.prefix_sharing is not None else 0
        return PreparedChat(
            request=request,
            option_token_ids=option_ids,
            prefix_key=fingerprint.of([key, ids[:shared]]) if shared else None,
            media_key=key,
            prefix_tokens=shared,
            suffix_tokens=length - shared,
            nbytes=nbytes(inputs.values()),
            batch_key=self._batch_key(inputs, bool(option_ids)),
            inputs=inputs,
            prefix_length=shared,
            opened=opened_by(rendered) if request.decoding.thinking == "on" else "",
        )

    def refuse(self, request: Request) -> None:
        """Refuse a setting of thinking that the chat template does not have.

        Raises:
            WrongUse: what to do instead.
        """
        prompt = self._render(self._processor_of_thread(), request)
        self._thinking.refuse(request, prompt, "this model")

    def self_test(self, requests: Iterable[Request]) -> None:
        """Test what prefix sharing needs for requests like these, each once; it stays off where that fails."""
        sharing = self.prefix_sharing
        if sharing is None or self.passes is None:
            return
        for kind in sorted({kind for request in requests for kind in kinds(request)} - sharing.tested.keys()):
            sharing.tested[kind] = self.passes(self, kind)

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Generate or rank; a request whose logits are broken fails alone."""
        items = [item for item in batch if isinstance(item, PreparedChat)]
        self.self_test(item.request for item in items)
        return self.compute(self._with_batch_keys(items))

    def answer_each(
        self, batch: Sequence[Prepared], more: Callable[[], Sequence[Prepared]]
    ) -> Generator[Sequence[Response], None, None]:
        """Generate the answers of a batch and of what joins it; other batches as :meth:`answer` does."""
        items = [item for item in batch if isinstance(item, PreparedChat)]
        if not may_refill(items, self.generator):
            yield self.answer(items)
            return
        self.self_test(item.request for item in items)

        def joining() -> Sequence[Prepared]:
            found = more()
            self.self_test(item.request for item in found)
            return found

        yield from generate_each(items, self.generator, self._prompts, joining, self._free)

    def compute(self, items: Sequence[PreparedChat]) -> list[Response]:
        """Answer requests; those whose batch key is ``MEDIA`` or ``TEXT`` share prefixes."""
        import torch

        with torch.no_grad(), memory_guard(f"answering {len(items)} requests", self._free):
            return answer_in_groups(items, self._compute)

    def shown(self, item: Prepared) -> ShownPrompt:
        """What the network is given."""
        assert isinstance(item, PreparedChat)  # noqa: S101
        with self._lock:
            return shown_prompt(self._processor.tokenizer, item.inputs["input_ids"][0].tolist())

    def close(self) -> None:
        """Stop the decoder processes and empty the caches."""
        self.media.close()
        self.preprocessed.clear()
        self._free()

    def _free(self) -> None:
        """Free the device's memory that is kept for the next batch."""
        if self.prefix_sharing is not None:
            self.prefix_sharing.clear()
        if self.generator.compiled_step is not None:
            self.generator.compiled_step.clear()

    def _processor_of_thread(self) -> Any:
        """The calling thread's processor: two threads cannot use one fast tokenizer."""
        if not hasattr(self._thread, "processor"):
            with self._lock:
                own = with_cache(copy.deepcopy(self._processor), self.preprocessed)
            own.tokenizer = PromptTokenizer(own.tokenizer, self._literal)
            self._thread.processor = own
        return self._thread.processor

    def _render(self, processor: Any, request: Request) -> str:
        """The conversation through the chat template, open for the model's answer."""
        conversation = [
            {
                "role": message.role,
                "content": [block for part in message.parts for block in self._blocks(part, request)],
            }
            for message in request.messages
        ]
        variables = self._thinking.variables(request)
        try:
            text = render_template(
                self._thinking.template, conversation, {**processor.tokenizer.special_tokens_map, **variables}
            )
        except RequestFailed as error:
            roles = ", ".join(message.role for message in request.messages)
            why = self._literal.unguard(str(error))
            raise RequestFailed(f"the chat template takes no conversation of {roles}: {why}") from None
        if not _has_the_usual_rendering(processor):
            text = str(
                processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True, **variables)
            )
        return text

    def _blocks(self, part: str | Media, request: Request) -> list[dict[str, str]]:
        """A part of a message in the form of chat templates."""
        if isinstance(part, str):
            return [{"type": "text", "text": self._literal.guard(part)}]
        return self.media.blocks(part, request.frames)

    def _process(self, processor: Any, text: str, special: bool, media: OpenedMedia) -> dict[str, Any]:
        extra = media.arguments(self.media.sample_rate if media.sounds else 0)
        if not special:
            extra["add_special_tokens"] = False
        try:
            outputs = processor(text=[text], return_tensors="pt", **extra)
        except (ValueError, LookupError, ArithmeticError, MemoryError, RecursionError) as error:
            why = self._literal.unguard(reason(error))
            raise RequestFailed(f"the processor refuses the prompt: {why}") from error
        return {name: value for name, value in dict(outputs).items() if name != "video_metadata"}

    def _option_ids(
        self, tokenizer: Any, text: str, special: bool, candidates: Sequence[str]
    ) -> tuple[tuple[tuple[int, ...], ...], int]:
        """Each option's ids, and how many ids at the end of the prompt are among them."""
        if not candidates:
            return (), 0
        texts = [text, *(join_with_space(text, self._literal.guard(option)) for option in candidates)]
        prompt, *with_option = [tokenizer(each, add_special_tokens=special)["input_ids"] for each in texts]
        kept, option_ids = option_token_ids(prompt, with_option)
        return option_ids, len(prompt) - kept

    def _batch_key(self, inputs: Mapping[str, Any], ranked: bool) -> object:
        """The shapes of the media; for requests that cannot be batched a key of their own."""
        import torch

        if (ranked and self.ranker.one_at_a_time) or not all(torch.is_tensor(value) for value in inputs.values()):
            return object()
        return tuple(sorted((name, tuple(value.shape)) for name, value in inputs.items() if name not in SEQUENCES))

    def _with_batch_keys(self, items: Sequence[PreparedChat]) -> Sequence[PreparedChat]:
        return items if self.prefix_sharing is None else self.prefix_sharing.with_batch_keys(items)

    def _prompts(self, items: Sequence[PreparedChat]) -> Iterator[PromptBatch]:
        for own in by_batch_key(self._with_batch_keys(items)):
            yield PromptBatch(own, *self._inputs(own))

    def _inputs(self, items: Sequence[PreparedChat]) -> tuple[dict[str, Any], BatchedPrefix | None]:
        started = time.perf_counter()
        shared = self.prefix_sharing.batch(items) if self.prefix_sharing is not None else None
        alone = [] if shared is not None else [item.inputs for item in items]
        found = shared or (left_padded(alone, self.generator.pad_id, self.network), None)
        self.timings["prefilling"] += time.perf_counter() - started
        return found

    def _compute(self, items: Sequence[PreparedChat]) -> list[Response]:
        inputs, prefix = self._inputs(items)
        try:
            return respond(items, (self.generator, self.ranker), inputs, prefix)
        except ValueError as error:
            # Some classes of transformers do not repeat what their encoders make for the beams of a row.
            beams = items[0].request.decoding.beams
            if items[0].option_token_ids or beams == 1:
                raise
            failed = RequestFailed(f"{type(self.network).__name__} cannot search with {beams} beams: {reason(error)}")
            return [failed_response(item.request, failed) for item in items]


def _template(processor: Any) -> str:
    """The template that ``apply_chat_template`` takes where none is named."""
    found = processor.chat_template
    if isinstance(found, dict):
        found = found.get("default") or next(iter(found.values()), "")
    return str(found)


def _has_the_usual_rendering(processor: Any) -> bool:
    """Whether its class renders templates as all do; one that changes conversations first renders them itself."""
    from transformers import ProcessorMixin

    return type(processor).apply_chat_template is ProcessorMixin.apply_chat_template


def _literal_text(processor: Any) -> LiteralText:
    """Keeps texts of data from becoming control tokens or places of media."""
    named = [getattr(part, name, None) for part in (processor, processor.tokenizer) for name in MARKERS]
    return LiteralText(processor.tokenizer, [str(name) for name in named if name])
