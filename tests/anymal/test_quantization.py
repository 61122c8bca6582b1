"""int8 and nf4 through bitsandbytes really quantize, on this CPU too."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as typed
from torch import Tensor
from torch.nn.functional import cosine_similarity

from anymal_eval.anymal import tiny
from anymal_eval.anymal.config import AnyMALConfig, read_config
from anymal_eval.anymal.conversation import Prompt
from anymal_eval.anymal.model import AnyMAL, create
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.checkpoints.quantization import weight_bytes
from anymal_eval.checkpoints.transformers_folder import Quantization
from anymal_eval.records import Decoding

transformers: Any = typed  # its classes are typed by halves
WIDTH, LAYERS = 256, 2
PROMPT = Prompt(pieces=((5, 6, 7), (8, 9)), media=("imu",))
ANSWER = (20, 30, 40)


def config(folder: Path) -> AnyMALConfig:
    shape = {
        "model_type": "llama", "vocab_size": 512, "hidden_size": WIDTH, "intermediate_size": 512,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "max_position_embeddings": 128,
    }  # fmt: skip
    encoder = {"kind": "imu2clip", "path": str(folder / "imu.safetensors"), "width": 16}
    return read_config(
        {
            "llm": {"path": str(folder / "llm"), "architecture": shape},
            "modalities": {"imu": {"encoder": encoder, "projector": {"kind": "linear", "tokens": 8}}},
        },
        "test",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("quantize")
    torch.manual_seed(0)
    own = config(made)
    tiny.write_llm(made / "llm", own.llm)
    # transformers' own initial weights instead of the toy's larger ones: figures then compare with facts/stack.md
    settings = transformers.AutoConfig.from_pretrained(made / "llm")
    transformers.AutoModelForCausalLM.from_config(settings).save_pretrained(made / "llm")
    tiny.write_encoder(made / "imu.safetensors", own.modalities["imu"].encoder)
    return made


def network(folder: Path, quantize: Quantization) -> AnyMAL:
    torch.manual_seed(1)
    return create(config(folder), Loading(quantize=quantize))


def measured(net: AnyMAL) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient that reaches the projector through the frozen language model."""
    motion = torch.linspace(-1, 1, 6000).reshape(1, 6, 1000)
    batch = net.rows([PROMPT], [net.project("imu", net.encode("imu", [motion]))], [ANSWER])
    with torch.no_grad():
        logits = net(batch)[0]
    net.loss(batch).backward()  # type: ignore[no-untyped-call]
    gradient = net.projectors["imu"].get_parameter("layer.weight").grad
    assert gradient is not None
    assert not any(value.grad is not None for value in net.llm.parameters())
    assert not any(value.grad is not None for value in net.encoders.parameters())
    return logits, gradient


@pytest.mark.parametrize(("kind", "bits", "logit_error", "cosine"), [("int8", 8, 0.03, 0.999), ("nf4", 4, 0.3, 0.95)])
def test_quantized_weights_logits_and_gradients(
    folder: Path, kind: Quantization, bits: int, logit_error: float, cosine: float
) -> None:
    plain, small = network(folder, "none"), network(folder, kind)
    linear = LAYERS * (4 * WIDTH * WIDTH + 3 * WIDTH * 512)
    before, after = weight_bytes(plain.llm), weight_bytes(small.llm)
    assert before["fp32"] - after["fp32"] == linear * 4, "every linear layer but the head"
    assert after[kind] == linear * bits // 8
    assert 0 < after["scales"] < linear * bits // 8 * 0.1
    print(f"{kind}: linear layers {linear * 4} -> {after[kind] + after['scales']} bytes")

    logits, gradient = measured(plain)
    near, reached = measured(small)
    error = float((near - logits).norm() / logits.norm())
    found = float(cosine_similarity(reached.flatten(), gradient.flatten(), dim=0))
    print(f"{kind}: relative error of logits {error:.4f}, cosine of the projector's gradient {found:.4f}")
    assert 0 < error < logit_error
    assert found > cosine


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_quantized_models_generate_rank_and_take_adapters(folder: Path, kind: Quantization) -> None:
    from anymal_eval.anymal import lora
    from anymal_eval.anymal.config import LoraConfig

    net = network(folder, kind)
    batch = net.rows([PROMPT], [[torch.randn(8, WIDTH)]])
    generated = net.generate(batch, Decoding(max_new_tokens=3))
    scores = net.rank(batch, [[ANSWER, (5,)]])
    assert generated[0].new_tokens == 3 or generated[0].finish == "stop"
    net.llm.model = lora.attach(net.llm.model, LoraConfig(rank=4, alpha=8))
    assert net.rank(batch, [[ANSWER, (5,)]])[0] == pytest.approx(scores[0], abs=1e-4)
    motion = torch.linspace(-1, 1, 6000).reshape(1, 6, 1000)
    batch = net.rows([PROMPT], [net.project("imu", net.encode("imu", [motion]))], [ANSWER])
    net.loss(batch).backward()  # type: ignore[no-untyped-call]
    reached = [name for name, value in net.llm.named_parameters() if value.grad is not None and value.grad.any()]
    assert reached
    assert all("lora_B" in name for name in reached)
    assert net.projectors["imu"].get_parameter("layer.weight").grad is not None


def test_bf16_halves_the_weights_and_stays_near(folder: Path) -> None:
    plain = network(folder, "none")
    torch.manual_seed(1)
    half = create(config(folder), Loading(precision=torch.bfloat16))
    assert weight_bytes(half.llm)["bf16"] * 2 == sum(value.nbytes for value in plain.llm.parameters())
    motion = torch.linspace(-1, 1, 6000).reshape(1, 6, 1000)
    logits = []
    for net in (plain, half):
        with torch.no_grad():
            logits.append(net(net.rows([PROMPT], [net.project("imu", net.encode("imu", [motion]))]))[0].float())
    error = float((logits[1] - logits[0]).norm() / logits[0].norm())
    print(f"bf16: relative error of logits {error:.4f}")
    assert error < 0.1
    assert next(half.projectors.parameters()).dtype == torch.float32
