"""What BLIP-2 and InstructBLIP share: pictures first, then the text; one picture is looked at once.

A picture is a fixed number of tokens in front of the text, before the text's own first token. Several pictures, or the
frames of a clip, stand one after the other: LAVIS joins the tokens of InstructBLIP's frames in this way
(``blip2_vicuna_instruct.py``, ``generate``), SeViLA those of BLIP-2's. A picture that the prompt has elsewhere is moved
to the front, since these networks know no other place; system and user message are joined by an empty line.

OPT and Vicuna are padded on the left. FlanT5's encoder is padded on the right: its positions are relative, and padding
between picture and text would move them apart. Options are tokenised where they stand for OPT and Vicuna, without an
end of text; FlanT5 writes them with its end of text, as LAVIS ranks them in both.

Shapes:  b rows · k pictures · q tokens of a picture · t positions · d width of the language model
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint
from anymal_eval.errors import RequestFailed
from anymal_eval.generation.bounded_cache import BoundedCache
from anymal_eval.generation.text_generator import TextGenerator
from anymal_eval.generation.token_ids import common, joined
from anymal_eval.models._prepared import (
    PreparedRequest,
    answer_alike,
    media_key,
    ranked_response,
    refuse_markers,
    require_context,
    said_response,
)
from anymal_eval.models._protocols import Prepared
from anymal_eval.protocols import Wording
from anymal_eval.records import Media, MediaKind, Request, Response

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.checkpoints.transformers_model import LoadedModel
    from anymal_eval.media.reader import MediaReader

TAKES: frozenset[MediaKind] = frozenset({"image", "video"})
KEPT = 64  # pictures whose features stay on the device after their batch
OPENED_BYTES = 256 << 20  # of preprocessed pictures that wait for their next question


@dataclass(frozen=True, kw_only=True)
class PreparedBlip(PreparedRequest):
    """Its pictures by key, preprocessed (3, height, width), its ids, and those that the Q-Former reads."""

    pictures: tuple[tuple[str, Tensor], ...]
    ids: tuple[int, ...]
    reads: tuple[int, ...]


class Blip(ABC):
    """A wrapper of the family; subclasses say what of a picture is kept, and how it becomes tokens."""

    def __init__(self, loaded: LoadedModel, reader: MediaReader, wording: Wording) -> None:
        self.fingerprint = loaded.fingerprint
        self.provenance = loaded.provenance
        self.remark = loaded.remark
        self.accepts = TAKES
        self.wording = wording
        self.network = loaded.model
        self.processor = loaded.processor
        self.lock = threading.Lock()
        self.speaker = TextGenerator(loaded.model.language_model, loaded.processor.tokenizer, self.lock)
        self.timings = self.speaker.timings
        self.timings["encoding"] = 0.0
        self.looked = 0  # pictures looked at so far, for tests of what is shared
        self._reader = reader
        self._opened: BoundedCache[Tensor] = BoundedCache(OPENED_BYTES, lambda pixels: pixels.nbytes)
        self._features: OrderedDict[str, Tensor] = OrderedDict()
        text = loaded.model.config.text_config
        # An encoder-decoder's positions are relative: it has no longest prompt.
        self._context = None if self.speaker.seq2seq else getattr(text, "max_position_embeddings", None)

    @abstractmethod
    def look(self, pixels: Tensor) -> Tensor:
        """What is kept of a picture: (1, 3, height, width) -> its features."""

    @abstractmethod
    def tokens(self, items: Sequence[PreparedBlip], features: dict[str, Tensor]) -> list[Tensor]:
        """Each row's picture tokens, (k * q, d)."""

    def reads(self, text: str) -> tuple[int, ...]:
        """Ids of what the Q-Former reads of the prompt."""
        del text
        return ()

    def prepare(self, request: Request) -> PreparedBlip:
        """Decode, preprocess and tokenise."""
        for media in request.media:
            if media.kind not in TAKES:
                raise RequestFailed(f"{media.uri}: the model takes pictures and clips, not {media.kind}")
        refuse_markers(request, [str(self.processor.image_token)])
        text = joined(_text(request), request.answer_prefix)
        ids, option_token_ids = self._ids(text, request.candidates)
        pictures = tuple(pair for media in request.media for pair in self._pictures(media, request.frames))
        seen = self.network.config.num_query_tokens * len(pictures)
        require_context(request, seen + len(ids), option_token_ids, self._context)
        keys = "|".join(key for key, _ in pictures) or None
        reads = self.reads(text)
        return PreparedBlip(
            request=request,
            option_token_ids=option_token_ids,
            prefix_key=keys and fingerprint.of([keys, reads]),
            media_key=keys,
            prefix_tokens=seen,
            suffix_tokens=len(ids),
            nbytes=sum(pixels.nbytes for _, pixels in pictures),
            pictures=pictures,
            ids=ids,
            reads=reads,
        )

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Look at each picture once, then generate or rank; a request whose numbers are broken fails alone."""
        import torch

        from anymal_eval.anymal.decoding import memory_guard

        items = [item for item in batch if isinstance(item, PreparedBlip)]
        with torch.no_grad(), memory_guard(f"answering {len(items)} requests"):
            start = time.perf_counter()
            features = self._look_once(items)
            self.timings["encoding"] += time.perf_counter() - start
            return answer_alike(items, lambda rows: self._compute(rows, features))

    def close(self) -> None:
        """End the decoder processes and let the features go."""
        self._features.clear()
        self._opened.clear()
        self._reader.close()

    def _ids(self, text: str, candidates: Sequence[str]) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
        """The prompt's ids and those that each candidate adds."""
        bare = self.speaker.ids(text)
        if not candidates:
            return tuple(bare), ()
        if self.speaker.seq2seq:
            return tuple(bare), tuple(tuple(self.speaker.ids(candidate)) for candidate in candidates)
        whole = [self.speaker.ids(joined(text, candidate)) for candidate in candidates]
        shared = min(common(bare, ids) for ids in whole)
        option_token_ids = tuple(tuple(ids[shared:]) for ids in whole)
        if not all(option_token_ids):
            raise RequestFailed(f"one of the options {list(candidates)} adds no token to the prompt")
        return tuple(bare[:shared]), option_token_ids

    def _pictures(self, media: Media, frames: int) -> list[tuple[str, Tensor]]:
        key = media_key(media, frames)
        pixels = self._opened.get(key, lambda: self._preprocess(media, frames))
        return [(f"{key}#{place}", picture) for place, picture in enumerate(pixels)]

    def _preprocess(self, media: Media, frames: int) -> Tensor:
        """(k, 3, height, width): a picture, or the frames of a clip."""
        from PIL import Image

        arrays = [self._reader.image(media)] if media.kind == "image" else list(self._reader.video(media, frames))
        pixels: Tensor = self.processor.image_processor(
            images=[Image.fromarray(array) for array in arrays], return_tensors="pt"
        )["pixel_values"]
        return pixels

    def _look_once(self, items: Sequence[PreparedBlip]) -> dict[str, Tensor]:
        """Features of every picture of the batch.

        Each is computed by itself, so that they are the same bits whatever stands beside it and whenever it is kept.
        """
        from anymal_eval.generation.devices import to_device

        parameter = next(self.network.vision_model.parameters())
        found: dict[str, Tensor] = {}
        for item in items:
            for key, pixels in item.pictures:
                if key in found:
                    continue
                if key not in self._features:
                    self._features[key] = self.look(to_device(pixels[None], parameter.device, parameter.dtype))
                    self.looked += 1
                self._features.move_to_end(key)
                found[key] = self._features[key]
        while len(self._features) > KEPT:
            self._features.popitem(last=False)
        return found

    def _compute(self, items: Sequence[PreparedBlip], features: dict[str, Tensor]) -> list[Response]:
        inputs = self._inputs(items, self.tokens(items, features))
        if not items[0].option_token_ids:
            said = self.speaker.generate(inputs, items[0].request.decoding)
            return [said_response(item, one) for item, one in zip(items, said, strict=True)]
        rank = self.speaker.rank_decoded if self.speaker.seq2seq else self.speaker.rank
        scores = rank(inputs, [item.option_token_ids for item in items])
        return [ranked_response(item, own) for item, own in zip(items, scores, strict=True)]

    def _inputs(self, items: Sequence[PreparedBlip], tokens: Sequence[Tensor]) -> dict[str, Tensor]:
        """Pictures and text of each row, padded: ``inputs_embeds`` (b, t, d) and ``attention_mask`` (b, t)."""
        import torch

        table = self.speaker.model.get_input_embeddings()
        device = table.weight.device
        rows = []
        for item, seen in zip(items, tokens, strict=True):
            text = table(torch.tensor(item.ids, dtype=torch.long, device=device))
            rows.append(torch.cat([seen.to(text.device, text.dtype), text]))
        longest = max(map(len, rows))
        embeds = rows[0].new_zeros((len(rows), longest, rows[0].shape[1]))
        mask = torch.zeros((len(rows), longest), dtype=torch.long, device=device)
        for place, row in enumerate(rows):
            used = slice(0, len(row)) if self.speaker.seq2seq else slice(longest - len(row), longest)
            embeds[place, used], mask[place, used] = row, 1
        return {"inputs_embeds": embeds, "attention_mask": mask}


def _text(request: Request) -> str:
    turns = ["".join(part for part in message.parts if isinstance(part, str)) for message in request.messages]
    return "\n\n".join(turn for turn in turns if turn)


def nothing_seen(network: Any) -> Tensor:
    """(0, d): a prompt without pictures."""
    import torch

    width = network.config.text_config.hidden_size
    return torch.zeros((0, width), device=network.device)
