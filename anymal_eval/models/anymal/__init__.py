"""The AnyMAL network: a checkpoint folder of `train align` or `train instruct`, or the tiny untrained one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint
from anymal_eval.checkpoints.device_map import placement
from anymal_eval.errors import BadLogits, ContextTooLong, OutOfMemory, RequestFailed
from anymal_eval.models._protocols import PLAIN_WORDING, Model, Prepared
from anymal_eval.models.anymal.media_inputs import Inputs, Tokens, open_cache
from anymal_eval.models.anymal.options import Options as Options
from anymal_eval.models.anymal.options import folder_of
from anymal_eval.models.anymal.prefixes import PrefixBatches, PreparedRequest
from anymal_eval.protocols import Wording
from anymal_eval.records import Decoding, Failure, Media, MediaKind, Request, Response

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.anymal.model import AnyMAL
    from anymal_eval.media.reader import MediaReader

LEAST_TOKENS, MOST_TOKENS = 1024, 16_384  # of a batch


def accepts(options: Options) -> frozenset[MediaKind]:
    """The media that the checkpoint has encoders for; reads its config alone."""
    from anymal_eval.anymal import checkpoint

    return frozenset(checkpoint.read(folder_of(options))[0].modalities)


def load(options: Options) -> Model:
    """Load the network.

    Raises:
        BadCheckpoint: it is not whole, or its backbones are not those it was trained with.
    """
    from anymal_eval.anymal import checkpoint
    from anymal_eval.checkpoints.loading import loading_of
    from anymal_eval.models._media import media_reader

    folder = folder_of(options)
    network = checkpoint.load(folder, loading_of(options))
    name = fingerprint.of([_content(folder), options.precision, options.quantize, checkpoint.fingerprints(network)])
    model = _AnyMAL(network, media_reader(options.media_timeout), f"anymal:{name}", options)
    model.remark = checkpoint.note(folder)
    return model


def over(network: AnyMAL, options: Options) -> Model:
    """The network as it is in memory, while it is trained: its fingerprint says no more than that.

    Closing the model leaves the network as it is.
    """
    from anymal_eval.models._media import media_reader

    return _AnyMAL(network, media_reader(options.media_timeout), "anymal:in-memory", options)


def _content(folder: Path) -> list[str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [f"{file.relative_to(folder)} {fingerprint.of_file(file)}" for file in files]


class _AnyMAL:
    def __init__(self, network: AnyMAL, reader: MediaReader, name: str, options: Options) -> None:
        from anymal_eval.anymal import checkpoint

        cache = open_cache(options.features)
        self._network = network
        self._reader = reader
        self.fingerprint = name
        self.remark = ""
        self.provenance = {
            "device": str(network.llm.device),
            "precision": options.precision,
            "quantize": options.quantize,
            "device_map": placement(network.llm.model, options.device_map),
            "frozen": checkpoint.fingerprints(network),
        }
        self.accepts: frozenset[MediaKind] = network.accepts
        self.wording: Wording = PLAIN_WORDING
        self.timings: dict[str, float] = dict.fromkeys(("encoding", "prefilling", "decoding"), 0.0)
        self.inputs = Inputs(network, reader, cache)
        self.tokens = Tokens(network, cache)
        self.asking = PrefixBatches(network, self._time, share=options.share)
        self.token_budget = _token_budget(network)

    def prepare(self, request: Request) -> PreparedRequest:
        """Decode, preprocess and tokenise."""
        inputs = self.inputs.of(request)
        turns = _turns(request)
        option_token_ids: tuple[tuple[int, ...], ...] = ()
        if request.candidates:
            prompt, option_token_ids = self._network.chat.options(turns, request.candidates, request.answer_prefix)
        else:
            prompt = self._network.chat.prompt(turns, request.answer_prefix)
        head, tail = prompt.split()
        keys = "|".join(item.key for item in inputs) or None
        return PreparedRequest(
            request=request,
            prompt=prompt,
            option_token_ids=option_token_ids,
            inputs=inputs,
            prefix_key=keys and fingerprint.of([keys, head.pieces]),
            media_key=keys,
            prefix_tokens=head.text_tokens + sum(item.tokens for item in inputs),
            suffix_tokens=tail.text_tokens,
            nbytes=sum(item.tensor.nbytes for item in inputs),
        )

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Encode each medium once, then generate or rank; a request whose numbers are broken fails alone."""
        import torch

        from anymal_eval.anymal import decoding

        items = [item for item in batch if isinstance(item, PreparedRequest)]
        found: dict[int, Response] = {}
        try:
            with torch.no_grad(), decoding.memory_guard(f"answering {len(items)} requests"):
                with self._time("encoding"):
                    tokens = self.tokens.of([one for item in items for one in item.inputs])
                for rows in _alike(items).values():
                    said = self._say([items[row] for row in rows], tokens)
                    found.update(zip(rows, said, strict=True))
        except OutOfMemory:
            self.tokens.kept.clear()
            self.asking.forget()
            raise
        return [found[row] for row in range(len(items))]

    def close(self) -> None:
        """End the decoder processes."""
        self._reader.close()

    def _say(self, items: Sequence[PreparedRequest], tokens: Mapping[str, Tensor]) -> list[Response]:
        try:
            return self._compute(items, tokens)
        except (BadLogits, ContextTooLong) as error:
            if len(items) > 1:
                # One broken row must not take its neighbours along.
                return [response for item in items for response in self._say([item], tokens)]
            return [_failed(items[0].request, error)]

    def _compute(self, items: Sequence[PreparedRequest], tokens: Mapping[str, Tensor]) -> list[Response]:
        from anymal_eval.anymal import decoding

        rows, prefix = self.asking.rows(items, tokens)
        with self._time("decoding"):
            if items[0].option_token_ids:
                scores = self._network.rank(rows, [item.option_token_ids for item in items], prefix)
                return [_ranked(*each) for each in zip(items, scores, rows.lengths, strict=True)]
            how = items[0].request.decoding
            said = self._network.generate(
                rows,
                decoding.Decoding(
                    max_new_tokens=how.max_new_tokens,
                    min_new_tokens=how.min_new_tokens,
                    beams=how.beams,
                    length_penalty=how.length_penalty,
                    stop=how.stop,
                ),
                prefix,
            )
        return [
            Response(
                id=item.request.id,
                answer=one.text,
                finish=one.finish,
                prompt_tokens=length,
                new_tokens=one.new_tokens,
            )
            for item, one, length in zip(items, said, rows.lengths, strict=True)
        ]

    @contextmanager
    def _time(self, part: str) -> Iterator[None]:
        import torch

        start = time.perf_counter()
        try:
            yield
        finally:
            if self._network.llm.device.type == "cuda":
                torch.cuda.synchronize()
            self.timings[part] += time.perf_counter() - start


