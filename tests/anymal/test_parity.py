"""Our network against transformers' own models with the same weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as typed

from anymal_eval.anymal import tiny
from anymal_eval.anymal.config import AnyMALConfig, read_config
from anymal_eval.anymal.conversation import Prompt
from anymal_eval.anymal.encoders import clap
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.anymal.projectors import perceiver
from anymal_eval.anymal.splice import pad, splice

transformers: Any = typed  # its classes are typed by halves
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT = {
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
IMAGE_TOKEN = 400


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, AnyMAL]:
    """A random LLaVA saved in parts, and our network over those parts."""
    folder = tmp_path_factory.mktemp("llava")
    torch.manual_seed(3)
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=32, patch_size=8, **VISION),
        text_config=transformers.LlamaConfig(vocab_size=512, **TEXT),
        image_token_index=IMAGE_TOKEN,
        image_seq_length=16,
    )
    model = transformers.LlavaForConditionalGeneration(config).eval()
    tiny._enlarge(model.model.language_model)
    torch.nn.init.normal_(model.lm_head.weight, std=0.1)
    with transformers_parts(folder, model) as parts:
        network = parts
    first, second = model.model.multi_modal_projector.linear_1, model.model.multi_modal_projector.linear_2
    network.projectors.load_state_dict(
        {
            "image.first.weight": first.weight, "image.first.bias": first.bias,
            "image.second.weight": second.weight, "image.second.bias": second.bias,
        }
    )  # fmt: skip
    return model, network


class transformers_parts:  # noqa: N801
    """Writes LLaVA's vision tower and language model as checkpoints of their own; gives our network over them."""

    def __init__(self, folder: Path, model: Any) -> None:
        self.folder, self.model = folder, model

    def __enter__(self) -> AnyMAL:
        model, folder = self.model, self.folder
        model.model.vision_tower.save_pretrained(folder / "clip")
        size = {"height": 32, "width": 32}
        transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder / "clip")
        llm = transformers.LlamaForCausalLM(model.config.text_config)
        llm.model.load_state_dict(model.model.language_model.state_dict())
        llm.lm_head.load_state_dict(model.lm_head.state_dict())
        llm.save_pretrained(folder / "llm")
        tiny.tokenizer().save_pretrained(folder / "llm")
        return tiny.network_of(self.config(), folder)

    def __exit__(self, *_: object) -> None: ...

    def config(self) -> AnyMALConfig:
        image = {"encoder": {"kind": "clip", "path": "clip", "layer": -2}, "projector": {"kind": "mlp"}}
        return read_config({"llm": {"path": "llm"}, "modalities": {"image": image}}, "test")


def test_clip_and_mlp_with_llavas_weights_give_llavas_logits(
    llava: tuple[Any, AnyMAL], rng: np.random.Generator
) -> None:
    model, network = llava
    picture = rng.integers(0, 256, (50, 40, 3), dtype=np.uint8)
    pixels = network.preprocess("image", picture)
    before, after = tuple(range(5, 12)), tuple(range(20, 29))
    # one row with a picture in the middle, and a shorter one that begins with it: padding, splice and positions
    prompts = [Prompt(pieces=(before, after), media=("image",)), Prompt(pieces=((), after), media=("image",))]
    media = network.project("image", network.encode("image", [pixels, pixels]))
    batch = network.rows(prompts, [[media[0]], [media[1]]])
    with torch.no_grad():
        ours = network(batch)
        for row, text in enumerate([before, ()]):
            ids = torch.tensor([[*text, *[IMAGE_TOKEN] * 16, *after]])
            theirs = model(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids)).logits[0]
            worst = (ours[row, -len(theirs) :] - theirs).abs().max()
            print(f"largest difference of logits {worst:.2e}, of size {theirs.abs().max():.2f}")
            assert worst < 1e-5
            assert theirs.std() > 0.3


