"""Decodes the embedded prompts of the AnyMAL network on a vLLM server.

Encoders, projectors and the table of embeddings are here; the language model's layers are on the server, which gets
each prompt as its embeddings (``prompt_embeds`` of vLLM's completions) and returns ids. These are decoded here, so that
texts are those of the network itself.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint
from anymal_eval.checkpoints.locating import locate
from anymal_eval.errors import ServerFailed, WrongUse
from anymal_eval.generation import memory_guard
from anymal_eval.models._prepared import completed_response, ranked_response
from anymal_eval.models._protocols import Prepared
from anymal_eval.models.anymal.network_model import NetworkModel
from anymal_eval.models.anymal.prefixes import PreparedPrompt
from anymal_eval.models.openai.client import Client, Server
from anymal_eval.models.openai.ranking import first_choice, log_probability
from anymal_eval.models.vllm.command import launch_of_llm
from anymal_eval.models.vllm.model import Recovery
from anymal_eval.models.vllm.process import Report, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from anymal_eval.anymal.model import AnyMAL
    from anymal_eval.media.reader import MediaReader
    from anymal_eval.models.anymal.options import Options
    from anymal_eval.models.openai.ranking import Post
    from anymal_eval.records import Request, Response

TIMEOUT_S = 600.0


class EmbeddedDecodingModel(NetworkModel):
    """The network with its language model on a server that lives as long as it. Close it."""

    def __init__(self, network: AnyMAL, reader: MediaReader, name: str, options: Options, report: Report) -> None:
        """Free the language model's layers here, and start the server.

        Raises:
            WrongUse: the network has adapters or is quantized, or the server does not come up.
        """
        _require_plain(network, options)
        launch = launch_of_llm(
            locate(network.config.llm.path, convert=True), network.llm.context,
            precision=options.precision, python=options.python, vllm_args=options.vllm_args,
        )  # fmt: skip
        super().__init__(network, reader, f"{name}-vllm-{fingerprint.of(dict(launch.how))[:12]}", options)
        _drop_layers(network.llm.model)
        self.batch_hint = options.concurrency  # what the server's second death loses
        self.provenance |= {"llm_engine": "vllm", **launch.how}
        self._name = launch.name
        self._process = ServerProcess(launch.command, launch.environment, report)
        try:
            self._process.start(options.start_timeout)
            server = Server(url=self._process.url, key=self._process.key, timeout_s=TIMEOUT_S)
            recovery = Recovery(self._process, options.start_timeout)
            self._client = Client(
                server, concurrency=options.concurrency, recover=recovery.recovered, path="/completions"
            )
            self._client.listed(self._name)
            self.provenance["vllm"] = self._client.version()
        except BaseException:
            self._process.close()
            raise

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Encode each medium once, and have the server continue the embedded prompts, all at once."""
        import torch

        items = [item for item in batch if isinstance(item, PreparedPrompt)]
        with torch.no_grad():
            with memory_guard(f"encoding the media of {len(items)} requests", self.tokens.cached.clear):
                tokens = self._modality_tokens(items)
            with self._timed("decoding"):
                started = [self._start(item, tokens) for item in items]
                try:
                    return [future.result() for future in started]
                finally:
                    for future in started:
                        future.cancel()

    def answer_each(
        self, batch: Sequence[Prepared], more: Callable[[], Sequence[Prepared]]
    ) -> Generator[Sequence[Response], None, None]:
        """As :meth:`answer`: the server itself fills its places."""
        del more
        yield self.answer(batch)

    def refuse(self, request: Request) -> None:
        """Refuse beam search: the server searches no beams from embeddings.

        Raises:
            WrongUse: the protocol wants beams.
        """
        if request.decoding.beams > 1 and not request.candidates:
            raise WrongUse(
                f"-o llm_engine=vllm has no beam search, and the protocol wants {request.decoding.beams} beams"
            )

    def keep_log(self, folder: Path) -> None:
        """Keep the server's log in a run folder."""
        self._process.log.move_to(folder)

    def close(self) -> None:
        """Stop the decoder processes, cancel what is in flight, and end the server."""
        try:
            super().close()
            self._client.close()
        finally:
            self._process.close()

    def _start(self, item: PreparedPrompt, tokens: Mapping[str, Tensor]) -> Future[Response]:
        from anymal_eval.anymal.splice import splice

        llm = self._network.llm
        row = splice(llm, item.prompt, [tokens[one.key] for one in item.inputs])  # (t, d)
        if item.option_token_ids:
            return self._client.start(item.request, {}, _Ranking(item, self._bodies(item, row)).answer)
        decoding = item.request.decoding
        body = {
            **self._body(row),
            "max_tokens": decoding.most_new_tokens,
            "min_tokens": decoding.min_new_tokens,
            "temperature": decoding.temperature,
            "stop_token_ids": sorted(llm.ends),
            **({"stop": list(decoding.stop)} if decoding.stop else {}),
            **({"top_p": decoding.top_p, "seed": decoding.seed} if decoding.temperature > 0 else {}),
        }

        async def generate(post: Post, request: Request, body: Mapping[str, Any]) -> Response:
            choice = first_choice(await post(body))
            ids = choice.get("token_ids")
            if not isinstance(ids, list) or not all(type(one) is int for one in ids):
                raise ServerFailed("the server's answer has no token ids")
            completion = llm.generator.completion(ids, request.decoding)
            if choice.get("finish_reason") == "stop":
                completion = replace(completion, finish="stop")
            return completed_response(item, completion, strip=False)

        return self._client.start(item.request, body, generate)

    def _bodies(self, item: PreparedPrompt, row: Tensor) -> dict[tuple[int, ...], dict[str, Any]]:
        """By what of an option comes before them, the bodies that request the log-probabilities of its next tokens."""
        import torch

        following: dict[tuple[int, ...], set[int]] = {}
        for option in item.option_token_ids:
            for place, token in enumerate(option):
                following.setdefault(tuple(option[:place]), set()).add(token)
        llm = self._network.llm
        return {
            before: {
                **self._body(torch.cat([row, llm.embed(before)]) if before else row),
                "max_tokens": 1,
                "temperature": 0,
                "logprobs": 1,
                "logprob_token_ids": sorted(tokens),
                "return_tokens_as_token_ids": True,
            }
            for before, tokens in following.items()
        }

    def _body(self, row: Tensor) -> dict[str, Any]:
        import torch

        out = BytesIO()
        torch.save(row.detach().cpu().contiguous().clone(), out)
        embeds = base64.b64encode(out.getvalue()).decode("ascii")
        return {"model": self._name, "prompt_embeds": embeds, "return_token_ids": True, "repetition_penalty": 1.0}


