"""Chat models of transformers: a processor with a chat template, and ``generate``.

A request becomes the conversation that the processor's documentation shows, one for each request; every thread has a
processor of its own. Requests whose pictures or sounds have the same shape go through the model together, padded on the
left, the others after one another: what a class does with pictures of many shapes is its own affair.

Options are ranked as the continuation of the rendered prompt, with a space between where it ends with none. The tokens
that an option adds, or changes at the seam, are found in the text before its pictures are unfolded into their tokens.

Shapes:  b rows · t positions
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint
from anymal_eval.errors import OutOfMemory, RequestFailed
from anymal_eval.generation.batches import SEQUENCES, joint_batch
from anymal_eval.generation.bounded_cache import BoundedCache
from anymal_eval.generation.text_generator import TextGenerator
from anymal_eval.generation.token_ids import common, joined
from anymal_eval.models._conversation import blocks
from anymal_eval.models._prefix_sharing import PrefixSharing, PreparedChat
from anymal_eval.models._prepared import (
    answer_alike,
    media_key,
    ranked_response,
    refuse_markers,
    require_context,
    said_response,
)
from anymal_eval.models._processor_cache import preprocessed, set_media_key, with_cache
from anymal_eval.models._protocols import PLAIN_WORDING, Prepared
from anymal_eval.protocols import Wording
from anymal_eval.records import Media, MediaKind, Request, Response

if TYPE_CHECKING:
    from anymal_eval.checkpoints.transformers_model import LoadedModel
    from anymal_eval.media.reader import MediaReader

OPENED_BYTES = 256 << 20  # of decoded media that wait for their next question
# Texts that a tokenizer or processor reads as the place of a medium.
MARKERS = ("image_token", "audio_token", "video_token", "boi_token", "fake_image_token")


@dataclass(frozen=True, kw_only=True)
class MediaLimits:
    """What a model takes: kinds of media, and how many of them (None: any number)."""

    kinds: frozenset[MediaKind]
    most: int | None = None


class Chat:
    """The wrapper of a chat model."""

    def __init__(self, loaded: LoadedModel, reader: MediaReader, limits: MediaLimits) -> None:
        self.fingerprint = loaded.fingerprint
        self.provenance = dict(loaded.provenance)
        self.remark = loaded.remark
        self.accepts = limits.kinds
        self.wording: Wording = PLAIN_WORDING
        self.network = loaded.model
        self._processor = loaded.processor
        self._limits = limits
        self._reader = reader
        self._opened: BoundedCache[list[Any]] = BoundedCache(
            OPENED_BYTES, lambda arrays: sum(array.nbytes for array in arrays)
        )
        self.preprocessed = preprocessed()
        self._lock = threading.Lock()
        self._own = threading.local()
        self.speaker = TextGenerator(loaded.model, loaded.processor.tokenizer)
        self.sharing: PrefixSharing | None = None  # whoever loads a model tries it first: see ``_sharing_trial``
        self.timings = self.speaker.timings  # a medium is encoded where its prompt is prefilled
        self._context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)

    def prepare(self, request: Request) -> PreparedChat:
        """Decode, render the chat template, preprocess and tokenise."""
        processor = self._mine()
        shown, heard = self._open(request)
        about = "|".join(media_key(media, request.frames) for media in request.media) or None
        set_media_key(processor, about)
        named = [getattr(part, name, None) for part in (processor, processor.tokenizer) for name in MARKERS]
        refuse_markers(request, [str(name) for name in named if name])
        text = joined(self._render(processor, request), request.answer_prefix)
        # The rule of ``apply_chat_template(tokenize=True)``: a template that writes the first token needs no other.
        first = processor.tokenizer.bos_token
        special = not (first and text.startswith(first))
        inputs = self._process(processor, text, special, shown, heard)
        option_token_ids, changed = self._tails(processor.tokenizer, text, special, request.candidates)
        if changed:
            inputs = {name: value[:, :-changed] if name in SEQUENCES else value for name, value in inputs.items()}
        length = int(inputs["input_ids"].shape[1])
        require_context(request, length, option_token_ids, self._context)
        ids = inputs["input_ids"][0].tolist()
        cut = self.sharing.cut(request, ids) if self.sharing is not None else 0
        return PreparedChat(
            request=request,
            option_token_ids=option_token_ids,
            prefix_key=fingerprint.of([about, ids[:cut]]) if cut else None,
            media_key=about,
            prefix_tokens=cut,
            suffix_tokens=length - cut,
            nbytes=sum(getattr(value, "nbytes", 0) for value in inputs.values()),
            alike=self._alike(inputs, bool(option_token_ids)),
            inputs=inputs,
            cut=cut,
        )

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Generate or rank; a request whose numbers are broken fails alone."""
        import torch

        from anymal_eval.anymal.decoding import memory_guard

        items = [item for item in batch if isinstance(item, PreparedChat)]
        if self.sharing is not None:
            items = self.sharing.marked(items)
        try:
            with torch.no_grad(), memory_guard(f"answering {len(items)} requests"):
                return answer_alike(items, self._compute)
        except OutOfMemory:
            if self.sharing is not None:
                self.sharing.forget()
            raise

    def close(self) -> None:
        """End the decoder processes and let what they opened go."""
        self._opened.clear()
        self.preprocessed.clear()
        self._reader.close()
        if self.sharing is not None:
            self.sharing.forget()

    @property
    def sample_rate(self) -> int:
        """Of the sounds that it takes."""
        return int(self._processor.feature_extractor.sampling_rate)

    def keep_decoded(self, key: str, array: Any) -> None:
        """Take a medium as decoded, by its key."""
        self._opened.put(key, [array])

    def _mine(self) -> Any:
        """The processor of the thread that asks: a fast tokenizer cannot be used by two at once."""
        if not hasattr(self._own, "processor"):
            with self._lock:
                self._own.processor = with_cache(copy.deepcopy(self._processor), self.preprocessed)
        return self._own.processor

    def _open(self, request: Request) -> tuple[list[Any], list[Any]]:
        """Pictures (frames too) and sounds, in the order of the prompt."""
        from PIL import Image

        shown: list[Any] = []
        heard: list[Any] = []
        for media in request.media:
            if media.kind not in self.accepts:
                raise RequestFailed(f"{media.uri}: the model takes {_listed(self.accepts)}, not {media.kind}")
        count = sum(request.frames if media.kind == "video" else 1 for media in request.media)
        if self._limits.most is not None and count > self._limits.most:
            raise RequestFailed(f"the prompt has {count} pictures or frames, the model takes {self._limits.most}")
        for media in request.media:
            arrays = self._decoded(media, request.frames)
            if media.kind == "audio":
                heard.extend(arrays)
            else:
                shown.extend(Image.fromarray(array) for array in arrays)
        return shown, heard

    def _decoded(self, media: Media, frames: int) -> list[Any]:
        """A medium's arrays, decoded once for the questions about it."""

        def decode() -> list[Any]:
            if media.kind == "image":
                return [self._reader.image(media)]
            if media.kind == "video":
                return list(self._reader.video(media, frames))
            return [self._reader.audio(media, self.sample_rate)]

        return self._opened.get(media_key(media, frames), decode)

    def _render(self, processor: Any, request: Request) -> str:
        """The conversation as the chat template writes it, open for the model's answer."""
        from jinja2.exceptions import TemplateError

        conversation = [
            {"role": message.role, "content": [block for part in message.parts for block in blocks(part, request)]}
            for message in request.messages
        ]
        try:
            text: str = processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            roles = ", ".join(message.role for message in request.messages)
            raise RequestFailed(f"the chat template takes no conversation of {roles}: {error}") from error
        return text

    def _process(self, processor: Any, text: str, special: bool, shown: list[Any], heard: list[Any]) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if shown:
            extra["images"] = [shown]
        if heard:
            extra |= {"audio": heard, "sampling_rate": self.sample_rate}
        try:
            made = processor(text=[text], add_special_tokens=special, return_tensors="pt", **extra)
        except (ValueError, IndexError) as error:
            raise RequestFailed(f"the processor refuses the prompt: {' '.join(str(error).split())}") from error
        return dict(made)

    def _tails(
        self, tokenizer: Any, text: str, special: bool, candidates: Sequence[str]
    ) -> tuple[tuple[tuple[int, ...], ...], int]:
        """Each option's ids after those that all have in common, and how many of the prompt's are not among these."""
        if not candidates:
            return (), 0
        bare = tokenizer(text, add_special_tokens=special)["input_ids"]
        whole = [tokenizer(joined(text, option), add_special_tokens=special)["input_ids"] for option in candidates]
        shared = min(common(bare, ids) for ids in whole)
        option_token_ids = tuple(tuple(ids[shared:]) for ids in whole)
        if not all(option_token_ids):
            raise RequestFailed(f"one of the options {list(candidates)} adds no token to the prompt")
        return option_token_ids, len(bare) - shared

    def _alike(self, inputs: Mapping[str, Any], ranked: bool) -> object:
        """Equal for requests that can share a batch."""
        import torch

        media = {name: value for name, value in inputs.items() if name not in SEQUENCES}
        if (ranked and self.speaker.one_by_one) or not all(torch.is_tensor(value) for value in inputs.values()):
            return object()
        return tuple(sorted((name, tuple(value.shape)) for name, value in media.items()))

    def _compute(self, items: Sequence[PreparedChat]) -> list[Response]:
        start = time.perf_counter()
        begun = self.sharing.begun(items) if self.sharing is not None else None
        inputs, past = begun or (joint_batch([item.inputs for item in items], self.speaker.pad, self.network), None)
        self.timings["prefilling"] += time.perf_counter() - start
        if not items[0].option_token_ids:
            said = self.speaker.generate(inputs, items[0].request.decoding, past)
            return [said_response(item, one) for item, one in zip(items, said, strict=True)]
        scores = self.speaker.rank(inputs, [item.option_token_ids for item in items], past)
        return [ranked_response(item, own) for item, own in zip(items, scores, strict=True)]


def _listed(kinds: frozenset[MediaKind]) -> str:
    return " and ".join(sorted(kinds))
