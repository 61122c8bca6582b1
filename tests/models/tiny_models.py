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
PLAIN_CHAT = (
    "{% for m in messages %}{{ m['role'] | upper }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


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


def clip_vision() -> dict[str, Any]:
    hub = library()

    found: dict[str, Any] = hub.CLIPVisionConfig(**VISION, projection_dim=16).to_dict()
    return found


def llava(folder: Path, chat: str | None = PLAIN_CHAT) -> None:
    hub = library()

    words = tokenizer("<s>", None, ("<image>",))
    pictures = hub.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = hub.LlavaProcessor(
        pictures, words, patch_size=14, vision_feature_select_strategy="default", chat_template=chat,
        num_additional_image_tokens=1,
    )  # fmt: skip
    config = hub.LlavaConfig(
        vision_config=clip_vision(), text_config=texts("llama", len(words)).to_dict(), image_seq_length=4,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    scramble(hub.LlavaForConditionalGeneration(config), 13).save_pretrained(folder)
    processor.save_pretrained(folder)


def llava_next(folder: Path) -> None:
    hub = library()

    words = tokenizer("<s>", None, ("<image>",))
    shapes = [[28, 56], [56, 28], [56, 56]]
    pictures = hub.LlavaNextImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=shapes
    )
    processor = hub.LlavaNextProcessor(
        pictures, words, patch_size=14, vision_feature_select_strategy="default", chat_template=PLAIN_CHAT,
        num_additional_image_tokens=1,
    )  # fmt: skip
    config = hub.LlavaNextConfig(
        vision_config=clip_vision(), text_config=texts("llama", len(words)).to_dict(), image_grid_pinpoints=shapes,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    scramble(hub.LlavaNextForConditionalGeneration(config), 17).save_pretrained(folder)
    processor.save_pretrained(folder)


def idefics3(folder: Path) -> None:
    hub = library()

    rows = tuple(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2))
    words = tokenizer(None, None, ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *rows))
    pictures = hub.Idefics3ImageProcessorPil(size={"longest_edge": 56}, max_image_size={"longest_edge": 28})
    processor = hub.Idefics3Processor(pictures, words, image_seq_len=1, chat_template="<s>" + PLAIN_CHAT)
    config = hub.Idefics3Config(
        vision_config={**VISION, "model_type": "idefics3_vision"}, text_config=texts("llama", len(words)).to_dict(),
        scale_factor=2, image_token_id=words.convert_tokens_to_ids("<image>"), pad_token_id=0,
    )  # fmt: skip
    scramble(hub.Idefics3ForConditionalGeneration(config), 19).save_pretrained(folder)
    processor.save_pretrained(folder)


def gemma3(folder: Path) -> None:
    hub = library()

    marks = {"image_token": "<soft>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    words = tokenizer("<s>", None, marks)
    processor = hub.Gemma3Processor(
        hub.Gemma3ImageProcessorPil(size={"height": 28, "width": 28}), words, image_seq_length=4,
        chat_template="<s>" + PLAIN_CHAT.replace("<image>\n", "<start_of_image>"),
    )  # fmt: skip
    text = hub.Gemma3TextConfig(
        **LLAMA, head_dim=8, sliding_window=16, layer_types=["sliding_attention", "full_attention"], bos_token_id=1,
        eos_token_id=2, pad_token_id=0, vocab_size=len(words), query_pre_attn_scalar=8,
        tie_word_embeddings=False,  # tied ones would repeat the last token for ever
    )  # fmt: skip
    ids = {f"{name}_index": words.convert_tokens_to_ids(mark) for name, mark in marks.items()}
    config = hub.Gemma3Config(
        text_config=text.to_dict(),
        vision_config=hub.SiglipVisionConfig(**VISION).to_dict(),
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
        **ids,
    )
    scramble(hub.Gemma3ForConditionalGeneration(config), 23).save_pretrained(folder)
    processor.save_pretrained(folder)


def qwen2_audio(folder: Path) -> None:
    hub = library()

    words = tokenizer(None, None, ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|im_start|>", "<|im_end|>"))
    # A second of sound instead of thirty.
    sounds = hub.WhisperFeatureExtractor(feature_size=16, chunk_length=1, sampling_rate=16_000)
    config = hub.Qwen2AudioConfig(
        audio_config={
            "d_model": WIDTH, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48,
            "num_mel_bins": 16, "max_source_positions": 50,
        },
        text_config=hub.Qwen2Config(**LLAMA, bos_token_id=1, eos_token_id=2, vocab_size=len(words)).to_dict(),
        audio_token_index=words.convert_tokens_to_ids("<|AUDIO|>"),
    )  # fmt: skip
    scramble(hub.Qwen2AudioForConditionalGeneration(config), 29).save_pretrained(folder)
    hub.Qwen2AudioProcessor(sounds, words).save_pretrained(folder)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "blip2-opt": lambda folder: blip2(folder, "opt"),
    "blip2-t5": lambda folder: blip2(folder, "t5"),
    "instructblip-llama": lambda folder: instructblip(folder, "llama"),
    "instructblip-t5": lambda folder: instructblip(folder, "t5"),
    "llava": llava,
    "llava-next": llava_next,
    "idefics3": idefics3,
    "gemma3": gemma3,
    "qwen2-audio": qwen2_audio,
}
