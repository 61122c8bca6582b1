"""The parts of a network that a training may leave as they are, or train at a rate of their own."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import nn

from anymal_eval.anymal.model import LORA, AnyMAL, part_of
from anymal_eval.errors import WrongUse
from anymal_eval.training.plan import ComputeOptions


def require_parts(rates: Iterable[str], frozen: Collection[str], media: Collection[str], *, adapters: bool) -> None:
    """Refuse parts that the training does not have, and a training of none.

    Args:
        rates: parts that ``--rate`` names.
        frozen: those that ``--freeze`` names.
        media: of the network.
        adapters: whether LoRA adapters are trained.

    Raises:
        WrongUse: naming those that there are.
    """
    there = sorted([*media, *([LORA] if adapters else [])])
    for part in (*rates, *frozen):
        if part not in there:
            why = "; train instruct has adapters" if part == LORA else ""
            raise WrongUse(f"{part}: there is no such part to train; there are {', '.join(there)}{why}")
    if set(there) <= set(frozen):
        raise WrongUse(f"--freeze {', '.join(sorted(frozen))}: nothing is left to train")


def require_reached(
    kinds: Collection[str] | None, frozen: Collection[str], media: Collection[str], *, adapters: bool
) -> None:
    """Refuse data that reach nothing of what is trained.

    Args:
        kinds: of the data's media; None where they are not known.
        frozen: parts that ``--freeze`` names.
        media: of the network.
        adapters: whether LoRA adapters are trained.

    Raises:
        WrongUse: naming what is trained and what the data have.
    """
    trained = sorted(set(media) - set(frozen))
    if kinds is None or (adapters and LORA not in frozen) or set(trained) & set(kinds):
        return
    there = ", ".join(sorted(kinds)) or "text alone"
    why = f"--freeze {', '.join(sorted(frozen))} leaves" if frozen else "this training has"
    raise WrongUse(
        f"{why} the projectors of {', '.join(trained)} to train, and the data have {there}: add data of "
        f"{' or '.join(trained)}" + (", or train other parts" if frozen else "")
    )


def enable_gradients(network: AnyMAL, *, adapters: bool, frozen: Collection[str] = ()) -> list[str]:
    """Let the projectors, and the LoRA adapters if ``adapters``, take gradients, and nothing else.

    Args:
        network: as it was loaded.
        adapters: whether its adapters are trained.
        frozen: parts that are not.

    Returns:
        The names of what is trained.
    """
    network.requires_grad_(False)
    for medium, projector in network.projectors.items():
        projector.requires_grad_(medium not in frozen)
    if adapters and LORA not in frozen:
        for name, value in network.llm.model.named_parameters():
            if "lora_" in name:
                value.requires_grad_(True)
    return [name for name, value in network.named_parameters() if value.requires_grad]


def is_16_bit(compute: ComputeOptions) -> bool:
    """Whether trained weights are bf16, with master weights in fp32."""
    return compute.trained_precision == "bf16"


def parameter_groups(
    module: nn.Module, decaying: Collection[str], weight_decay: float, rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """An optimizer's groups: those of the recipe's own rate first, as transformers orders them, then by part.

    Args:
        module: with what is trained.
        decaying: the names of weights that decay.
        weight_decay: of those.
        rates: of parts that have their own.
    """
    groups: list[dict[str, Any]] = []
    for part in (None, *sorted(rates)):  # the same for any order of --rate: states are by place
        for decays in (True, False):
            weights = [
                value
                for name, value in module.named_parameters()
                if value.requires_grad and (name in decaying) == decays and _own(name, rates) == part
            ]
            rate = {} if part is None else {"lr": rates[part]}
            groups.append({"params": weights, "weight_decay": weight_decay if decays else 0.0, **rate})
    return groups


def _own(name: str, rates: Mapping[str, float]) -> str | None:
    part = part_of(name)
    return part if part in rates else None
