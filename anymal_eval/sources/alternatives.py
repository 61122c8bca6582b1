"""The names under which the same medium lies elsewhere: other endings, other prefixes, other folders."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

ENDINGS = (
    ("wav", "flac", "mp3", "m4a", "ogg", "opus", "aac", "webm", "mp4"),
    ("jpg", "jpeg", "png", "webp"),
    ("mp4", "webm", "mkv", "avi", "mov"),
)
MOST_FILES = 2_000_000
_COCO = re.compile(r"COCO_(?:train|val|test)\d{4}_(\d{12})")
_CUT = re.compile(r"(.+)_(\d+)")  # a YouTube id and the second at which the clip starts


def names_of(path: str) -> Iterator[str]:
    """Names of one medium, the likeliest first, its own before all.

    >>> list(names_of("audio/abc_30.wav"))[:4]
    ['abc_30.wav', 'Yabc_30.wav', 'abc.wav', 'Yabc.wav']
    >>> "000000000042.jpg" in names_of("val2014/COCO_val2014_000000000042.jpg")
    True
    """
    name = PurePosixPath(path)
    ending = name.suffix.lstrip(".").lower()
    endings = next((each for each in ENDINGS if ending in each), (ending,))
    stems = [name.stem]
    if ending in ENDINGS[0] and (found := _CUT.fullmatch(name.stem)):
        clip, start = found[1], int(found[2])
        # AudioSet's own tools put a Y before the id, and write where the clip starts and ends.
        cuts = [
            f"{clip}_{start}.000_{start + 10}.000",
            f"{clip}_{start}_{start + 10}",
            f"{clip}_{1000 * start}_{1000 * start + 10_000}",
        ]
        stems = [each for stem in (name.stem, clip, *cuts) for each in (stem, f"Y{stem}")]
    elif ending in ENDINGS[0]:
        stems.append(f"Y{name.stem}")
    if found := _COCO.fullmatch(name.stem):
        stems.append(found[1])  # as in the folders of 2017
    for end in (ending, *(each for each in endings if each != ending)):
        for stem in stems:
            yield f"{stem}.{end}"


class Index:
    """The files below some folders, by their name in lower case; hidden folders are left out."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Look through the folders; links to folders are followed once each."""
        self.folders = list(folders)
        self._files: dict[str, list[str]] = {}
        count, seen = 0, set[str]()
        for folder in self.folders:
            for place, below, names in os.walk(folder, followlinks=True):
                real = os.path.realpath(place)
                below[:] = [] if real in seen else sorted(each for each in below if not each.startswith("."))
                if real in seen:
                    continue
                seen.add(real)
                count += len(names)
                if count > MOST_FILES:
                    return
                for name in sorted(names):
                    self._files.setdefault(name.lower(), []).append(os.path.join(place, name))

    def named(self, name: str) -> list[str]:
        """The files of that name, whatever its case."""
        return self._files.get(name.lower(), [])

    def like(self, path: str) -> str:
        """The file that is the medium of a path below ``DIR/<task>``; empty where none, or none alone, is.

        Of several files of one name, as ``image.png`` in the folder of each problem, the one whose folder has the
        same name counts.
        """
        parent = PurePosixPath(path).parent.name.lower()
        of_folder = parent.isdecimal() and not PurePosixPath(path).stem.isdecimal()  # the folder's name is the medium's
        for name in names_of(path):
            found = self.named(name)
            near = [each for each in found if Path(each).parent.name.lower() == parent]
            if len(near) == 1 or (len(found) == 1 and not near and not of_folder):
                return (near or found)[0]
            if near:
                return near[0] if len({os.path.realpath(each) for each in near}) == 1 else ""
        return ""

    def folders_named(self, name: str) -> list[Path]:
        """The folders of that name, the shallowest first."""
        found = {Path(file).parent for files in self._files.values() for file in files}
        every = {each for folder in found for each in (folder, *folder.parents) if each.name.lower() == name.lower()}
        inside = [each for each in every if any(each != top and each.is_relative_to(top) for top in self.folders)]
        return sorted(inside, key=lambda each: (len(each.parts), str(each)))
