"""Gemma 3n, Phi-4-multimodal and Granite Speech answer as their class does by hand, where their packages are there."""

import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.records import Decoding, Media, Request
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import GREEDY, OPTIONS, QUESTIONS, answers, medium, request, respond
from tests.models.tiny_vision import needs_torchvision

needs_timm = pytest.mark.skipif(
    find_spec("timm") is None or find_spec("torchvision") is None, reason="timm, or its torchvision, is not installed"
)
BEAMS3 = Decoding(max_new_tokens=8, beams=3, length_penalty=-1.0)


class SpeechHand:
    """Processor and class, as their documentation uses them."""

    def __init__(self, folder: Path, name: str) -> None:
        import transformers

        found: Any = transformers
        self.processor = found.AutoProcessor.from_pretrained(folder)
        if name == "Gemma3nForConditionalGeneration":  # the family's own without torchvision
            self.processor.image_processor = found.AutoImageProcessor.from_pretrained(folder, backend="pil")
        self.model = getattr(found, name).from_pretrained(folder).eval()

    def inputs(self, example: Request, option: str = "") -> dict[str, Any]:
        import soundfile
        from PIL import Image

        content = [{"type": part.kind} if isinstance(part, Media) else {"type": "text", "text": part}
                   for part in example.messages[-1].parts]  # fmt: skip
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True,
            chat_template=self.processor.chat_template or self.processor.tokenizer.chat_template,
        )  # fmt: skip
        if option:
            text += option if text[-1].isspace() else f" {option}"
        given: dict[str, Any] = {}
        if images := [Image.open(each.uri).convert("RGB") for each in example.media if each.kind == "image"]:
            given["images"] = [images]
        if sounds := [soundfile.read(each.uri, dtype="float32")[0] for each in example.media if each.kind == "audio"]:
            given["audio"] = sounds
        first = self.processor.tokenizer.bos_token
        made = self.processor(text=[text], return_tensors="pt", add_special_tokens=not text.startswith(first), **given)
        return dict(made)

    def generate(self, example: Request) -> str:
        how, inputs = example.decoding, self.inputs(example)
        beams = {"num_beams": how.beams, "length_penalty": how.length_penalty} if how.beams > 1 else {}
        out = self.model.generate(**inputs, do_sample=False, max_new_tokens=how.max_new_tokens, **beams)
        return str(self.processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()

    def scores(self, example: Request) -> list[float]:
        """A plain loop over ``forward``: sums of log p of each option's tokens."""
        import torch

        start, totals = self.inputs(example)["input_ids"].shape[1], []
        for option in example.candidates:
            whole = self.inputs(example, option)
            ids = whole["input_ids"][0]
            with torch.no_grad():
                logits = self.model(**whole).logits[0].log_softmax(-1)
            totals.append(sum(float(logits[at - 1, ids[at]]) for at in range(start, len(ids))))
        return totals


def require_same(model: Any, hand: SpeechHand, media: list[list[Media]], *, beams: bool = True) -> None:
    requested = [request(f"q{n}", own, QUESTIONS[n], decoding=GREEDY) for n, own in enumerate(media)]
    expected = [hand.generate(each) for each in requested]
    assert answers(model, requested, 1) == expected
    assert answers(model, requested, 16) == expected
    ranked = [request(f"r{n}", own, QUESTIONS[1], candidates=OPTIONS[n % 2]) for n, own in enumerate(media[:4])]
    by_hand = [hand.scores(each) for each in ranked]
    for response, scores in zip(respond(model, ranked, 16), by_hand, strict=True):
        assert response.option_scores == pytest.approx(scores, abs=1e-4)
    assert len({round(scores[0], 2) for scores in by_hand}) == 4, "equal scores prove nothing"
    if beams:
        searched = request("b", media[0], QUESTIONS[3], decoding=BEAMS3)
        assert answers(model, [searched]) == [hand.generate(searched)]


def seen_and_heard(pictures: list[Path], sounds: list[Path]) -> list[list[Media]]:
    seen, heard = [medium(file) for file in pictures[:2]], [medium(file, "audio") for file in sounds[:3]]
    return [[seen[0]], [heard[0]], [seen[0], heard[0]], [seen[1]], [heard[2]]]


@needs_timm
def test_gemma_3n_sees_and_hears(opened: Open, tiny: Tiny, pictures: list[Path], sounds: list[Path]) -> None:
    model = opened("hf", "gemma3n")
    assert model.accepts == {"image", "video", "audio"}
    require_same(
        model, SpeechHand(tiny("gemma3n"), "Gemma3nForConditionalGeneration"), seen_and_heard(pictures, sounds)
    )


@needs_torchvision
def test_phi_4_sees_and_hears(opened: Open, tiny: Tiny, pictures: list[Path], sounds: list[Path]) -> None:
    model = opened("hf", "phi4")
    assert model.accepts == {"image", "video", "audio"}
    require_same(model, SpeechHand(tiny("phi4"), "Phi4MultimodalForCausalLM"), seen_and_heard(pictures, sounds))


@pytest.fixture
def mel_spectrogram(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchaudio's, or where it is not there (no build fits torch's for CPUs) the same filters over ``torch.stft``."""
    if find_spec("torchaudio") is None:
        import torch
        import transformers.models.granite_speech.feature_extraction_granite_speech as features
        from transformers.audio_utils import mel_filter_bank
        from transformers.utils import import_utils

        class MelSpectrogram(torch.nn.Module):
            def __init__(self, *, sample_rate: int, n_fft: int, win_length: int, hop_length: int, n_mels: int) -> None:
                super().__init__()
                self.shape = (n_fft, hop_length, win_length)
                bank = mel_filter_bank(n_fft // 2 + 1, n_mels, 0.0, sample_rate / 2, sample_rate)
                self.bank = torch.from_numpy(bank).float()

            def forward(self, waves: Any) -> Any:
                window = torch.hann_window(self.shape[2])
                bins = torch.stft(waves, *self.shape, window, return_complex=True).abs() ** 2
                return (bins.transpose(-1, -2) @ self.bank).transpose(-1, -2)

        known: Any = import_utils.BACKENDS_MAPPING
        monkeypatch.setitem(known, "torchaudio", (lambda: True, known["torchaudio"][1]))
        stand_in = types.SimpleNamespace(transforms=types.SimpleNamespace(MelSpectrogram=MelSpectrogram))
        monkeypatch.setattr(features, "torchaudio", stand_in, raising=False)


@pytest.mark.usefixtures("mel_spectrogram")
def test_granite_speech_hears(opened: Open, tiny: Tiny, sounds: list[Path]) -> None:
    model = opened("hf_audio", "granite-speech")
    assert model.accepts == {"audio"}
    heard = [medium(file, "audio") for file in sounds]
    hand = SpeechHand(tiny("granite-speech"), "GraniteSpeechForConditionalGeneration")
    require_same(model, hand, [[each] for each in heard])
