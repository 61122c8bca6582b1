"""Projectors, which alignment trains: features into the LLM's space. One file each; the file's name is its name.

A file defines ``Options`` (the keys of ``[modalities.*.projector]``) and ``build(options, source_width,
target_width)``.

Shapes, here and in every projector:  b batch · n encoder tokens · e encoder width · k modality tokens · d LLM width
"""

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from anymal_eval.errors import BadDefinition


@dataclass(frozen=True, kw_only=True)
class ProjectorOptions:
    """Options of every projector; ``kind`` is its name."""

    kind: str


class Projector(nn.Module, ABC):
    """Features to modality tokens. Its weights stay in float32; its output is cast to the LLM's type at the splice.

    Attributes:
        tokens: k, or None where it depends on n.
    """

    tokens: int | None

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """(b, n, e) -> (b, k, d)."""


def names() -> list[str]:
    """The names of all projectors, sorted. Imports none."""
    return sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))


def options_of(kind: str) -> type[ProjectorOptions]:
    """The options of a projector.

    Raises:
        BadDefinition: no projector has that name.
    """
    found: type[ProjectorOptions] = _module(kind).Options
    return found


def build(options: ProjectorOptions, source_width: int, target_width: int) -> Projector:
    """A projector with fresh weights.

    Args:
        options: its kind and sizes.
        source_width: e.
        target_width: d.
    """
    projector: Projector = _module(options.kind).build(options, source_width, target_width)
    return projector


def _module(kind: str) -> Any:
    if kind not in names():
        raise BadDefinition(f"no projector named {kind!r}; there are {', '.join(names())}")
    return importlib.import_module(f"anymal_eval.anymal.projectors.{kind}")
