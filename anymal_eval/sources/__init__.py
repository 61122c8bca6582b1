"""Where rows come from: official files on disk (the demo world's too) first, then copies on the hub.

Task files take what they need from here; nothing heavy is imported.
"""

from anymal_eval.sources import hub_rows
from anymal_eval.sources.captions import AudioCapsFiles, CocoFiles, OwnLines
from anymal_eval.sources.clips import NextQAFiles, StarFiles
from anymal_eval.sources.hateful_memes import HatefulMemesFiles
from anymal_eval.sources.how2qa import How2QAFiles
from anymal_eval.sources.hub import Hub
from anymal_eval.sources.rows import CaptionRow, ClipRow, MemeRow, ScienceQARow, VQARow
from anymal_eval.sources.scienceqa import ScienceQAFiles
from anymal_eval.sources.vqa import TextVQAFiles, VizWizFiles, VQAFiles

__all__ = [
    "AudioCapsFiles",
    "CaptionRow",
    "ClipRow",
    "CocoFiles",
    "HatefulMemesFiles",
    "How2QAFiles",
    "Hub",
    "MemeRow",
    "NextQAFiles",
    "OwnLines",
    "ScienceQAFiles",
    "ScienceQARow",
    "StarFiles",
    "TextVQAFiles",
    "VQAFiles",
    "VQARow",
    "VizWizFiles",
    "hub_rows",
]
