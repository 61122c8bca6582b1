"""Media: bytes to numpy arrays, lazily, one file per kind.

Models use ``MediaReader``; sources use ``safe_path`` and the ``row:`` uris of ``location``. Nothing is imported here,
so that listing sources needs neither numpy nor a decoder.

    from anymal_eval.media.reader import MediaReader
    from anymal_eval.media.location import ROW, Opener, safe_path
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anymal_eval.media.reader import MediaReader

__all__ = ["MediaReader"]


def __getattr__(name: str) -> Any:
    """``MediaReader``, imported on first access."""
    if name == "MediaReader":
        from anymal_eval.media.reader import MediaReader

        return MediaReader
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
