"""Models over several devices: ``-o device_map=...``.

Its value is what transformers takes: a strategy of accelerate, or a JSON object of module names and devices.
"""

from __future__ import annotations

import json
from typing import Any

from anymal_eval.errors import WrongUse

OPTION = "-o device_map="
STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")

DeviceMap = str | dict[str, str | int]


def read_device_map(text: str, device: str, option: str = OPTION) -> DeviceMap | None:
    """The option as transformers takes it; None where it is empty.

    Args:
        text: the option.
        device: of ``--device``, which excludes it.
        option: how the user gives it, for messages.

    Raises:
        WrongUse: it is neither a strategy nor an object, or names a device that is not here; or ``--device`` is given
            too.
    """
    if not text:
        return None
    if device != "auto":
        raise WrongUse(f"--device {device} names one device, {option}{text} several: give one of them")
    if text in STRATEGIES:
        return text
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found:
        example = '{"": "cpu"}'
        strategies = ", ".join(STRATEGIES)
        raise WrongUse(f"{option}{text}: write {strategies} or a JSON object of modules, such as {example}")
    return {str(module): _device(f"{option}{text}", each) for module, each in found.items()}


def placement(model: Any, text: str) -> dict[str, str] | None:
    """The device of each part of a model, for the manifest; None where the option is empty.

    Args:
        model: as it was loaded. One that lies on one device has no map of its own.
        text: the option.
    """
    if not text:
        return None
    found = getattr(model, "hf_device_map", None) or {"": model.device}
    return {str(module): str(device) for module, device in found.items()}


def _device(given: str, named: object) -> str | int:
    import torch

    count = torch.cuda.device_count()
    number = str(named).removeprefix("cuda:")
    if named == "cpu" or (number.isdecimal() and int(number) < count):
        return "cpu" if named == "cpu" else int(number)
    raise WrongUse(f"{given}: there is no device {named!r} here, only the cpu and {count} GPUs")
