"""How wrappers open media: one reader for files and for the rows of hub data sets."""

from anymal_eval.media.reader import MediaReader
from anymal_eval.sources.hub_media import open_media


def media_reader(timeout_s: float) -> MediaReader:
    """A reader that kills a decoder after ``timeout_s`` seconds; close it with the model."""
    return MediaReader(open_media, timeout_s=timeout_s, processes=2)
