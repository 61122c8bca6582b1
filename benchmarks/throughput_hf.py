"""The rows of ``throughput.py`` about ``hf``: a tiny LLaVA, run by hand-written loops and by the engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from anymal_eval.anymal import tiny
from anymal_eval.checkpoints.loading import library, quiet
from anymal_eval.engine import EngineSettings
from anymal_eval.engine.local import run_requests
from anymal_eval.generation.self_test import ON
from anymal_eval.models import choose_model
from anymal_eval.records import Media, Request, Response
from benchmarks import throughput_loads as loads
from benchmarks.measuring import Row, interleaved, ratio, shared_rows

SIDE, PATCH = 224, 14  # 256 tokens a picture
VISION = {
    "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4,
    "image_size": SIDE, "patch_size": PATCH,
}  # fmt: skip
CHAT = (
    "<s>{% for m in messages %}{{ m['role'] | upper }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}ANSWER:{% endif %}"
)
HAND_PICTURES = 11  # of a batch of the hand-written loop at most; the engine's budget comes to the same
NEW = {"do_sample": False, "max_new_tokens": 10, "min_new_tokens": 10}
FRAMES = 2


def write(folder: Path) -> Path:
    """A LLaVA of some 30 M parameters with random weights, as its class saves it."""
    hub = library()
    words = tiny.tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    pictures = hub.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    processor = hub.LlavaProcessor(
        pictures, words, patch_size=PATCH, vision_feature_select_strategy="default", chat_template=CHAT,
        num_additional_image_tokens=1,
    )  # fmt: skip
    text = hub.LlamaConfig(
        **{key: value for key, value in loads.LLM_30M.items() if key != "model_type"},
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    config = hub.LlavaConfig(
        vision_config=hub.CLIPVisionConfig(**VISION).to_dict(), text_config=text.to_dict(),
        image_token_index=words.convert_tokens_to_ids("<image>"), image_seq_length=(SIDE // PATCH) ** 2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        model = hub.LlavaForConditionalGeneration(config)
        tiny._enlarge(model)
        model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


class Hand:
    """Processor and class as in transformers' documentation, and a loop that shares the prefix of an image."""

    def __init__(self, folder: Path) -> None:
        hub = library()
        with quiet():
            self.processor = hub.AutoProcessor.from_pretrained(folder)
            self.model = hub.LlavaForConditionalGeneration.from_pretrained(folder).eval()
        self.tokenizer = self.processor.tokenizer

    def text(self, request: Request) -> str:
        [message] = request.messages
        content = [
            block
            for part in message.parts
            for block in (
                [{"type": "text", "text": part}]
                if isinstance(part, str)
                else [{"type": "image"}] * (request.frames if part.kind == "video" else 1)
            )
        ]
        conversation = [{"role": message.role, "content": content}]
        rendered: str = self.processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        return rendered

    def inputs(self, texts: Sequence[str], pictures: Sequence[Sequence[Any]]) -> Any:
        return self.processor(
            text=list(texts), images=[list(own) for own in pictures], add_special_tokens=False, return_tensors="pt"
        )

    def decode(self, ids: torch.Tensor) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip()

    @torch.no_grad()
    def one_by_one(self, requests: Sequence[Request]) -> dict[str, str]:
        texts = {}
        for request in requests:
            inputs = self.inputs([self.text(request)], [[picture(request.media[0])]])
            out = self.model.generate(**inputs, **NEW)
            texts[request.id] = self.decode(out[0, inputs["input_ids"].shape[1] :])
        return texts

    @torch.no_grad()
    def shared(self, requests: Sequence[Request], each: int = 5) -> dict[str, str]:
        found = {}
        for start in range(0, len(requests), each * HAND_PICTURES):
            chunk = requests[start : start + each * HAND_PICTURES]
            texts = [self.text(request).split("<image>") for request in chunk]
            heads = self.inputs(
                [f"{head}<image>" for head, _ in texts[::each]], [[picture(one.media[0])] for one in chunk[::each]]
            )
            cache = self.model(**heads, use_cache=True, logits_to_keep=1).past_key_values
            cache.batch_repeat_interleave(each)
            tails = self.tokenizer(
                [tail for _, tail in texts], add_special_tokens=False, padding=True, padding_side="left",
                return_tensors="pt",
            )  # fmt: skip
            ids, mask = (
                torch.cat([heads[name].repeat_interleave(each, dim=0), tails[name]], dim=1)
                for name in ("input_ids", "attention_mask")
            )
            out = self.model.generate(input_ids=ids, attention_mask=mask, past_key_values=cache, **NEW)
            found |= {one.id: self.decode(row) for one, row in zip(chunk, out[:, ids.shape[1] :], strict=True)}
        return found

    @torch.no_grad()
    def scores(self, requests: Sequence[Request], reader: Any) -> dict[str, list[float]]:
        """The scores of the options, each from a whole prompt."""
        found: dict[str, list[float]] = {}
        for request in requests:
            frames = [Image.fromarray(frame) for frame in reader.video(request.media[0], request.frames)]
            text = self.text(request)
            length = self.inputs([text], [frames])["input_ids"].shape[1]
            found[request.id] = []
            for option in request.candidates:
                whole = self.inputs([f"{text} {option}"], [frames])
                logits = self.model(**whole).logits[0, length - 1 : -1].log_softmax(dim=-1)
                ids = whole["input_ids"][0, length:]
                found[request.id].append(float(logits.gather(1, ids[:, None]).sum()))
        return found


