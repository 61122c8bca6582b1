"""Shards that are not on disk: ``https://`` addresses, and ``pipe:`` with a command that writes a shard.

Both come from the command line alone. A command runs in the user's shell, so an address is read as one only where the
user wrote it: never out of a table, a shard, or a file's name that a pattern matched.
"""

import subprocess
import time
from http.client import HTTPResponse
from typing import IO
from urllib.parse import urlsplit, urlunsplit

from anymal_eval.errors import BadData, MissingData, reason
from anymal_eval.sources.downloading import CUT, Cut, opened

PIPE = "pipe:"
SCHEMES = ("http://", "https://")
TRIES, PAUSE_S, TIMEOUT_S = 3, 1.0, 60.0
_BLOCK = 1 << 20
_HEADERS = {"User-Agent": "anymal_eval", "Accept-Encoding": "identity"}


def is_address(path: str) -> bool:
    """Whether a path is a command or an address on a server, and no file."""
    return path.startswith((PIPE, *SCHEMES))


def without_secrets(address: str) -> str:
    """An address without user, password and query, which may hold a signature; a command as it is.

    >>> without_secrets("https://me:word@host/0.tar?signature=7")
    'https://host/0.tar'
    """
    if not address.startswith(SCHEMES):
        return address
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def fetch(address: str, target: IO[bytes]) -> None:
    """Write the bytes of a shard.

    Raises:
        MissingData: the server cannot be reached or has no such file, or the command failed.
        OSError: they cannot be written.
    """
    if address.startswith(PIPE):
        _run(address.removeprefix(PIPE), target)
        return
    name = without_secrets(address)
    for tried in range(1, TRIES + 1):
        target.seek(0)
        target.truncate()
        try:
            _download(address, target)
        except BadData as error:
            raise MissingData(str(error).replace(address, name)) from None
        except Cut as error:
            if tried == TRIES:
                raise MissingData(
                    f"{name}: the shard cannot be fetched ({error}); the same command resumes when the server answers, "
                    "or fetch the shards and name their files"
                ) from None
            time.sleep(PAUSE_S * tried)
        else:
            return


def _download(address: str, target: IO[bytes]) -> None:
    try:
        response: HTTPResponse = opened(address, _HEADERS, TIMEOUT_S)
    except CUT as error:
        inner = getattr(error, "reason", None)  # urllib wraps what the system says
        raise Cut(reason(inner if isinstance(inner, OSError) else error)) from None
    with response:
        due, total = response.headers.get("Content-Length"), 0
        while block := _read(response):
            target.write(block)
            total += len(block)
    if due is not None and total != int(due):
        raise Cut(f"{total:,} of {int(due):,} bytes came")


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except CUT as error:
        raise Cut(reason(error)) from None


def _run(command: str, target: IO[bytes]) -> None:
    done = subprocess.run(command, shell=True, stdout=target, stdin=subprocess.DEVNULL, check=False)  # noqa: S602
    if done.returncode:
        raise MissingData(
            f"{PIPE}{command}: the command ended with status {done.returncode}; run it by hand to see why"
        )
