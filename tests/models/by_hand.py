"""Processor and class of transformers, used as their documentation does: what the wrappers are compared with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anymal_eval.records import Decoding, Media, Message, Request
from tests.models.example_requests import QUESTIONS, request

SYSTEM = "You are a careful helper. Reply briefly."


class Hand:
    """Processor and class, used as their documentation does."""

    def __init__(self, folder: Path) -> None:
        import transformers

        found: Any = transformers
        self.processor = found.AutoProcessor.from_pretrained(folder)
        # transformers would take another image processor, with other pixels, where torchvision is installed.
        if getattr(self.processor, "image_processor", None) is not None:
            self.processor.image_processor = found.AutoImageProcessor.from_pretrained(folder, backend="pil")
        self.audio = "Audio" in type(self.processor).__name__
        auto = found.AutoModelForMultimodalLM if self.audio else found.AutoModelForImageTextToText
        if "AudioFlamingo3" in type(self.processor).__name__:  # which no Auto class for answers knows
            auto = found.AudioFlamingo3ForConditionalGeneration
        self.model = auto.from_pretrained(folder).eval()

    def block(self, part: str | Media) -> dict[str, Any]:
        from PIL import Image

        if isinstance(part, str):
            return {"type": "text", "text": part}
        if part.kind == "audio":
            return {"type": "audio", "audio": part.uri}
        return {"type": "image", "image": Image.open(part.uri).convert("RGB")}

    def generate(self, example: Request) -> str:
        conversation = [
            {"role": message.role, "content": [self.block(part) for part in message.parts]}
            for message in example.messages
        ]
        inputs = self.processor.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        how = example.decoding
        beams = {"num_beams": how.beams, "length_penalty": how.length_penalty} if how.beams > 1 else {}
        inputs = {name: self._exact(value) for name, value in inputs.items()}
        out = self.model.generate(**inputs, do_sample=False, max_new_tokens=how.max_new_tokens, **beams)
        text: str = self.processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return text.strip()

    @staticmethod
    def _exact(value: Any) -> Any:
        """In fp32, as the model: Llama 4's processor makes bf16."""
        return value.float() if getattr(value, "is_floating_point", bool)() else value

    def scores(self, example: Request) -> list[float]:
        """A plain loop over ``forward``: the whole prompt with each option, sums of log p of the option's tokens."""
        import torch

        bare = self.forward_inputs(example, "")
        totals = []
        for option in example.candidates:
            whole = self.forward_inputs(example, option)
            start, ids = bare["input_ids"].shape[1], whole["input_ids"][0]
            assert ids[:start].equal(bare["input_ids"][0])
            with torch.no_grad():
                logits = self.model(**whole).logits[0].log_softmax(-1)
            totals.append(sum(float(logits[at - 1, ids[at]]) for at in range(start, len(ids))))
        return totals

    def forward_inputs(self, example: Request, option: str) -> Any:
        from PIL import Image

        conversation = [
            {"role": each.role, "content": [self.block(part) for part in each.parts]} for each in example.messages
        ]
        text = self.processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        if option:
            text += option if text[-1].isspace() else f" {option}"
        extra: dict[str, Any] = {}
        if not self.audio:
            extra = {"images": [[Image.open(item.uri).convert("RGB") for item in example.media]]}
        else:
            import soundfile

            extra = {"audio": [soundfile.read(item.uri, dtype="float32")[0] for item in example.media]}
            extra["sampling_rate"] = 16_000
        first = self.processor.tokenizer.bos_token
        inputs = self.processor(
            text=[text], return_tensors="pt", add_special_tokens=not text.startswith(first), **extra
        )
        return {name: self._exact(value) for name, value in inputs.items()}


def conversations(media: Sequence[Media], how: Decoding, count: int = 10) -> list[Request]:
    """One and two media, before and between the words, with and without a system message."""
    prompts = []
    for place in range(count):
        own = [media[place % len(media)]] if place % 3 else [media[place % len(media)], media[(place + 1) % len(media)]]
        prompts.append(
            request(f"c{place}", own, f"{QUESTIONS[place % 8]} {place}", system=SYSTEM * (place % 2), decoding=how)
        )
    between = Message(role="user", parts=("The first ", media[0], " and the second ", media[1], " why?"))
    return [*prompts, Request(id="between", messages=(between,), decoding=how)]
