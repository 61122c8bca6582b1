"""Tiny models of every wrapped family with random weights, saved as their real checkpoints are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = """What is the colour of this picture? Question: how many dogs are there Short answer: Answer: yes no
Options: (A) red (B) green (C) blue (D) black true false. a photo of Describe the sound. Is it hateful? In which place
do they stand and why would two men hold an umbrella at night? USER: ASSISTANT: system user assistant You are a careful
helper. Reply briefly. image audio first second third one 1 2 3 4 5 6 7 8 9 0 the cat sat on a mat with an old hat"""
WIDTH = 32
LLAMA: dict[str, Any] = {
    "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 1024,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip


def library() -> Any:
    """transformers, whose classes are partly untyped."""
    import transformers

    return transformers


def tokenizer(first: str | None, last: str | None, special: Any = (), chat: str | None = None) -> Any:
    """A byte-level BPE of some 400 tokens; ``first`` and ``last`` are put around every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    hub = library()

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    marks = ["<pad>", "<s>", "</s>", "<unk>", *(special.values() if isinstance(special, dict) else special)]
    inner.train_from_iterator(
        WORDS.split("\n"),
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=marks, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )  # fmt: skip
    around = " ".join(part for part in (first, "$A", last) if part)
    used = {mark: inner.token_to_id(mark) for mark in (first, last) if mark}
    inner.post_processor = processors.TemplateProcessing(single=around, special_tokens=list(used.items()))
    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return hub.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        extra_special_tokens=special if isinstance(special, dict) else list(special),
        chat_template=chat,
        **named,
    )


def scramble(model: Any, seed: int) -> Any:
    """Weights so large that every input changes every output: those of ``__init__`` would say one thing always."""
    import torch

    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() >= 2:
                inputs = value[0].numel() if "embed" not in name else 1
                scale = 1.6 / inputs**0.5 if "embed" not in name else 1.0
                value.copy_(torch.randn(value.shape, generator=drawn) * scale)
            elif name.endswith("weight"):
                value.copy_(1 + 0.2 * torch.randn(value.shape, generator=drawn))
            else:
                value.copy_(0.2 * torch.randn(value.shape, generator=drawn))
    return model.eval()


def texts(kind: str, size: int) -> Any:
    hub = library()

    ends: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": size}
    if kind == "opt":
        return hub.OPTConfig(
            hidden_size=WIDTH, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=WIDTH,
            max_position_embeddings=256, **ends,
        )  # fmt: skip
    if kind == "t5":
        starts: dict[str, Any] = {"decoder_start_token_id": 0}
        return hub.T5Config(
            d_model=WIDTH, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=size, eos_token_id=2, pad_token_id=0,
            feed_forward_proj="gated-gelu", **starts,
        )  # fmt: skip
    return hub.LlamaConfig(**LLAMA, **ends)


def blip_processor(cls: Any, kind: str, **more: Any) -> Any:
    hub = library()

    words = tokenizer(None if kind == "t5" else "<s>", "</s>" if kind == "t5" else None, ("<image>",))
    pictures = hub.BlipImageProcessorPil(size={"height": 28, "width": 28})
    return cls(pictures, words, num_query_tokens=4, **more)


def blip2(folder: Path, kind: str) -> None:
    hub = library()

    processor = blip_processor(hub.Blip2Processor, kind)
    config = hub.Blip2Config(
        vision_config=VISION,
        qformer_config={
            "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "encoder_hidden_size": WIDTH, "vocab_size": 50,
        },
        text_config=texts(kind, len(processor.tokenizer)).to_dict(),
        num_query_tokens=4,
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    scramble(hub.Blip2ForConditionalGeneration(config), 7).save_pretrained(folder)
    processor.save_pretrained(folder)


def instructblip(folder: Path, kind: str) -> None:
    hub = library()

    reader = tokenizer("<s>", "</s>")
    processor = blip_processor(hub.InstructBlipProcessor, kind, qformer_tokenizer=reader)
    config = hub.InstructBlipConfig(
        vision_config=VISION,
        qformer_config={
            "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "encoder_hidden_size": WIDTH, "vocab_size": len(reader), "max_position_embeddings": 128,
        },
        text_config=texts(kind, len(processor.tokenizer)).to_dict(),
        num_query_tokens=4,
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    scramble(hub.InstructBlipForConditionalGeneration(config), 11).save_pretrained(folder)
    processor.save_pretrained(folder)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "blip2-opt": lambda folder: blip2(folder, "opt"),
    "blip2-t5": lambda folder: blip2(folder, "t5"),
    "instructblip-llama": lambda folder: instructblip(folder, "llama"),
    "instructblip-t5": lambda folder: instructblip(folder, "t5"),
}
