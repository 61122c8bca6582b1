"""ImageBind-LLM (Han et al. 2023, arXiv:2309.03905): recognised, and refused by the reason.

Its released file is ``7B.pth`` (huggingface.co/Cxxs/ImageBind-LLM, github.com/OpenGVLab/LLaMA-Adapter/issues/66), over
LLaMA in Meta's own files. Per the paper's abstract, the image features "are added to word tokens of all layers in
LLaMA" behind a gate that starts at zero, and are no tokens of the prompt. Our network has nothing of that.
"""

from pathlib import Path

from anymal_eval.anymal.importers import Given, Imported
from anymal_eval.errors import BadCheckpoint

LAYOUT = "ImageBind-LLM (7B.pth; recognised, not imported)"
_FILE = "7B.pth"


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
        f"{folder} is ImageBind-LLM, which adds its image vector to all words in all layers of LLaMA behind gates; "
        "this network has no such part: import PandaGPT, or train a projector over the encoder imagebind"
    )