def test_llava_generates_the_same(llava: tuple[Any, AnyMAL], rng: np.random.Generator) -> None:
    from anymal_eval.records import Decoding

    model, network = llava
    pixels = network.preprocess("image", rng.integers(0, 256, (50, 40, 3), dtype=np.uint8))
    text = tuple(range(5, 12))
    media = network.project("image", network.encode("image", [pixels]))
    ours = network.generate(
        network.rows([Prompt(pieces=(text, text), media=("image",))], [media]), Decoding(max_new_tokens=12)
    )
    ids = torch.tensor([[*text, *[IMAGE_TOKEN] * 16, *text]])
    theirs = model.generate(
        input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids),
        max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    assert list(ours[0].ids) == [token for token in theirs[0, ids.shape[1] :].tolist() if token != 2]


def test_perceiver_is_idefics_resampler() -> None:
    from transformers.models.idefics.perceiver import IdeficsPerceiverResampler

    torch.manual_seed(1)
    width, heads, size, tokens, layers = 48, 4, 12, 8, 3
    config = transformers.IdeficsConfig(
        vision_config={"embed_dim": width}, perceiver_config={"qk_layer_norms_perceiver": False}
    )
    theirs = IdeficsPerceiverResampler(config, width, layers, heads, size, tokens)
    for parameter in theirs.parameters():  # norms away from one and zero, so that each is seen
        torch.nn.init.normal_(parameter, std=0.3)
    options = perceiver.Options(
        kind="perceiver", tokens=tokens, layers=layers, width=width, heads=heads, head_size=size
    )
    ours = perceiver.build(options, width, 10)
    names = {
        "context_layer_norm": "features_norm", "latents_layer_norm": "latents_norm", "q_proj": "query",
        "k_proj": "key", "v_proj": "value", "output_proj": "output", "ln": "norm", "fc": "up", "c_proj": "down",
    }  # fmt: skip

    def renamed(name: str) -> str:
        parts = name.split(".")
        if parts[0] != "blocks":
            return name.replace("layer_norm", "norm")
        where = "attentions" if parts[2] == "0" else "feed_forwards"
        return ".".join([where, parts[1], names[parts[3]], *parts[4:]])

    state = {renamed(name): value for name, value in theirs.state_dict().items()}
    own = {name for name in ours.state_dict() if not name.startswith(("output.", "input."))}
    assert set(state) == own
    ours.load_state_dict(state, strict=False)

    features = torch.randn(3, 11, width)
    left, right = features.clone().requires_grad_(), features.clone().requires_grad_()
    mine, reference = ours.resample(left), theirs(right)
    print(f"forward {(mine - reference).abs().max():.2e} of {reference.abs().max():.2f}")
    torch.testing.assert_close(mine, reference, rtol=0, atol=1e-5)
    weight = torch.randn_like(reference)
    (mine * weight).mean().backward()  # type: ignore[no-untyped-call]
    (reference * weight).mean().backward()
    assert left.grad is not None
    assert right.grad is not None
    worst = (left.grad - right.grad).abs().max()
    gradients = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        found = gradients[renamed(name)].grad
        assert found is not None
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0, name
        torch.testing.assert_close(found, parameter.grad, rtol=0, atol=1e-5)
        worst = torch.maximum(worst, (found - parameter.grad).abs().max())
    print(f"gradient {worst:.2e}")
    torch.testing.assert_close(left.grad, right.grad, rtol=0, atol=1e-5)


def test_log_mel_is_claps(network: AnyMAL, rng: np.random.Generator) -> None:
    encoder = network.encoder("audio")
    assert isinstance(encoder, clap.Clap)
    extractor = transformers.ClapFeatureExtractor(feature_size=16, max_length_s=1, truncation="rand_trunc")
    for seconds in (0.3, 0.7, 1.0):
        sound = rng.normal(0, 0.1, int(seconds * 48_000)).astype(np.float32)
        ours = encoder.preprocess(sound, 48_000)
        theirs = extractor(sound, sampling_rate=48_000, return_tensors="pt")["input_features"][0]
        print(f"{seconds} s: {(ours[0] - theirs).abs().max():.1e} dB")
        torch.testing.assert_close(ours[0], theirs, rtol=0, atol=1e-3)


def test_plain_splice_is_the_embedding(network: AnyMAL) -> None:
    prompt = Prompt(pieces=((5, 6, 7),))
    batch = pad([splice(network.llm, prompt, [])])
    with torch.no_grad():
        ids = torch.tensor([[5, 6, 7]])
        torch.testing.assert_close(network(batch), network.llm(input_ids=ids).logits, rtol=0, atol=1e-5)