class _Ranking:
    """Ranks the options of one request, token by token."""

    def __init__(self, item: PreparedPrompt, bodies: Mapping[tuple[int, ...], Mapping[str, Any]]) -> None:
        self._item, self._bodies = item, bodies

    async def answer(self, post: Post, request: Request, body: Mapping[str, Any]) -> Response:
        """Sum each option's log-probabilities.

        Raises:
            ServerFailed: a reply lacks one.
        """
        del request, body
        found: dict[tuple[int, ...], float] = {}
        for before, own in self._bodies.items():
            rows = first_choice(await post(own)).get("logprobs")
            top = rows.get("top_logprobs") if isinstance(rows, Mapping) else None
            first = top[0] if isinstance(top, list) and top and isinstance(top[0], Mapping) else {}
            for token in own["logprob_token_ids"]:
                found[(*before, token)] = log_probability(first.get(f"token_id:{token}"))
        options = self._item.option_token_ids
        sums = tuple(sum(found[option[: place + 1]] for place in range(len(option))) for option in options)
        return ranked_response(self._item, sums)


def _require_plain(network: AnyMAL, options: Options) -> None:
    from anymal_eval.anymal import lora

    if lora.is_attached(network.llm.model):
        raise WrongUse(
            "-o llm_engine=vllm needs a language model without adapters: merge them by checkpoints merge-lora"
        )
    if options.quantize != "none" or options.device_map:
        raise WrongUse("-o llm_engine=vllm excludes --quantize and device_map: give vLLM's own by -o vllm_args='...'")


def _drop_layers(model: Any) -> None:
    """Free all weights but the table of embeddings, before the server loads them."""
    kept = model.get_input_embeddings().weight
    for parameter in model.parameters():
        if parameter is not kept:
            parameter.data = parameter.data.new_empty(0)
