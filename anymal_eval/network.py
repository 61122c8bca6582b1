"""Whether the hub can be reached, in about a second: its client tries for half a minute where there is no network."""

import functools
import os
import socket
import threading
import urllib.request
from urllib.parse import urlsplit

CONNECT_S = 1.5
ENDPOINT = "https://huggingface.co"


@functools.cache
def hub_reachable() -> bool:
    """Whether a connection to the hub can be opened; True where a proxy stands between, which only a request shows.

    The first call decides for the process. ``HF_ENDPOINT`` names another hub.
    """
    parts = urlsplit(os.environ.get("HF_ENDPOINT") or ENDPOINT)
    host, scheme = parts.hostname or "", parts.scheme
    proxies = urllib.request.getproxies()
    if (proxies.get(scheme) or proxies.get("all")) and not urllib.request.proxy_bypass(host):
        return True
    return _connects(host, parts.port or (443 if scheme == "https" else 80))


def _connects(host: str, port: int) -> bool:
    found: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=CONNECT_S).close()
        except (OSError, UnicodeError):
            return
        found.append(True)

    # In a thread, because the time that a lookup of the name takes has no limit.
    thread = threading.Thread(target=connect, name="connect", daemon=True)
    thread.start()
    thread.join(CONNECT_S)
    return bool(found)
