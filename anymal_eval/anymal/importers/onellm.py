"""OneLLM (Han et al. 2024, arXiv:2312.03700): recognised, and refused by the reason.

Its released file is ``consolidated.00-of-01.pth`` (csuhan/OneLLM, README.md; huggingface.co/csuhan/OneLLM-7B): one
state dict with all parts. Per the paper, figure 2, a convolution of each medium makes the tokens that one CLIP encodes,
and a universal projection module mixes several experts by a router of the medium. Our network has one projector a
medium, without a router, and none of those convolutions.
"""

from pathlib import Path

from anymal_eval.anymal.importers import Given, Imported
from anymal_eval.errors import BadCheckpoint

LAYOUT = "OneLLM (consolidated.00-of-01.pth; recognised, not imported)"
_FILE = "consolidated.00-of-01.pth"


def is_one(folder: Path) -> bool:
    """Whether a folder has the file of that release."""
    return (folder / _FILE).is_file()


def read(folder: Path, given: Given) -> Imported:
    """Refuse it.

    Raises:
        BadCheckpoint: always.
    """
    del given
    raise BadCheckpoint(
        f"{folder} is OneLLM, whose universal projection mixes several experts by a router of each medium; this "
        "network has one projector a medium and no router: train projectors over an encoder each, and join them"
    )
