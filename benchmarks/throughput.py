"""What the engine saves and costs: medians of the ratios of interleaved rounds.

    python -m benchmarks.throughput [--only shared,hf,options,hf-options,features,waiting,ray,cost]
                                    [--rounds 5] [--write]

``--write`` puts the table into ``benchmarks/README.md``. Exit code 1 where a bound is missed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.anymal.splice import Batch
from anymal_eval.engine import EngineSettings
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.local import run_requests
from anymal_eval.generation import BatchedPrefix, concatenated, padded_embeddings
from anymal_eval.models import PLAIN_WORDING, PlainText, Prepared, anymal, choose_model
from anymal_eval.records import ALL_MEDIA, Decoding, Media, Message, Request, Response
from anymal_eval.store.responses import ResponseLog
from benchmarks import throughput_hf
from benchmarks import throughput_loads as loads
from benchmarks.measuring import Row, interleaved, ratio, shared_rows, table, timed, write_section

HAND_PICTURES = 11  # of a batch of the hand-written loop at most; the engine's budget comes to the same


def run(model: Any, requests: Sequence[Request], size: int | None = None) -> dict[str, Response]:
    found: list[Response] = []
    run_requests(requests, model, found.extend, EngineSettings(batch_size=size))
    return {item.id: item for item in found}


def fresh(folder: Path, **options: Any) -> Any:
    return anymal.load(anymal.Options(checkpoint=str(folder), **options))


def cold(model: Any, requests: Sequence[Request]) -> dict[str, Response]:
    """Run the requests with empty caches."""
    for cache in (model.inputs.cached, model.tokens.cached, model.prefixes):
        cache.clear()
    return run(model, requests)


def turns(request: Request) -> list[Turn]:
    return [
        Turn(role=message.role, parts=tuple(Slot(medium=p.kind) if isinstance(p, Media) else p for p in message.parts))
        for message in request.messages
    ]


def shared(folder: Path, rounds: int) -> list[Row]:
    load = loads.pictures(folder, count=8)
    model = fresh(load.checkpoint)
    network, how = model._network, Decoding(max_new_tokens=10, min_new_tokens=10)
    reader = model._reader

    def tokens_of(media: Sequence[Media]) -> list[torch.Tensor]:
        inputs = [network.preprocess("image", reader.image(one)) for one in media]
        return list(network.project("image", network.encode("image", inputs)))

    @torch.no_grad()
    def plain() -> dict[str, str]:
        texts = {}
        for request in load.requests:
            rows = network.rows([network.chat.prompt(turns(request))], [tokens_of(request.media)])
            texts[request.id] = network.generate(rows, how)[0].text
        return texts

    @torch.no_grad()
    def by_hand() -> dict[str, str]:
        found = {}
        for start in range(0, len(load.requests), 5 * HAND_PICTURES):
            chunk = load.requests[start : start + 5 * HAND_PICTURES]
            split = [network.chat.prompt(turns(request)).split() for request in chunk]
            tokens = tokens_of([request.media[0] for request in chunk[::5]])
            heads = network.rows([head for head, _ in split[::5]], [[one] for one in tokens])
            rows = [row // 5 for row in range(len(chunk))]
            suffixes = padded_embeddings([network.llm.embed(tail.pieces[0]) for _, tail in split])
            whole = concatenated({name: part[rows] for name, part in heads.inputs.items()}, suffixes)
            prefix = BatchedPrefix(prefixes=(network.prefill(heads),), rows=tuple(rows))
            batch = Batch(embeds=whole["inputs_embeds"], mask=whole["attention_mask"])
            texts = network.generate(batch, how, prefix)
            found |= {request.id: one.text for request, one in zip(chunk, texts, strict=True)}
        return found

    ways = {"plain": plain, "by hand": by_hand, "engine": lambda: cold(model, load.requests)}
    seconds, results = interleaved(ways, rounds)
    model.close()
    texts = {name: response.answer for name, response in results["engine"].items()}
    assert texts == results["plain"] == results["by hand"], "the texts differ"
    size = sum(parameter.numel() for parameter in network.llm.parameters()) / 1e6
    pictures = len(load.requests) // 5
    what = f"anymal, {len(load.requests)} questions on {pictures} pictures, {size:.0f} M parameters, same texts"
    return shared_rows(what, seconds)


def options(folder: Path, rounds: int) -> list[Row]:
    load = loads.clips(folder, count=2)
    model = fresh(load.checkpoint)
    network, reader = model._network, model._reader

    @torch.no_grad()
    def alone() -> dict[str, list[float]]:
        scores = {}
        for request in load.requests:
            clip = network.preprocess("video", reader.video(request.media[0], request.frames))
            tokens = network.project("video", network.encode("video", [clip]))
            prompt, tails = network.chat.options(turns(request), request.candidates)
            scores[request.id] = []
            for tail in tails:
                rows = network.rows([prompt], [tokens], [tail])
                logits = network(rows)[0, -len(tail) - 1 : -1].log_softmax(dim=-1)
                scores[request.id].append(float(logits[range(len(tail)), list(tail)].sum()))
        return scores

    seconds, results = interleaved({"alone": alone, "engine": lambda: cold(model, load.requests)}, rounds)
    model.close()
    worst = max(
        abs(one - other)
        for name, own in results["alone"].items()
        for one, other in zip(own, results["engine"][name].option_scores, strict=True)
    )
    assert worst < 1e-4, worst
    what = f"5 full-text options, {len(load.requests)} questions on 2 clips, scores within {worst:.0e}"
    return [Row(f"{what}: against each option alone", ratio(seconds["alone"], seconds["engine"]), 3.0)]


def features(folder: Path, rounds: int) -> list[Row]:
    load, retrained = loads.encoded(folder, count=24)
    number = 0

    def first_run() -> int:
        nonlocal number
        number += 1
        return encoder_calls(load.checkpoint, folder / f"features-{number}")

    def encoder_calls(checkpoint: Path, cache: Path) -> int:
        model = models[checkpoint]
        model.inputs._cache = model.tokens._cache = anymal.open_cache(str(cache))
        before = model._network.encoder_calls
        cold(model, load.requests)
        return int(model._network.encoder_calls - before)

    models = {one: fresh(one) for one in (load.checkpoint, retrained)}
    ways = {"cold": first_run, "warm": lambda: encoder_calls(retrained, folder / f"features-{number}")}
    seconds, results = interleaved(ways, rounds)
    for model in models.values():
        model.close()
    assert results["cold"] > 0
    assert results["warm"] == 0, results
    what = "a retrained projector over cached features (ViT of 43 M, nothing encoded)"
    return [Row(f"{what}: against the cold run", ratio(seconds["cold"], seconds["warm"]), 5.0)]


class Busy:
    """A model with slow preparation (it waits) and slow answers (it computes)."""

    fingerprint, accepts, wording = "busy", ALL_MEDIA, PLAIN_WORDING

    def __init__(self, wait_s: float, products: int) -> None:
        self.wait_s, self.products = wait_s, products
        self.matrix = torch.randn(400, 400) / 20

    def prepare(self, request: Request) -> PlainText:
        time.sleep(self.wait_s)
        return PlainText(request)

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        product = self.matrix
        for _ in range(self.products):
            product = product @ self.matrix
        return [Response(id=item.request.id, answer="yes") for item in batch]

    def close(self) -> None:
        pass


def bare(count: int) -> list[Request]:
    return [Request(id=str(number), messages=(Message(role="user", parts=(f"{number}?",)),)) for number in range(count)]


def waiting(folder: Path, rounds: int) -> list[Row]:
    del folder
    requests, size, threads = bare(640), 16, 4
    computing = Busy(0.0, 60)
    spent = min(timed(lambda: run(computing, requests, size))[0] for _ in range(3))
    source = Busy(spent * threads / len(requests), 0)
    both = Busy(source.wait_s, 60)
    ways = {name: (lambda m=m: run(m, requests, size)) for name, m in
            (("computing", computing), ("waiting", source), ("both", both))}  # fmt: skip
    seconds, _ = interleaved(ways, rounds)
    longer = [max(pair) for pair in zip(seconds["computing"], seconds["waiting"], strict=True)]
    return [
        Row(
            "a source that waits as long as the model computes: against the longer",
            ratio(seconds["both"], longer),
            1.15,
            most=True,
        )
    ]


def ray(folder: Path, rounds: int) -> list[Row]:
    del folder
    from anymal_eval.engine.ray_actor import ModelRecipe
    from anymal_eval.engine.ray_workers import Cluster, Workers

    requests, settings, slow = bare(800), EngineSettings(batch_size=8), {"seconds": "0.05"}
    local = choose_model("constant", slow).load()
    workers = Workers(ModelRecipe(typed="constant", options=slow), Cluster(workers=2))
    answers: list[Response] = []
    workers.run_requests(requests[:32], answers.extend, settings, Clock())  # both have loaded
    found: dict[str, list[Response]] = {}

    def with_ray() -> None:
        found["ray"] = []
        workers.run_requests(requests, found["ray"].extend, settings, Clock())

    def here() -> None:
        found["local"] = []
        run_requests(requests, local, found["local"].extend, settings)

    seconds, _ = interleaved({"local": here, "two workers": with_ray}, rounds)
    workers.close()
    assert sorted(map(str, found["ray"])) == sorted(map(str, found["local"]))
    return [
        Row(
            "two Ray workers where one is bound by waiting: against the local engine",
            ratio(seconds["local"], seconds["two workers"]),
            1.7,
        )
    ]


def cost(folder: Path, rounds: int) -> list[Row]:
    requests, model, number = bare(20_000), choose_model("constant", {}).load(), 0

    def written() -> None:
        nonlocal number
        number += 1
        with ResponseLog(folder / f"{number}.jsonl") as log:
            run_requests(requests, model, log.append, EngineSettings(batch_size=None))

    seconds, _ = interleaved({"engine": written}, rounds)
    with ResponseLog(folder / f"{number}.jsonl") as log:
        assert log.answered == {request.id for request in requests}
    rate = len(requests) / float(np.median(seconds["engine"]))
    return [Row("20,000 requests to `constant`, written and resumable", rate, 2000.0, unit=" a second")]


TABLES: dict[str, Callable[[Path, int], list[Row]]] = {
    "shared": shared, "hf": throughput_hf.shared, "options": options, "hf-options": throughput_hf.options,
    "features": features, "waiting": waiting, "ray": ray, "cost": cost,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(TABLES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows: list[Row] = []
    for name in given.only.split(","):
        print(name, file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            rows += TABLES[name](Path(folder), given.rounds)
    text = table(rows, given.rounds, torch.get_num_threads())
    print(text)
    if given.write:
        write_section("throughput", text)
    for row in rows:
        if not row.met:
            print(f"missed: {row.what}", file=sys.stderr)
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main())
