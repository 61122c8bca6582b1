"""What a network will take of a device's memory: a preset or a checkpoint, and how it is used."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from anymal_eval.anymal import importers
from anymal_eval.anymal.backbones import placed, relocated
from anymal_eval.anymal.checkpoint_facts import CheckpointFacts, is_network, located, read
from anymal_eval.anymal.config import AnyMALConfig, named
from anymal_eval.anymal.memory import Optimizer, Workload, estimate
from anymal_eval.anymal.recomputation import Setting, StepMemory, choose, device_memory
from anymal_eval.checkpoints.loading import Loading, device_named
from anymal_eval.checkpoints.transformers_folder import Quantization


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is forecast; fields as the options of ``checkpoints estimate``.

    Attributes:
        network: a preset, a TOML file, a checkpoint (a folder, or ``OWNER/NAME`` of the hub) or ``anymal:demo``.
        backbones: where frozen parts lie, as :func:`anymal_eval.anymal.backbones.placed` takes it.
        train: the stage of one training step; None for one batch of answers.
        device: need not be here.
        memory: of the device, in GiB; None for a GPU's own.
    """

    network: str
    backbones: Mapping[str, str] = field(default_factory=dict)
    train: Literal["align", "instruct"] | None = None
    batch_size: int = 1
    text_tokens: int = 128
    new_tokens: int = 32
    beams: int = 1
    gradient_checkpointing: Setting = "auto"
    optimizer: Optimizer = "adamw"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    memory: float | None = None
    precision: Literal["fp32", "bf16"] = "bf16"
    quantize: Quantization = "none"

    @property
    def title(self) -> str:
        """All of it on one line."""
        use = "answers" if self.train is None else f"train {self.train}"
        device = "" if self.device == "auto" else f", on {self.device}"
        weights = self.precision if self.quantize == "none" else f"{self.quantize}, else {self.precision}"
        rows = f"batch {self.batch_size}, {self.text_tokens} + {self.new_tokens} tokens of text"
        return f"{self.network}, {use}, {weights}, {rows}{device}"


def forecast(wanted: Forecast) -> StepMemory:
    """The memory of one batch.

    Raises:
        NotInCatalog: no such preset. BadCheckpoint, BadDefinition: not a network's checkpoint or file.
        WrongUse: no such file.
    """
    import torch

    facts = facts_of(wanted.network)
    config = relocated(named(wanted.network), wanted.backbones) if facts is None else placed(facts, wanted.backbones)
    adapters = facts is not None and facts.adapters
    if wanted.train == "align" or (wanted.train is None and not adapters):
        config = replace(config, lora=None)
    workload = Workload(
        rows=wanted.batch_size,
        text_tokens=wanted.text_tokens,
        new_tokens=wanted.new_tokens,
        beams=wanted.beams,
        train=wanted.train is not None,
        optimizer=wanted.optimizer,
    )
    device = device_named(wanted.device)
    precision = torch.float32 if wanted.precision == "fp32" else torch.bfloat16
    loading = Loading(precision=precision, quantize=wanted.quantize, device=device)
    return choose(
        lambda recompute: estimate(config, loading, replace(workload, recompute=recompute)),
        wanted.gradient_checkpointing if wanted.train else "off",
        device_memory(device, wanted.memory),
    )


def network_of(name: str, backbones: Mapping[str, str] | None = None) -> AnyMALConfig:
    """The network of a preset, a TOML file, a checkpoint (a folder, or ``OWNER/NAME`` of the hub) or ``anymal:demo``.

    ``backbones`` says where frozen parts lie, as :func:`anymal_eval.anymal.backbones.placed` takes it.

    Raises:
        NotInCatalog: no such preset. BadCheckpoint, BadDefinition: not a network's checkpoint or file.
        WrongUse: no such file.
    """
    facts = facts_of(name)
    return relocated(named(name), backbones or {}) if facts is None else placed(facts, backbones)


def facts_of(name: str) -> CheckpointFacts | None:
    """What a checkpoint says of itself; None for a preset or a TOML file.

    Raises:
        BadCheckpoint: it is no checkpoint.
    """
    if not is_network(name):
        return None
    folder = located(name)
    importers.refuse(folder)
    return read(folder)
