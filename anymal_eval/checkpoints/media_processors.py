"""The parts of a processor that read pictures and clips, the same ones whatever is installed.

transformers has most image processors twice, over PIL and over torchvision, and takes torchvision's where that is
installed. The two resize a little differently, so an installed package would change every answer. Here PIL's is taken
where there is one; torchvision's is for families that have no other, and for clips.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from anymal_eval.checkpoints.files import reason
from anymal_eval.errors import WrongUse

IMAGES, CLIPS = "image_processor", "video_processor"
EXTRA = "pip install 'anymal_eval[vision]'"


def pin_image_backend(processor: Any, folder: Path, *, trust_remote_code: bool) -> Any:
    """The processor with PIL's image processor, where its family has one.

    Args:
        processor: as transformers loaded it.
        folder: of its checkpoint.
        trust_remote_code: as for the processor.
    """
    if image_backend(processor) != "torchvision":
        return processor
    import transformers

    library: Any = transformers  # partly untyped
    found = library.AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=trust_remote_code)
    if getattr(found, "backend", None) == "pil":
        processor.image_processor = found
    return processor


def image_backend(processor: Any) -> str | None:
    """``pil`` or ``torchvision``; None without an image processor, or for one of another kind."""
    found = getattr(getattr(processor, "image_processor", None), "backend", None)
    return found if isinstance(found, str) else None


def limit_pixels(processor: Any, folder: Path, limits: dict[str, int]) -> None:
    """Set how many pixels a picture or a clip has after resizing, as ``AutoProcessor.from_pretrained(**limits)`` does.

    Args:
        processor: loaded and pinned.
        folder: of its checkpoint.
        limits: ``min_pixels`` and ``max_pixels``, those that are to be set.

    Raises:
        WrongUse: its image processor has no such setting, or the limits exclude each other.
    """
    if not limits:
        return
    named = " and ".join(limits)
    if min(limits.values()) < 1 or limits.get("min_pixels", 1) > limits.get("max_pixels", 1 << 62):
        raise WrongUse(f"-o {named}: they must be positive, min_pixels no more than max_pixels")
    parts = {name: part for name in (IMAGES, CLIPS) if (part := getattr(processor, name, None)) is not None}
    able = {name: part for name, part in parts.items() if _settings(part) >= limits.keys()}
    if IMAGES not in able:
        kind = type(parts.get(IMAGES, processor)).__name__
        raise WrongUse(f"-o {named}: {kind} has no such setting; leave it out")
    for name, part in able.items():
        setattr(processor, name, type(part).from_pretrained(folder, **limits))


def torchvision_name() -> str:
    """The name with the version, for the fingerprint of what it computes."""
    return f"torchvision {importlib.metadata.version('torchvision')}"


def torchvision_fault() -> str | None:
    """Why torchvision is installed and cannot be imported; None where it is absent, or can be.

    transformers imports it with every image processor, so that one built for another torch breaks all of them.
    """
    if importlib.util.find_spec("torchvision") is None:
        return None
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        versions = " beside torch ".join(importlib.metadata.version(name) for name in ("torchvision", "torch"))
        return (
            f"torchvision {versions} cannot be imported: {reason(error)}; install the build that belongs to this torch "
            f"({EXTRA}), or uninstall it"
        )
    return None


def _settings(part: Any) -> frozenset[str]:
    """The names that an image or video processor takes."""
    found: dict[str, Any] = getattr(getattr(part, "valid_kwargs", None), "__annotations__", {})
    return frozenset(found)
