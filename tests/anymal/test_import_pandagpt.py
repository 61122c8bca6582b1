"""PandaGPT's delta, tiny and random, against a forward written down here from its tensors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as typed
from numpy.typing import NDArray
from torch import Tensor

from anymal_eval.anymal import checkpoint, importers, tiny
from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.anymal.encoders import Medium
from anymal_eval.anymal.importers import Given
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.generation import TextGenerator
from anymal_eval.records import Decoding
from tests.anymal import imagebind_layout

transformers: Any = typed  # its classes are typed by halves
Draw = Callable[..., NDArray[Any]]
WIDTH, RANK, LAYERS = 48, 32, 2


def delta(suffix: str = "default.") -> dict[str, Tensor]:
    """The trained parameters under their module names; ``suffix`` is that of peft 0.3 and later."""
    generator = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.1

    space = imagebind_layout.SPACE
    found = {"llama_proj.weight": drawn(WIDTH, space), "llama_proj.bias": drawn(WIDTH)}
    for layer in range(LAYERS):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            here = f"llama_model.base_model.model.model.layers.{layer}.self_attn.{name}"
            found |= {f"{here}.lora_A.{suffix}weight": drawn(RANK, WIDTH)}
            found |= {f"{here}.lora_B.{suffix}weight": drawn(WIDTH, RANK)}
    return found


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with ``vicuna/``, ``imagebind_huge.pth`` and ``delta/``; conversions go to a cache of its own."""
    folder = tmp_path_factory.mktemp("pandagpt")
    torch.manual_seed(0)
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = None
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    sizes = {"num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.LlamaConfig(hidden_size=WIDTH, vocab_size=512, **sizes, **ids)
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    model.save_pretrained(folder / "vicuna")
    tokenizer.save_pretrained(folder / "vicuna")
    imagebind_layout.write(folder)
    (folder / "delta").mkdir()
    torch.save(delta(), folder / "delta" / "pytorch_model.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYMAL_EVAL_CACHE", str(folder / "cache"))
        yield folder


def given(parts: Path) -> Given:
    return Given(llm=str(parts / "vicuna"), encoder=str(parts / "imagebind_huge.pth"))


def merged(parts: Path) -> Any:
    """Vicuna with 32 / rank x B A added to its matrices."""
    model = transformers.LlamaForCausalLM.from_pretrained(parts / "vicuna").eval()
    own = delta()
    with torch.no_grad():
        for layer, name in ((layer, name) for layer in range(LAYERS) for name in ("q", "k", "v", "o")):
            here = f"llama_model.base_model.model.model.layers.{layer}.self_attn.{name}_proj.lora_"
            down, up = (own[f"{here}{side}.default.weight"] for side in "AB")
            getattr(model.model.layers[layer].self_attn, f"{name}_proj").weight += 32 / RANK * up @ down
    return model


def logits(parts: Path, vector: Tensor, question: str) -> Tensor:
    """Those of ``<s>### Human: <Img>`` vector ``</Img> question\\n### Assistant:``."""
    model, own = merged(parts), delta()
    tokenizer = transformers.AutoTokenizer.from_pretrained(parts / "vicuna")
    texts = ("### Human: <Img>", f"</Img> {question}\n### Assistant:")
    before, after = (tokenizer(text, add_special_tokens=False).input_ids for text in texts)
    embed = model.get_input_embeddings()
    token = own["llama_proj.weight"] @ vector + own["llama_proj.bias"]
    rows = [embed(torch.tensor([tokenizer.bos_token_id, *before])), token[None], embed(torch.tensor(after))]
    with torch.no_grad():
        found: Tensor = model(inputs_embeds=torch.cat(rows)[None]).logits[0]
    return found


@pytest.mark.parametrize("medium", ["image", "audio", "video", "imu"])
def test_logits_equal_a_second_forward(parts: Path, tmp_path: Path, draw: Draw, medium: Medium) -> None:
    out = parts / "out"
    if not out.exists():
        layout, config = importers.write(parts / "delta", out, given(parts))
        assert "PandaGPT" in layout
        assert sorted(config.modalities) == ["audio", "image", "imu", "video"]
    network = checkpoint.load(out, Loading())
    clip = draw(medium, seconds=5.0, frames=12) if medium != "image" else draw(medium)
    windows = network.preprocess(medium, clip, 48_000 if medium == "audio" else None)
    tokens = network.project(medium, network.encode(medium, [windows]))
    prompt = network.chat.prompt([Turn(role="user", parts=(Slot(medium=medium), "what is it?"))])
    with torch.no_grad():
        found = network(network.rows([prompt], [tokens]))[0]
    tower, length = {"audio": ("audio", 20.0), "imu": ("imu", 5.0)}.get(medium, ("vision", 1.0))
    seen = [torch.stack([window] * 2) if medium == "image" else window for window in windows]
    vectors = [layout_vector(tower, window) * length for window in seen]
    wanted = logits(parts, torch.stack(vectors).mean(0), "what is it?")
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert wanted.std() > 0.1


def layout_vector(tower: str, window: Tensor) -> Tensor:
    return imagebind_layout.second(imagebind_layout.released(), tower, window)[1]


def test_names_of_older_peft_are_read_too(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "delta").mkdir()
    torch.save(delta(suffix=""), tmp_path / "delta" / "pytorch_model.pt")
    importers.write(tmp_path / "delta", tmp_path / "old", given(parts))
    importers.write(parts / "delta", tmp_path / "new", given(parts))
    old, new = (tmp_path / name / "lora" / "adapter_model.safetensors" for name in ("old", "new"))
    assert old.read_bytes() == new.read_bytes()


def test_an_answer_ends_at_three_hashes(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importers.write(parts / "delta", tmp_path / "out", given(parts))
    network = checkpoint.load(tmp_path / "out", Loading())
    seen: list[Decoding] = []
    monkeypatch.setattr(TextGenerator, "generate", lambda self, inputs, decoding, prefix: seen.append(decoding))
    turns = [
        Turn(role="system", parts=("be brief",)),
        Turn(role="user", parts=("hi",)),
        Turn(role="assistant", parts=("yes",)),
        Turn(role="user", parts=("a dog?",)),
    ]
    prompt = network.chat.prompt(turns)
    text = network.chat.tokenizer.decode([token for piece in prompt.pieces for token in piece])
    assert text == "<s>### Human: be brief\nhi\n### Assistant: yes\n### Human: a dog?\n### Assistant:"
    network.generate(network.rows([prompt], [[]]), Decoding(max_new_tokens=2, stop=("x",)))
    assert seen[0].stop == ("x", "###")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"llama_proj.bias": None}, "holds no llama_proj.weight and llama_proj.bias"),
        ({"llama_proj.weight": "code"}, "holds no llama_proj.weight"),
        ({"llama_model.base_model.model.lm_head.weight": torch.ones(2)}, "'base_model.model.lm_head.weight', which is"),
        ({name: None for name in delta() if "lora" in name}, "holds none of PandaGPT's adapters"),
    ],
)
def test_other_files_are_refused(parts: Path, tmp_path: Path, change: dict[str, Any], line: str) -> None:
    state = {name: value for name, value in {**delta(), **change}.items() if value is not None}
    torch.save(state, tmp_path / "pytorch_model.pt")
    with pytest.raises(BadCheckpoint, match=line):
        importers.write(tmp_path, tmp_path / "out", given(parts))


def test_parts_that_are_not_given_are_named(parts: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"language model is Vicuna, version 0: give it with --llm PATH"):
        importers.write(parts / "delta", tmp_path / "out", Given())
    with pytest.raises(WrongUse, match=r"encoder is imagebind_huge\.pth: give it with --encoder PATH"):
        importers.write(parts / "delta", tmp_path / "out", Given(llm=str(parts / "vicuna")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("7B.pth", r"ImageBind-LLM, which adds .*; this network has no such part: import PandaGPT"),
        ("consolidated.00-of-01.pth", r"OneLLM, whose universal projection mixes .*; this network has one projector"),
    ],
)
def test_networks_with_parts_that_ours_has_not_are_refused(tmp_path: Path, file: str, line: str) -> None:
    np.save(tmp_path / "tokenizer.npy", np.zeros(1))
    (tmp_path / file).write_bytes(b"not even read")
    with pytest.raises(BadCheckpoint, match=line):
        importers.write(tmp_path, tmp_path / "out", Given())
