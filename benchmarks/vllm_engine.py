"""Compares a real vLLM server with transformers: texts of 200 demo questions, and the AnyMAL network's decoding.

    python benchmarks/vllm_engine.py [--questions 200] [--venv FOLDER]

The environment is that of ``make vllm-environment``. A tiny LLaVA answers demo questions by ``vllm:`` and by ``hf:``;
texts that differ are printed, apart from a character that the end of a text cuts. Then a tiny AnyMAL network answers
40 questions with its language model on a server and in this process: both times, and their ratio, are of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import anymal_eval  # noqa: E402
from anymal_eval.models import choose_model  # noqa: E402
from anymal_eval.records import Decoding, Media, Message, Request  # noqa: E402
from tests.models.vllm import served  # noqa: E402
from tests.models.vllm.network import write_network  # noqa: E402

CUT = "\ufffd"
SOME = 40


def texts(questions: int, python: Path, home: Path) -> None:
    """Print how many texts of demo questions are the same by ``vllm:`` and ``hf:``."""
    served.write_llava(home / "llava")
    options = {"python": str(python), "context": "2048", "vllm_args": served.ARGUMENTS, "precision": "fp32"}
    how: dict[str, Any] = {"data": "demo", "demo_examples": questions, "protocol": "plain"}
    found: dict[str, dict[str, str]] = {}
    for name, given in (("vllm", options), ("hf", {"device": "cpu"})):
        started = time.perf_counter()
        anymal_eval.evaluate(f"{name}:{home / 'llava'}", "vqav2", out=home / name, options=given, **how)
        print(f"{name}: {questions} questions in {time.perf_counter() - started:.0f} s, start included", flush=True)
        lines = (home / name / "vqav2" / "responses.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        found[name] = {row["id"]: row["answer"] for row in rows if "answer" in row}
    ids = found["hf"].keys() | found["vllm"].keys()
    pairs = [(found["vllm"].get(one, "-"), found["hf"].get(one, "-")) for one in sorted(ids)]
    same = sum(ours == theirs for ours, theirs in pairs)
    other = [pair for pair in pairs if pair[0].rstrip(CUT).strip() != pair[1].rstrip(CUT).strip()]
    print(f"{same} of {len(pairs)} texts equal, {len(pairs) - same - len(other)} but for a character cut at the end")
    for pair in other:
        print("other:", *map(repr, pair))


def about(folder: Path, new_tokens: int) -> list[Request]:
    """Questions about four pictures."""
    import numpy as np
    from PIL import Image

    drawn = np.random.default_rng(9)
    files = [folder / f"{number}.png" for number in range(4)]
    for file in files:
        Image.fromarray(drawn.integers(0, 256, (56, 64, 3), np.uint8)).save(file)
    return [
        Request(
            id=str(number),
            messages=(
                Message(role="user", parts=(Media(kind="image", uri=str(files[number % 4])), f"what is {number}?")),
            ),
            decoding=Decoding(max_new_tokens=new_tokens),
        )
        for number in range(SOME)
    ]


def answered(model: Any, requests: Sequence[Request], batch: int) -> tuple[list[str | None], float]:
    """The answers, and the seconds that they took."""
    started = time.perf_counter()
    responses = []
    for start in range(0, len(requests), batch):
        responses += model.answer([model.prepare(each) for each in requests[start : start + batch]])
    return [response.answer for response in responses], time.perf_counter() - started


def network(python: Path, home: Path) -> None:
    """Print the seconds of 40 answers of the AnyMAL network, decoded on a server and here."""
    checkpoint = write_network(home / "network")
    served_options = {"llm_engine": "vllm", "python": str(python), "vllm_args": served.ARGUMENTS}
    models = {
        name: choose_model(f"anymal:{checkpoint}", {"device": "cpu", **given}).load()
        for name, given in (("vllm", served_options), ("here", {}))
    }
    try:
        for new_tokens in (16, 64):
            requests = about(home, new_tokens)
            answered(models["vllm"], [replace(each, id=f"warm {each.id}") for each in requests[:8]], 8)
            ours, on_server = answered(models["vllm"], requests, SOME)
            one, single = answered(models["here"], requests, 1)
            batch, batched = answered(models["here"], requests, 16)
            same = sum(a == b for a, b in zip(ours, one, strict=True))
            in_batches = sum(a == b for a, b in zip(batch, one, strict=True))
            print(f"{SOME} answers of {new_tokens} tokens: {on_server:.1f} s on the server, {same} texts equal")
            print(f"    here one by one: {single:.1f} s, {single / on_server:.1f} times")
            print(f"    here in batches of 16: {batched:.1f} s, {batched / on_server:.1f} times, {in_batches} equal")
    finally:
        for model in models.values():
            model.close()


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--venv")
    arguments = parser.parse_args()
    if arguments.venv:
        os.environ["ANYMAL_EVAL_VLLM_VENV"] = arguments.venv
    python = served.python_with_vllm()
    if python is None:
        sys.exit("there is no environment with vLLM: make vllm-environment")
    os.environ.update(served.SERVER_ENVIRONMENT)
    with tempfile.TemporaryDirectory() as home:
        texts(arguments.questions, python, Path(home))
        network(python, Path(home))


if __name__ == "__main__":
    main()