def picture(media: Media) -> Any:
    return Image.open(media.uri).convert("RGB")


def cold(model: Any, requests: Sequence[Request]) -> dict[str, Response]:
    """Run the requests with empty caches."""
    model.media._decoded.clear()
    model.preprocessed.clear()
    model.prefix_sharing.clear()
    found: list[Response] = []
    run_requests(requests, model, found.extend, EngineSettings(batch_size=None))
    return {item.id: item for item in found}


def opened(folder: Path, requests: Sequence[Request]) -> Any:
    model: Any = choose_model(f"hf:{folder}", {"device": "cpu"}).load()
    model.self_test(requests)
    assert model.provenance["prefix_sharing"] == ON, model.provenance["prefix_sharing"]
    return model


def shared(folder: Path, rounds: int) -> list[Row]:
    requests = loads.pictures(folder, count=8).requests
    checkpoint = write(folder / "llava")
    model, hand = opened(checkpoint, requests), Hand(checkpoint)
    ways = {
        "plain": lambda: hand.one_by_one(requests),
        "by hand": lambda: hand.shared(requests),
        "engine": lambda: cold(model, requests),
    }
    seconds, results = interleaved(ways, rounds)
    model.close()
    texts = {name: response.answer for name, response in results["engine"].items()}
    assert texts == results["plain"] == results["by hand"], "the texts differ"
    size = sum(parameter.numel() for parameter in hand.model.parameters()) / 1e6
    what = f"hf, {len(requests)} questions on {len(requests) // 5} pictures, LLaVA of {size:.0f} M, same texts"
    return shared_rows(what, seconds)


def options(folder: Path, rounds: int) -> list[Row]:
    made = loads.clips(folder, count=2).requests
    requests = [Request(**{**vars(request), "frames": FRAMES}) for request in made]
    checkpoint = write(folder / "llava")
    model, hand = opened(checkpoint, requests), Hand(checkpoint)
    ways = {"alone": lambda: hand.scores(requests, model._reader), "engine": lambda: cold(model, requests)}
    seconds, results = interleaved(ways, rounds)
    model.close()
    worst = max(
        abs(one - other)
        for name, own in results["alone"].items()
        for one, other in zip(own, results["engine"][name].option_scores, strict=True)
    )
    assert worst < 1e-4, worst
    what = f"hf, 5 full-text options, {len(requests)} questions on 2 clips, scores within {worst:.0e}"
    return [Row(f"{what}: against each option alone", ratio(seconds["alone"], seconds["engine"]), 3.0)]
