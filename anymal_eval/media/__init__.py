"""Media: bytes to numpy arrays, lazily, one file a kind.

``MediaReader`` is what models use; ``safe_path`` and the ``row:`` uris of ``location`` are what sources use.
Nothing is imported here: sources are listed in a moment and need neither numpy nor a decoder for that.

    from anymal_eval.media.reader import MediaReader
    from anymal_eval.media.location import ROW, Opener, safe_path
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anymal_eval.media.reader import MediaReader

__all__ = ["MediaReader"]


def __getattr__(name: str) -> Any:
    """``MediaReader``, imported when asked for."""
    if name == "MediaReader":
        from anymal_eval.media.reader import MediaReader

        return MediaReader
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
