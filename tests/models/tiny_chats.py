"""Tiny chat models with random weights, each with its real processor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.models.tiny_models import LLAMA, VISION, WIDTH, library, scramble, texts, tokenizer

PLAIN_CHAT = (
    "{% for m in messages %}{{ m['role'] | upper }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


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


def mllama(folder: Path) -> None:
    hub = library()

    words = tokenizer("<s>", None, ("<|image|>", "<|python_tag|>"))
    pictures = hub.MllamaImageProcessorPil(size={"height": 28, "width": 28}, max_image_tiles=2)
    processor = hub.MllamaProcessor(pictures, words, chat_template="<s>" + PLAIN_CHAT.replace("<image>\n", "<|image|>"))
    text = hub.MllamaTextConfig(
        **{**LLAMA, "num_hidden_layers": 3}, cross_attention_layers=[1], vocab_size=len(words), bos_token_id=1,
        eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    vision = hub.MllamaVisionConfig(
        hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=2, num_global_layers=1, attention_heads=4,
        image_size=28, patch_size=14, max_num_tiles=2, supported_aspect_ratios=[[1, 1], [1, 2], [2, 1]],
        intermediate_layers_indices=[1], vision_output_dim=2 * WIDTH,
    )  # fmt: skip
    config = hub.MllamaConfig(
        vision_config=vision, text_config=text, image_token_index=words.convert_tokens_to_ids("<|image|>")
    )
    scramble(hub.MllamaForConditionalGeneration(config), 31).save_pretrained(folder)
    processor.save_pretrained(folder)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "llava": llava,
    "llava-next": llava_next,
    "idefics3": idefics3,
    "gemma3": gemma3,
    "mllama": mllama,
    "qwen2-audio": qwen2_audio,
}
