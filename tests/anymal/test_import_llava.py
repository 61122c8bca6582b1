"""LLaVA-1.5 in both layouts, tiny and random: imported, its logits are those of transformers' own class."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as typed
from numpy.typing import NDArray
from torch import Tensor

from anymal_eval.anymal import checkpoint, encoders, importers, tiny
from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.anymal.encoders.clip import Options as ClipOptions
from anymal_eval.anymal.importers import Given
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.checkpoints.loading import BackboneLoading, Loading
from anymal_eval.errors import BadCheckpoint, MediaError, WrongUse

transformers: Any = typed  # its classes are typed by halves
PLACE, SIDE, WIDTH = 511, 32, 48
# conv_vicuna_v1 of haotian-liu/LLaVA, llava/conversation.py
SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)


def llava(folder: Path) -> Any:
    """A random LLaVA of transformers in ``folder``, with the files of llava-hf."""
    torch.manual_seed(0)
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = None
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    text = transformers.LlamaConfig(hidden_size=WIDTH, vocab_size=512, **sizes, **ids)
    vision = transformers.CLIPVisionConfig(hidden_size=32, image_size=SIDE, patch_size=8, **sizes)
    config = transformers.LlavaConfig(text_config=text, vision_config=vision, image_token_index=PLACE)
    model = transformers.LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=2.0 * parameter.shape[1] ** -0.5)
    model.save_pretrained(folder, max_shard_size="60KB")
    tokenizer.save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    transformers.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=square).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """llava-hf's folder, and the model in it."""
    folder = tmp_path_factory.mktemp("llava") / "hf"
    return folder, llava(folder)


def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def ours(network: AnyMAL, question: str) -> Tensor:
    """The logits of our network for a picture and a question."""
    prompt = network.chat.prompt([Turn(role="user", parts=(Slot(medium="image"), question))])
    tokens = network.project("image", network.encode("image", [network.preprocess("image", picture())]))
    with torch.no_grad():
        found: Tensor = network(network.rows([prompt], [tokens]))[0]
    return found


