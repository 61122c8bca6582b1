"""Conversations that share a row have the losses and the gradients of rows of their own."""

from pathlib import Path
from typing import Any

import pytest
import torch

from anymal_eval.anymal.splice import bins, spread
from anymal_eval.anymal.tokenized_conversation import tokenize_conversation
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.training.load import load_network
from anymal_eval.training.packing import NOT_PACKED, can_pack
from anymal_eval.training.run import train
from tests.training.conftest import align_job, assert_close, every_step, logged, losses

TEXTS = ("a red picture", "yes", "a man riding a wave on top of a surfboard " * 5, "no", "blue")


def rows_of(network: Any, folder: Path) -> tuple[list[Any], list[Any]]:
    """Conversations of several turns and lengths, with one or two pictures each."""
    from anymal_eval.anymal.conversation import Slot, Turn

    conversations, media = [], []
    generator = torch.Generator().manual_seed(1)
    for number, text in enumerate(TEXTS):
        turns = [
            Turn(role="user", parts=(Slot(medium="image"), "what is it")),
            Turn(role="assistant", parts=(text,)),
        ]
        if number % 2:
            turns += [Turn(role="user", parts=(Slot(medium="image"),)), Turn(role="assistant", parts=(TEXTS[0],))]
        conversations.append(tokenize_conversation(network.chat, turns, network.llm.ends))
        shapes = [(8, network.llm.width)] * (2 if number % 2 else 1)
        media.append([torch.randn(shape, generator=generator).requires_grad_() for shape in shapes])
    return conversations, media


def test_losses_and_gradients_are_those_of_rows_of_their_own(folder: Path) -> None:
    network = load_network(align_job(folder, folder))
    conversations, media = rows_of(network, folder)
    assert can_pack(network)
    found = []
    for packed in (False, True):
        batch = spread(network.llm, conversations, media, packed=packed)
        each = network.target_losses(batch)
        grads = torch.autograd.grad(each.sum(), [one for given in media for one in given])
        found.append((batch, each, grads))
    (apart, alone, one), (together, packed_losses, other) = found
    assert len(together.mask) < len(apart.mask)
    assert together.mask.numel() < apart.mask.numel()
    lengths = [int(length) for length in apart.mask.sum(1)]
    counts = [conversation.targets for conversation in conversations]
    parts = torch.split(alone, counts)
    expected = torch.cat([parts[number] for row in bins(lengths) for number in row])
    torch.testing.assert_close(packed_losses, expected, rtol=1e-5, atol=1e-5)
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_a_training_has_the_same_losses(folder: Path, tmp_path: Path) -> None:
    for name in ("apart", "packed"):
        train(every_step(align_job(folder, tmp_path / name, steps=3, learning_rate=1e-4, pack=name == "packed")))
    assert_close(losses(tmp_path / "packed"), losses(tmp_path / "apart"), within=1e-5)
    for kind in ("loss_image", "loss_audio"):
        packed, apart = ([row.get(kind, 0.0) for row in logged(tmp_path / name)] for name in ("packed", "apart"))
        assert_close(packed, apart, within=1e-5)
        assert any(packed)


@pytest.mark.parametrize("way", ["positions", "mask"])
def test_a_class_that_mixes_them_is_not_packed(way: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_network(align_job(folder, folder))
    real = network.llm.model.forward

    def forward(**inputs: Any) -> Any:
        if way == "positions":  # a class that counts through the row: neither apart nor in place
            inputs["position_ids"] = None
        else:  # in place, and one row all the same
            inputs["attention_mask"] = torch.ones(inputs["inputs_embeds"].shape[:2], dtype=torch.long)
        return real(**inputs)

    monkeypatch.setattr(network.llm.model, "forward", forward)
    assert not can_pack(network)


def test_it_says_so_and_trains_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anymal_eval.training import run

    class Hearing(SilentConsole):
        def message(self, text: str) -> None:
            lines.append(text)

    lines: list[str] = []
    monkeypatch.setattr(run, "can_pack", lambda network: False)
    train(align_job(folder, tmp_path / "out", steps=1, warmup=0, pack=True), Hearing())
    assert NOT_PACKED in lines
    assert (tmp_path / "out" / "checkpoint").is_dir()
