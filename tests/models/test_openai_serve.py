"""The chat wrapper against ``transformers serve`` with a tiny LLaVA: it says what ``generate`` by hand says."""

import importlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anymal_eval.anymal import tiny
from anymal_eval.checkpoints.loading import quiet
from anymal_eval.models import choose_model
from anymal_eval.records import Decoding, Media, Message, Request
from tests.models.serving import respond

START_S = 120
auto: Any = importlib.import_module("transformers")  # hardly any of it is typed
NEW_TOKENS = 12
CHAT = (
    "{% for m in messages %}{{ m['role'] }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
NARROW = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def write_llava(folder: Path) -> None:
    """A LLaVA with random weights, saved as the real ones are."""
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    processor = auto.LlavaProcessor(
        auto.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    torch.manual_seed(0)
    text = auto.LlamaConfig(
        **NARROW, num_key_value_heads=2, max_position_embeddings=512, vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    network = auto.LlavaForConditionalGeneration(
        auto.LlavaConfig(
            vision_config=auto.CLIPVisionConfig(**NARROW, image_size=28, patch_size=14),
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        )
    )
    with torch.no_grad():
        for value in network.parameters():
            if value.dim() >= 2:
                value.copy_(torch.randn(value.shape) * 1.5 / value[0].numel() ** 0.5)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)


# A torchvision beside a CPU build of torch cannot read pictures, which the server would have it do.
WITHOUT_TORCHVISION = (
    "import sys; sys.modules['torchvision'] = None; from transformers.cli.transformers import main; main()"
)


@dataclass(frozen=True)
class Served:
    folder: Path
    url: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served")
    with quiet():
        write_llava(home / "llava")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (home / "log").open("wb")
    process = subprocess.Popen(
        [
            sys.executable, "-c", WITHOUT_TORCHVISION, "serve",
            "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32", str(home / "llava"),
        ],
        stdout=log, stderr=subprocess.STDOUT,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "hf"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        _until_healthy(process, port, home / "log")
        yield Served(home / "llava", f"http://127.0.0.1:{port}/v1")
    finally:
        process.kill()
        process.wait()
        log.close()


def _until_healthy(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"no server after {START_S} s: {log.read_text()[-2000:]}")


def by_hand(folder: Path, pictures: list[Path], words: list[str]) -> list[str]:
    """The processor and ``generate``, as the model's card would say."""
    with quiet():
        processor = auto.AutoProcessor.from_pretrained(folder)
        processor.image_processor = auto.AutoImageProcessor.from_pretrained(folder, backend="pil")
        network = auto.LlavaForConditionalGeneration.from_pretrained(folder).eval()
    texts = []
    for picture, text in zip(pictures, words, strict=True):
        content = [{"type": "image", "url": str(picture)}, {"type": "text", "text": text}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
        with torch.no_grad():
            ids = network.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
        texts.append(processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


def test_answers_as_generate_by_hand(served: Served, tmp_path: Path) -> None:
    drawn = np.random.default_rng(5)
    pictures, words = [], []
    for number in range(12):
        pictures.append(tmp_path / f"{number}.png")
        Image.fromarray(drawn.integers(0, 256, (28, 28, 3), np.uint8)).save(pictures[-1])
        words.append(f"what color is the picture {'and the dog ' * (number % 3)}?")
    requests = [
        Request(
            id=str(number),
            messages=(Message(role="user", parts=(Media(kind="image", uri=str(picture)), text)),),
            decoding=Decoding(max_new_tokens=NEW_TOKENS),
        )
        for number, (picture, text) in enumerate(zip(pictures, words, strict=True))
    ]
    options = {"url": served.url, "unlisted": "true", "concurrency": "4"}
    model = choose_model(f"openai:{served.folder}", options).load()
    try:
        responses = respond(model, requests)
    finally:
        model.close()
    assert [response.failure for response in responses] == [None] * 12
    expected = by_hand(served.folder, pictures, words)
    assert [response.answer for response in responses] == expected
    assert len(set(expected)) > 6, "the model says the same of every picture"
    assert {response.finish for response in responses} <= {"stop", "length"}
    assert all(response.prompt_tokens and response.new_tokens for response in responses)
