"""Files of weights in the layout of their authors, which come without a configuration of transformers."""

from pathlib import Path

from anymal_eval.checkpoints.files import PICKLED, is_any, weight_files
from anymal_eval.checkpoints.locating import CONFIG, locate, locate_file
from anymal_eval.errors import BadCheckpoint
from anymal_eval.paths import expanded


def released_file(path: str) -> Path | None:
    """The file of weights in its authors' layout: the path itself, OWNER/NAME/FILE of a hub, or the one of a folder.

    None where it is a checkpoint of transformers.

    Raises:
        BadCheckpoint: there is no such folder, or it holds several such files.
    """
    place = expanded(path)
    if place.is_file():
        return place
    if is_hub_file(path):
        return locate_file(path)
    folder = place if place.is_dir() else locate(path, convert=True)
    if (folder / CONFIG).is_file():
        return None
    found = weight_files(folder) or sorted(file for pattern in PICKLED for file in folder.glob(pattern))
    if len(found) > 1:
        raise BadCheckpoint(f"{folder} holds {len(found)} files of weights and no {CONFIG}: name one of the files")
    return found[0] if found else None


def is_hub_file(path: str) -> bool:
    """Whether a path that is not on this machine can be a file of a hub repository: OWNER/NAME/FILE.

    >>> is_hub_file("OpenGVLab/InternVideoMAE_models/mae-b/pytorch_model.bin"), is_hub_file("owner/model.pth")
    (True, False)
    """
    is_plain = path.count("/") > 1 and not path.startswith(("/", ".", "~")) and not expanded(path).exists()
    return is_plain and is_any(path.rpartition("/")[2], ("*.safetensors", *PICKLED))