def _token_budget(network: AnyMAL) -> int:
    """Tokens whose caches take a quarter of the free memory: sharing and generating each hold a copy of them."""
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


def _ranked(item: PreparedRequest, scores: tuple[float, ...], length: int) -> Response:
    return Response(
        id=item.request.id,
        option_scores=scores,
        option_tokens=tuple(map(len, item.option_token_ids)),
        finish="ranked",
        prompt_tokens=length,
    )


def _alike(items: Iterable[PreparedRequest]) -> dict[tuple[bool, Decoding | None], list[int]]:
    """Rows that can be computed together: all ranked, or all generated in one way."""
    groups: dict[tuple[bool, Decoding | None], list[int]] = {}
    for row, item in enumerate(items):
        ranked = bool(item.option_token_ids)
        groups.setdefault((ranked, None if ranked else item.request.decoding), []).append(row)
    return groups


def _turns(request: Request) -> list[Any]:
    from anymal_eval.anymal.conversation import Slot, Turn

    return [
        Turn(
            role=message.role,
            parts=tuple(Slot(medium=part.kind) if isinstance(part, Media) else part for part in message.parts),
        )
        for message in request.messages
    ]


def _failed(request: Request, error: RequestFailed) -> Response:
    return Response(id=request.id, failure=Failure(kind=error.kind, message=str(error)))