def theirs(model: Any, folder: Path, pixels: Tensor, question: str) -> Tensor:
    """Those of transformers' class, for the prompt written down here."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    before, after = f"{SYSTEM} USER: ", f"\n{question} ASSISTANT:"
    ids = [
        tokenizer.bos_token_id,
        *tokenizer(before, add_special_tokens=False).input_ids,
        *[PLACE] * (SIDE // 8) ** 2,
        *tokenizer(after, add_special_tokens=False).input_ids,
    ]
    with torch.no_grad():
        found: Tensor = model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0]
    return found


def pixels(folder: Path, image: NDArray[np.uint8]) -> Tensor:
    processor = transformers.CLIPImageProcessorPil.from_pretrained(folder)
    found: Tensor = processor([image], return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    return found


def test_llava_hf_has_the_logits_of_transformers(
    released: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = released
    monkeypatch.chdir(tmp_path)
    layout, config = importers.write(folder, tmp_path / "out", Given())
    assert "llava-hf" in layout
    assert list(config.modalities) == ["image"]
    network = checkpoint.load(tmp_path / "out", Loading())
    wanted = theirs(model, folder, pixels(folder, picture()), "what color?")
    torch.testing.assert_close(ours(network, "what color?"), wanted, rtol=0, atol=1e-5)
    assert wanted.std() > 0.1


def original(folder: Path, model: Any, hf: Path, **settings: Any) -> Path:
    """The same network in the authors' layout: pickled shards, an index, and settings named ``mm_*``."""
    folder.mkdir()
    llm = {f"model.{name}": value for name, value in model.model.language_model.state_dict().items()}
    projector = model.model.multi_modal_projector
    layers = {"0": projector.linear_1, "2": projector.linear_2}
    connector = {
        f"model.mm_projector.{place}.{name}": value.detach()
        for place, layer in layers.items()
        for name, value in layer.named_parameters()
    }
    frozen = {"model.vision_tower.vision_tower.vision_model.embeddings.class_embedding": torch.ones(32)}
    shards = [llm, {"lm_head.weight": model.lm_head.weight.detach(), **connector, **frozen}]
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({each: value.clone() for each, value in shard.items()}, folder / name)
        places |= dict.fromkeys(shard, name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    torch.save(connector, folder / "mm_projector.bin")
    config = {
        **json.loads((hf / "config.json").read_text())["text_config"],
        "_name_or_path": "llava-v1.5-7b", "architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava",
        "mm_vision_tower": "openai/clip-vit-large-patch14-336", "mm_projector_type": "mlp2x_gelu",
        "mm_hidden_size": 32, "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False, "mm_use_im_patch_token": False, "image_aspect_ratio": "pad",
        "unfreeze_mm_vision_tower": False, "tune_mm_mlp_adapter": False, "use_mm_proj": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**config, **settings}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((hf / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def clip(released: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder alone, as openai/clip-vit-large-patch14-336 stands beside LLaVA."""
    hf, model = released
    folder = tmp_path_factory.mktemp("clip")
    model.model.vision_tower.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_bytes((hf / "preprocessor_config.json").read_bytes())
    return folder


def padded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A square around a wide picture, of CLIP's mean colour in bytes (122, 116, 104)."""
    height, width, _ = image.shape
    rows = np.full(((width - height) // 2, width, 3), (122, 116, 104), np.uint8)
    return np.concatenate([rows, image, rows])


def test_the_authors_layout_has_the_same_logits(released: tuple[Path, Any], clip: Path, tmp_path: Path) -> None:
    hf, model = released
    folder = original(tmp_path / "llava", model, hf)
    importers.write(folder, tmp_path / "out", Given(encoder=str(clip)))
    network = checkpoint.load(tmp_path / "out", Loading())
    wanted = theirs(model, hf, pixels(hf, padded(picture())), "what color?")
    torch.testing.assert_close(ours(network, "what color?"), wanted, rtol=0, atol=1e-5)
    # without padding another picture is seen
    assert (wanted - theirs(model, hf, pixels(hf, picture()), "what color?")).abs().max() > 1e-2


def test_a_picture_that_makes_too_large_a_square_is_refused(clip: Path) -> None:
    options = ClipOptions(kind="clip", path=str(clip), pad=True)
    encoder = encoders.build(options, BackboneLoading())
    with pytest.raises(MediaError, match="20000 x 2 is too long: filled up to a square"):
        encoder.preprocess(np.zeros((2, 20_000, 3), np.uint8))
    assert encoder.fingerprint != encoders.build(replace(options, pad=False), BackboneLoading()).fingerprint


def test_a_projector_over_a_language_model_of_its_own_folder(
    released: tuple[Path, Any], clip: Path, tmp_path: Path
) -> None:
    hf, model = released
    whole = original(tmp_path / "whole", model, hf)
    importers.write(whole, tmp_path / "first", Given(encoder=str(clip)))
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("mm_projector.bin", "config.json"):
        (alone / name).write_bytes((whole / name).read_bytes())
    with pytest.raises(WrongUse, match=r"alone holds no language model.*--llm PATH"):
        importers.write(alone, tmp_path / "second", Given(encoder=str(clip)))
    importers.write(alone, tmp_path / "second", Given(llm=str(tmp_path / "first" / "llm"), encoder=str(clip)))
    one, two = (checkpoint.load(tmp_path / name, Loading()) for name in ("first", "second"))
    assert torch.equal(ours(one, "what?"), ours(two, "what?"))
    # LoRA over that language model: 0.5 x B A is added to one matrix
    file = whole / "pytorch_model-00001-of-00002.bin"
    tuned = tmp_path / "lora"
    tuned.mkdir()
    named = {f"base_model.model.{name}": value for name, value in torch.load(alone / "mm_projector.bin").items()}
    torch.save(named, tuned / "non_lora_trainables.bin")
    (tuned / "config.json").write_bytes((whole / "config.json").read_bytes())
    target = "model.layers.1.self_attn.q_proj"
    down, up = torch.randn(4, WIDTH) * 0.3, torch.randn(WIDTH, 4) * 0.3
    adapters = {f"base_model.model.{target}.lora_{name}.weight": value for name, value in (("A", down), ("B", up))}
    torch.save(adapters, tuned / "adapter_model.bin")
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 2, "target_modules": ["q_proj"]}
    settings |= {"layers_to_transform": [1], "base_model_name_or_path": "lmsys/vicuna-7b-v1.5"}
    (tuned / "adapter_config.json").write_text(json.dumps(settings))
    importers.write(tuned, tmp_path / "third", Given(llm=str(tmp_path / "first" / "llm"), encoder=str(clip)))
    shard = torch.load(file)
    shard[f"{target}.weight"] += 0.5 * up @ down
    torch.save(shard, file)
    importers.write(whole, tmp_path / "merged", Given(encoder=str(clip)))
    adapted, merged = (checkpoint.load(tmp_path / name, Loading()) for name in ("third", "merged"))
    torch.testing.assert_close(ours(adapted, "what?"), ours(merged, "what?"), rtol=0, atol=1e-5)
    assert (ours(adapted, "what?") - ours(one, "what?")).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("image_aspect_ratio", "anyres", "image_aspect_ratio is 'anyres'; LLaVA-1.5 has 'pad'"),
        ("mm_projector_type", "linear", "mm_projector_type is 'linear'; LLaVA-1.5 has 'mlp2x_gelu'"),
        ("model_type", "llava_mpt", "model_type is 'llava_mpt'"),
        ("mm_vision_tower", None, "names no mm_vision_tower"),
        ("hidden_size", 64, "not as wide as the language model, 64"),
    ],
)
def test_settings_of_other_networks_are_named(
    released: tuple[Path, Any], tmp_path: Path, name: str, value: Any, line: str
) -> None:
    hf, model = released
    folder = original(tmp_path / "llava", model, hf, **{name: value})
    with pytest.raises(BadCheckpoint, match=line):
        importers.write(folder, tmp_path / "out", Given())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["tokenizer.json", "pytorch_model-00002-of-00002.bin", "config.json"])
def test_a_missing_file_is_named(released: tuple[Path, Any], clip: Path, tmp_path: Path, missing: str) -> None:
    hf, model = released
    folder = original(tmp_path / "llava", model, hf)
    (folder / missing).unlink()
    with pytest.raises(BadCheckpoint, match=missing):
        importers.write(folder, tmp_path / "out", Given(encoder=str(clip)))


@pytest.mark.parametrize("missing", ["tokenizer.json", "preprocessor_config.json", "model-00002-of"])
def test_a_missing_file_of_llava_hf_is_named(released: tuple[Path, Any], tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "llava"
    folder.mkdir()
    for file in released[0].iterdir():
        if not file.name.startswith(missing):
            (folder / file.name).symlink_to(file)
    with pytest.raises(BadCheckpoint, match=missing):
        importers.write(folder, tmp_path / "out", Given())


@pytest.mark.parametrize("pads", [True, False])
def test_padding_is_read_from_the_processor_of_transformers_5(
    released: tuple[Path, Any], tmp_path: Path, *, pads: bool
) -> None:
    folder = tmp_path / "llava"
    folder.mkdir()
    for file in released[0].iterdir():
        if file.name not in ("preprocessor_config.json", "processor_config.json"):
            (folder / file.name).symlink_to(file)
    settings = json.loads((released[0] / "preprocessor_config.json").read_text()) | {"do_pad": pads}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    _, made = importers.write(folder, tmp_path / "out", Given())
    encoder = made.modalities["image"].encoder
    assert isinstance(encoder, ClipOptions)
    assert encoder.pad is pads


def test_folders_of_others_name_the_command(released: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(
        BadCheckpoint, match=r"LLaVA-1\.5 in the layout of transformers.*checkpoints import .* --out DIR"
    ):
        importers.refuse(released[0])
    with pytest.raises(WrongUse, match="no checkpoint of a network that can be imported: "):
        importers.write(tmp_path, tmp_path / "out", Given())
    importers.refuse(tmp_path)
