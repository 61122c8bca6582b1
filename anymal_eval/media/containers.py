"""Containers that FFmpeg opens, in a decoder process: no network, no second file, no playlist."""

import os
from typing import Any, BinaryIO

import av
from av.error import FFmpegError

from anymal_eval.media.broken import Truncated
from anymal_eval.media.declared import cut_box

# Formats that only list other files (playlists, concat scripts, image patterns) are left out: with them a video named
# in an annotation file could read any file on this machine.
FORMATS = "mov,matroska,avi,flv,mpegts,mpeg,asf,ogg,gif,wav,mp3,aac,flac,aiff,amr,caf,w64,nut,ac3,eac3,apng,webp_anim"
BUFFER = 1 << 18

TS_PACKETS = (188, 192, 204)

Job = dict[str, Any]


def open_container(source: BinaryIO) -> Any:
    """Open a container from its bytes.

    Raises:
        Truncated: it ends before its index.
        FFmpegError: it is damaged.
    """
    options = {"format_whitelist": FORMATS}
    try:
        return av.open(source, "r", buffer_size=BUFFER, options=options, metadata_errors="replace")
    except av.error.EOFError as error:
        raise Truncated("it has no frames: it ends with its header") from error
    except FFmpegError:
        box = cut_box(source)
        if box is None:
            raise
        raise Truncated(f"its tail is broken: its part {box!r} is cut off, and it has no index") from None


def cut_packet(container: Any, source: BinaryIO) -> bool:
    """Whether an MPEG transport stream, which states no length, ends within one of its packets of fixed size."""
    if container.format.name != "mpegts":
        return False
    place = source.tell()
    size = source.seek(0, os.SEEK_END)
    source.seek(place)
    return all(size % packet for packet in TS_PACKETS)
