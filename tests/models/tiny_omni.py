"""Tiny checkpoints, with random weights, of models that take sounds, alone or beside pictures and clips.

Qwen/Qwen2.5-Omni-7B holds the thinker under ``thinker_config`` and ``thinker.`` beside a talker, which writes speech;
nvidia/audio-flamingo-3-hf an ``audio_config``. google/paligemma2-3b-pt-224 has no chat template at all.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.models.tiny_chats import PLAIN_CHAT
from tests.models.tiny_models import LLAMA, VISION, WIDTH, library, tokenizer
from tests.models.tiny_vision import ENDS, QWEN_CHAT, ROPE, TEXT, edges, save, token_id

OMNI_CHAT = QWEN_CHAT.replace("vision_start", "vision_bos").replace("vision_end", "vision_eos")
OMNI_CHAT = OMNI_CHAT.replace("image_pad", "IMAGE").replace("video_pad", "VIDEO")
OMNI_MARKS = {
    "image_token": "<|IMAGE|>", "audio_token": "<|AUDIO|>", "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>", "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>",
}  # fmt: skip
SOUND_CHAT = PLAIN_CHAT.replace("'image'", "'audio'")
# What its authors write before a question; there is no file of it.
PALIGEMMA_CHAT = (
    "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% endif %}{% endfor %}"
    "{% endfor %}{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}"
    "{% endif %}{% endfor %}{% endfor %}"
)


def qwen_omni(folder: Path, *, whole: bool) -> None:
    hub = library()
    words = tokenizer(None, None, OMNI_MARKS)
    thinker: dict[str, Any] = {
        "audio_config": {
            "num_mel_bins": 16, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48,
            "d_model": WIDTH, "output_dim": WIDTH, "max_source_positions": 1500,
        },
        "vision_config": {
            "depth": 2, "hidden_size": WIDTH, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [1], "window_size": 56,
        },
        "text_config": {**TEXT, "vocab_size": len(words), "rope_parameters": ROPE},
    }  # fmt: skip
    thinker |= {
        f"{kind}_token_index": token_id(words, OMNI_MARKS[f"{kind}_token"]) for kind in ("audio", "image", "video")
    }
    for kind in ("audio", "vision"):
        start, end = f"{kind}_start_token_id", f"{kind}_end_token_id"
        thinker |= {start: token_id(words, f"<|{kind}_bos|>"), end: token_id(words, f"<|{kind}_eos|>")}
    processor = hub.Qwen2_5OmniProcessor(
        hub.Qwen2VLImageProcessorPil(size=edges(14)), hub.Qwen2VLVideoProcessor(size=edges(14, frames=8)),
        hub.WhisperFeatureExtractor(feature_size=16, chunk_length=2), words, chat_template=OMNI_CHAT,
    )  # fmt: skip
    if whole:
        talker = {
            "vocab_size": 64, "embedding_size": WIDTH, "hidden_size": WIDTH, "intermediate_size": 48, "head_dim": 8,
            "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
        }  # fmt: skip
        config = hub.Qwen2_5OmniConfig(thinker_config=thinker, talker_config=talker, enable_audio_output=False)
        save(hub.Qwen2_5OmniForConditionalGeneration(config), processor, folder)
    else:
        config = hub.Qwen2_5OmniThinkerConfig(**thinker)
        save(hub.Qwen2_5OmniThinkerForConditionalGeneration(config), processor, folder)


def qwen3_omni_thinker(folder: Path) -> None:
    hub = library()
    words = tokenizer(None, None, OMNI_MARKS)
    ids = {f"{kind}_token_id": token_id(words, OMNI_MARKS[f"{kind}_token"]) for kind in ("audio", "image", "video")}
    for kind in ("audio", "vision"):
        start, end = f"{kind}_start_token_id", f"{kind}_end_token_id"
        ids |= {start: token_id(words, f"<|{kind}_bos|>"), end: token_id(words, f"<|{kind}_eos|>")}
    config = hub.Qwen3OmniMoeThinkerConfig(
        audio_config={
            "num_mel_bins": 16, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48,
            "d_model": WIDTH, "output_dim": WIDTH, "max_source_positions": 1500, "downsample_hidden_size": 16,
        },
        vision_config={
            "depth": 2, "hidden_size": WIDTH, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": WIDTH,
            "patch_size": 14, "deepstack_visual_indexes": [0], "num_position_embeddings": 16,
        },
        text_config={
            **TEXT, "vocab_size": len(words), "head_dim": 8, "num_experts": 2, "num_experts_per_tok": 1,
            "moe_intermediate_size": 16, "rope_parameters": {**ROPE, "mrope_interleaved": True},
        },
        **ids,
    )  # fmt: skip
    processor = hub.Qwen3OmniMoeProcessor(
        hub.Qwen2VLImageProcessorPil(size=edges(14)), hub.Qwen2VLVideoProcessor(size=edges(14, frames=8)),
        hub.WhisperFeatureExtractor(feature_size=16, chunk_length=2), words, chat_template=OMNI_CHAT,
    )  # fmt: skip
    save(hub.Qwen3OmniMoeThinkerForConditionalGeneration(config), processor, folder)


def audio_flamingo(folder: Path) -> None:
    hub = library()
    words = tokenizer(None, None, ("<sound>",))
    sounds = hub.WhisperFeatureExtractor(feature_size=16)
    processor = hub.AudioFlamingo3Processor(sounds, words, chat_template=SOUND_CHAT.replace("<image>\n", "<sound>"))
    config = hub.AudioFlamingo3Config(
        audio_config={
            "num_mel_bins": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
            "hidden_size": WIDTH, "max_source_positions": 1500,
        },
        text_config={"model_type": "qwen2", **TEXT, "vocab_size": len(words)},
        audio_token_id=token_id(words, "<sound>"),
    )  # fmt: skip
    save(hub.AudioFlamingo3ForConditionalGeneration(config), processor, folder)


def paligemma(folder: Path) -> None:
    hub = library()
    words = tokenizer(None, None, ("<image>",))
    pictures = hub.SiglipImageProcessorPil(size={"height": 28, "width": 28})
    pictures.image_seq_length = 4
    processor = hub.PaliGemmaProcessor(pictures, words)
    config = hub.PaliGemmaConfig(
        vision_config={
            "model_type": "siglip_vision_model", **VISION, "projection_dim": WIDTH, "vision_use_head": False,
        },
        text_config={
            "model_type": "gemma2", **LLAMA, **ENDS, "head_dim": 8, "vocab_size": len(processor.tokenizer),
            "sliding_window": 32, "query_pre_attn_scalar": 8,
        },
        projection_dim=WIDTH, hidden_size=WIDTH, image_token_index=token_id(processor.tokenizer, "<image>"),
    )  # fmt: skip
    save(hub.PaliGemmaForConditionalGeneration(config), processor, folder)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "qwen2.5-omni": lambda folder: qwen_omni(folder, whole=True),
    "qwen2.5-omni-thinker": lambda folder: qwen_omni(folder, whole=False),
    "qwen3-omni-thinker": qwen3_omni_thinker,
    "audio-flamingo-3": audio_flamingo,
    "paligemma": paligemma,
}
