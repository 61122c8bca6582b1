"""The AnyMAL network: a checkpoint folder of `train align` or `train instruct`, or the tiny untrained one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from anymal_eval import fingerprint
from anymal_eval.errors import BadCheckpoint, BadLogits, ContextTooLong, RequestFailed
from anymal_eval.models import PLAIN_WORDING, Model, Prepared
from anymal_eval.protocols import Wording
from anymal_eval.records import Decoding, Failure, Media, MediaKind, Request, Response

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.anymal.conversation import Prompt
    from anymal_eval.anymal.model import AnyMAL
    from anymal_eval.media.reader import MediaReader

SAMPLE_RATE = 48_000  # CLAP's; another encoder resamples from it


@dataclass(frozen=True, kw_only=True)
class Options:
    """What ``-o name=value`` may set.

    Attributes:
        checkpoint: the folder (``--model anymal:PATH``).
        device: auto takes a GPU where there is one.
        precision: of the frozen parts; projectors are always fp32.
        quantize: of the language model, by bitsandbytes.
        media_timeout: seconds after which a decoder is given up.
    """

    checkpoint: str
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    quantize: Literal["none", "int8", "nf4"] = "none"
    media_timeout: float = 60.0


def accepts(options: Options) -> frozenset[MediaKind]:
    """The media that the checkpoint has encoders for; reads its config alone."""
    from anymal_eval.anymal import checkpoint

    return frozenset(checkpoint.read(_folder(options))[0].modalities)


def load(options: Options) -> Model:
    """Load the network.

    Raises:
        BadCheckpoint: it is not whole, or its backbones are not those it was trained with.
    """
    import torch

    from anymal_eval.anymal import checkpoint
    from anymal_eval.anymal.llm import Loading
    from anymal_eval.models._media import media_reader

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = torch.float32 if options.precision == "fp32" else torch.bfloat16
    loading = Loading(precision=precision, quantise=options.quantize, device=device)
    folder = _folder(options)
    network = checkpoint.load(folder, loading)
    name = fingerprint.of([_content(folder), options.precision, options.quantize, checkpoint.fingerprints(network)])
    return _AnyMAL(network, media_reader(options.media_timeout), f"anymal:{name}")


def _folder(options: Options) -> Path:
    folder = Path(options.checkpoint)
    if not folder.is_dir():
        raise BadCheckpoint(f"--model anymal:{options.checkpoint}: there is no such folder")
    return folder


def _content(folder: Path) -> list[str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [f"{file.relative_to(folder)} {fingerprint.of_file(file)}" for file in files]


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A request with its media preprocessed and its text tokenised."""

    request: Request
    prompt: Prompt
    tails: tuple[tuple[int, ...], ...]
    inputs: tuple[tuple[str, Tensor], ...]
    prefix_key: str | None
    media_key: str | None
    prefix_tokens: int
    suffix_tokens: int
    nbytes: int


class _AnyMAL:
    def __init__(self, network: AnyMAL, reader: MediaReader, name: str) -> None:
        self._network = network
        self._reader = reader
        self.fingerprint = name
        self.accepts: frozenset[MediaKind] = network.accepts
        self.wording: Wording = PLAIN_WORDING

    def prepare(self, request: Request) -> _Ready:
        """Decode, preprocess and tokenise."""
        inputs = tuple((_key(media, request.frames), self._preprocess(media, request)) for media in request.media)
        turns = _turns(request)
        tails: tuple[tuple[int, ...], ...] = ()
        if request.candidates:
            prompt, tails = self._network.chat.options(turns, request.candidates, request.answer_prefix)
        else:
            prompt = self._network.chat.prompt(turns, request.answer_prefix)
        head, tail = prompt.split()
        keys = "|".join(key for key, _ in inputs) or None
        return _Ready(
            request=request,
            prompt=prompt,
            tails=tails,
            inputs=inputs,
            prefix_key=keys and fingerprint.of([keys, head.pieces]),
            media_key=keys,
            prefix_tokens=head.text_tokens,
            suffix_tokens=tail.text_tokens,
            nbytes=sum(tensor.nbytes for _, tensor in inputs),
        )

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Encode each medium once, then generate or rank; a request whose numbers are broken fails alone."""
        items = [item for item in batch if isinstance(item, _Ready)]
        tokens = self._project(items)
        found: dict[int, Response] = {}
        for rows in _alike(items).values():
            for row, response in zip(rows, self._say([items[row] for row in rows], tokens), strict=True):
                found[row] = response
        return [found[row] for row in range(len(items))]

    def close(self) -> None:
        """End the decoder processes."""
        self._reader.close()

    def _preprocess(self, media: Media, request: Request) -> Tensor:
        network = self._network
        match media.kind:
            case "image":
                return network.preprocess("image", self._reader.image(media))
            case "audio":
                return network.preprocess("audio", self._reader.audio(media, SAMPLE_RATE), SAMPLE_RATE)
            case "video":
                return network.preprocess("video", self._reader.video(media, request.frames))
            case "imu":
                return network.preprocess("imu", self._reader.imu(media))

    def _project(self, items: Sequence[_Ready]) -> Mapping[str, Tensor]:
        """Modality tokens (k, d) by medium, each encoded once."""
        import torch

        tokens: dict[str, Tensor] = {}
        with torch.no_grad():
            for medium in sorted(self._network.accepts):
                inputs = {
                    key: tensor
                    for item in items
                    for media, (key, tensor) in zip(item.request.media, item.inputs, strict=True)
                    if media.kind == medium
                }
                features = self._network.encode(medium, list(inputs.values()))
                tokens.update(zip(inputs, self._network.project(medium, features), strict=True))
        return tokens

    def _say(self, items: Sequence[_Ready], tokens: Mapping[str, Tensor]) -> list[Response]:
        try:
            return self._compute(items, tokens)
        except (BadLogits, ContextTooLong) as error:
            if len(items) > 1:
                # One broken row must not take its neighbours along.
                return [response for item in items for response in self._say([item], tokens)]
            return [_failed(items[0].request, error)]

    def _compute(self, items: Sequence[_Ready], tokens: Mapping[str, Tensor]) -> list[Response]:
        import torch

        from anymal_eval.anymal import decoding

        with torch.no_grad():
            media = [[tokens[key] for key, _ in item.inputs] for item in items]
            rows = self._network.rows([item.prompt for item in items], media)
            if items[0].tails:
                scores = self._network.rank(rows, [item.tails for item in items])
                return [
                    Response(
                        id=item.request.id,
                        option_scores=own,
                        option_tokens=tuple(map(len, item.tails)),
                        finish="ranked",
                        prompt_tokens=length,
                    )
                    for item, own, length in zip(items, scores, rows.lengths, strict=True)
                ]
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


def _alike(items: Iterable[_Ready]) -> dict[tuple[bool, Decoding | None], list[int]]:
    """Rows that can be computed together: all ranked, or all generated in one way."""
    groups: dict[tuple[bool, Decoding | None], list[int]] = {}
    for row, item in enumerate(items):
        ranked = bool(item.tails)
        groups.setdefault((ranked, None if ranked else item.request.decoding), []).append(row)
    return groups


def _key(media: Media, frames: int) -> str:
    cut = f"{media.start_s}-{media.end_s}-{frames}" if media.kind == "video" else f"{media.start_s}-{media.end_s}"
    return f"{media.kind}:{media.uri}:{cut}"


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
