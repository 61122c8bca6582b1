"""What BLIP-2 and InstructBLIP share: image tokens stand before the text, and every image is encoded once.

An image is a fixed number of tokens before the text, and before the text's own first token. Several images, or the
frames of a clip, stand one after the other: LAVIS concatenates the frames of InstructBLIP in this way
(``blip2_vicuna_instruct.py``, ``generate``), SeViLA those of BLIP-2. An image elsewhere in the prompt is moved to the
front, the only place that these networks know. System and user message are joined by an empty line.

OPT and Vicuna are padded on the left. FlanT5's encoder is padded on the right: its positions are relative, and padding
between image and text would move them apart. Options are tokenised behind the prompt for OPT and Vicuna, without an
end token; FlanT5 writes them with its end token. LAVIS ranks them so too.

Shapes:  b rows · k images · q tokens of an image · t positions · d width of the language model
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint
from anymal_eval.checkpoints.transformers_folder import CheckpointOptions, fetch, require_processor
from anymal_eval.errors import RequestFailed
from anymal_eval.generation import (
    BoundedCache,
    OptionRanker,
    OptionTokenIds,
    TextGenerator,
    join_with_space,
    memory_guard,
    option_token_ids,
    padded_embeddings,
    to_device,
)
from anymal_eval.media.broken import failures_of
from anymal_eval.models._prepared import (
    PreparedRequest,
    answer_in_groups,
    hold_images,
    media_key,
    nbytes,
    require_vocabulary,
    respond,
)
from anymal_eval.models._prompt_limits import PromptLimits
from anymal_eval.models._protocols import Prepared
from anymal_eval.models._shown import ShownPrompt, shown_prompt
from anymal_eval.protocols import Wording
from anymal_eval.records import Media, MediaKind, Request, Response

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.checkpoints.transformers_model import LoadedModel
    from anymal_eval.media.reader import MediaReader

TAKES: frozenset[MediaKind] = frozenset({"image", "video"})
FEATURE_BYTES = 128 << 20  # of image features that stay on the device
PREPROCESSED_BYTES = 256 << 20  # of preprocessed images that are cached


@dataclass(frozen=True, kw_only=True)
class PreparedBlip(PreparedRequest):
    """A request with its images and ids.

    Attributes:
        images: for each its key and its preprocessed pixels (3, height, width).
        token_ids: of the language model.
        qformer_ids: of the prompt as the Q-Former reads it.
    """

    images: tuple[tuple[str, Tensor], ...]
    token_ids: tuple[int, ...]
    qformer_ids: tuple[int, ...]


class BlipModel(ABC):
    """A wrapper of the family. Subclasses say which features of an image are cached, and how they become tokens."""

    def __init__(self, loaded: LoadedModel, reader: MediaReader, wording: Wording) -> None:
        self.fingerprint = loaded.fingerprint
        self.provenance = loaded.provenance
        self.remark = loaded.remark
        self.accepts = TAKES
        self.wording = wording
        self.skills = frozenset({"sampling"})
        self.network = loaded.model
        self.processor = loaded.processor
        self.lock = threading.Lock()
        self.generator = TextGenerator(loaded.model.language_model, loaded.processor.tokenizer, self.lock)
        self.timings = self.generator.timings
        self.timings["encoding"] = 0.0
        self.ranker = OptionRanker(self.generator.model, self.generator.pad_id, self.timings)
        self._rows = len(self.generator.model.get_input_embeddings().weight)
        self._reader = reader
        self._preprocessed: BoundedCache[Tensor] = BoundedCache(PREPROCESSED_BYTES, lambda pixels: pixels.nbytes)
        self.features: BoundedCache[Tensor] = BoundedCache(FEATURE_BYTES, lambda features: features.nbytes)
        self._prompt_limits = PromptLimits(self.generator.model, loaded.processor.tokenizer, loaded.context)
        self.memory_forecast = self.ranker.forecast = self._prompt_limits.forecast

    @abstractmethod
    def encode_image(self, pixels: Tensor) -> Tensor:
        """The features of an image to cache: (1, 3, height, width) -> any shape."""

    @abstractmethod
    def image_tokens(self, items: Sequence[PreparedBlip], features: dict[str, Tensor]) -> list[Tensor]:
        """Each row's image tokens, (k * q, d)."""

    def qformer_ids(self, text: str) -> tuple[int, ...]:
        """The ids of the prompt for the Q-Former, if it reads the prompt."""
        del text
        return ()

    def prepare(self, request: Request) -> PreparedBlip:
        """Decode, preprocess and tokenise."""
        for media in request.media:
            if media.kind not in TAKES:
                raise RequestFailed(f"{media.uri}: the model takes pictures and clips, not {media.kind}")
        text = join_with_space(_text(request), request.answer_prefix)
        ids, option_ids = self._ids(text, request.candidates)
        require_vocabulary((*ids, *chain.from_iterable(option_ids)), self._rows)
        images = tuple(pair for media in request.media for pair in self._images(media, request.frames))
        image_tokens = self.network.config.num_query_tokens * len(images)
        self._prompt_limits.require(request, image_tokens + len(ids), option_ids)
        keys = "|".join(key for key, _ in images) or None
        qformer_ids = self.qformer_ids(text)
        return PreparedBlip(
            request=request,
            option_token_ids=option_ids,
            prefix_key=keys and fingerprint.of([keys, qformer_ids]),
            media_key=keys,
            prefix_tokens=image_tokens,
            suffix_tokens=len(ids),
            nbytes=nbytes(pixels for _, pixels in images),
            images=images,
            token_ids=tuple(ids),
            qformer_ids=qformer_ids,
        )

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Encode each image once, then generate or rank; a request whose logits are broken fails alone."""
        import torch

        items = [item for item in batch if isinstance(item, PreparedBlip)]
        with torch.no_grad(), memory_guard(f"answering {len(items)} requests"):
            started = time.perf_counter()
            features = self._encode(items)
            self.timings["encoding"] += time.perf_counter() - started
            return answer_in_groups(items, lambda rows: self._compute(rows, features))

    def shown(self, item: Prepared) -> ShownPrompt:
        """What the language model is given, after the Q-Former's tokens of the pictures."""
        assert isinstance(item, PreparedBlip)  # noqa: S101
        media = [(0, "image", item.prefix_tokens)] if item.prefix_tokens else []
        with self.lock:
            return shown_prompt(self.processor.tokenizer, item.token_ids, media)

    def close(self) -> None:
        """Stop the decoder processes and empty the caches."""
        self.features.clear()
        self._preprocessed.clear()
        self._reader.close()

    def _ids(self, text: str, candidates: Sequence[str]) -> tuple[list[int], OptionTokenIds]:
        """The ids of the prompt, and those that each candidate adds."""
        ids = self.generator.token_ids
        prompt = ids(text)
        if self.generator.encoder_decoder:
            return prompt, tuple(tuple(ids(candidate)) for candidate in candidates)
        kept, option_ids = option_token_ids(prompt, [ids(join_with_space(text, one)) for one in candidates])
        return prompt[:kept], option_ids

    def _images(self, media: Media, frames: int) -> list[tuple[str, Tensor]]:
        key = media_key(media, frames)
        pixels = self._preprocessed.get(key, lambda: self._preprocess(media, frames))
        return [(f"{key}#{place}", image) for place, image in enumerate(pixels)]

    def _preprocess(self, media: Media, frames: int) -> Tensor:
        """(k, 3, height, width): an image, or the frames of a clip."""
        from PIL import Image

        arrays = [self._reader.image(media)] if media.kind == "image" else list(self._reader.video(media, frames))
        hold_images(self._reader, self.processor.image_processor, media, arrays)
        with failures_of(media):
            images = [Image.fromarray(array) for array in arrays]
            pixels: Tensor = self.processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
        return pixels

    def _encode(self, items: Sequence[PreparedBlip]) -> dict[str, Tensor]:
        """The features of every image of the batch, by key.

        Every image is encoded alone, so that its numbers depend neither on its neighbours nor on when it was cached.
        """
        parameter = next(self.network.vision_model.parameters())

        def encode(pixels: Tensor) -> Tensor:
            return self.encode_image(to_device(pixels[None], parameter.device, parameter.dtype))

        images = {key: pixels for item in items for key, pixels in item.images}
        return {key: self.features.get(key, partial(encode, pixels)) for key, pixels in images.items()}

    def _compute(self, items: Sequence[PreparedBlip], features: dict[str, Tensor]) -> list[Response]:
        inputs = self._inputs(items, self.image_tokens(items, features))
        return respond(items, (self.generator, self.ranker), inputs)

    def _inputs(self, items: Sequence[PreparedBlip], image_tokens: Sequence[Tensor]) -> dict[str, Tensor]:
        """Image tokens and text of each row, padded: ``inputs_embeds`` (b, t, d) and ``attention_mask`` (b, t)."""
        import torch

        table = self.generator.model.get_input_embeddings()
        device = table.weight.device
        rows = []
        for item, tokens in zip(items, image_tokens, strict=True):
            text = table(torch.tensor(item.token_ids, dtype=torch.long, device=device))
            rows.append(torch.cat([tokens.to(text.device, text.dtype), text]))
        return padded_embeddings(rows, side="right" if self.generator.encoder_decoder else "left")


def load_blip(model_class: str, options: CheckpointOptions, name: str, extra_parts: Sequence[str] = ()) -> LoadedModel:
    """Load a checkpoint of the family.

    Args:
        model_class: the transformers class.
        options: checkpoint, precision, device ...
        name: the wrapper's, for the fingerprint.
        extra_parts: of the processor, which it must have.

    Raises:
        BadCheckpoint: it is incomplete.
    """
    checkpoint = fetch(options)
    require_processor(checkpoint, tuple(extra_parts))
    import transformers

    from anymal_eval.checkpoints.transformers_model import load_model, load_processor

    processor = load_processor(checkpoint, options)
    return load_model(getattr(transformers, model_class), checkpoint, options, name, processor)


def no_image_tokens(network: Any) -> Tensor:
    """(0, d): the image tokens of a prompt without images."""
    import torch

    return torch.zeros((0, network.config.text_config.hidden_size), device=network.device)


def _text(request: Request) -> str:
    turns = ["".join(part for part in message.parts if isinstance(part, str)) for message in request.messages]
    return "\n\n".join(turn for turn in turns if turn)
