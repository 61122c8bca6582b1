"""Files of weights in the layout of their authors, which come without a configuration of transformers."""

from pathlib import Path

from anymal_eval.checkpoints.files import PICKLED, weight_files
from anymal_eval.checkpoints.locating import CONFIG, locate
from anymal_eval.errors import BadCheckpoint
from anymal_eval.paths import expanded


def released_file(path: str) -> Path | None:
    """The file of weights in its authors' layout: the path itself, or the one such file in a folder or repository.

    None where it is a checkpoint of transformers.

    Raises:
        BadCheckpoint: there is no such folder, or it holds several such files.
    """
    place = expanded(path)
    if place.is_file():
        return place
    folder = place if place.is_dir() else locate(path, convert=True)
    if (folder / CONFIG).is_file():
        return None
    found = weight_files(folder) or sorted(file for pattern in PICKLED for file in folder.glob(pattern))
    if len(found) > 1:
        raise BadCheckpoint(f"{folder} holds {len(found)} files of weights and no {CONFIG}: name one of the files")
    return found[0] if found else None
