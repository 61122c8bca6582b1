"""Chat templates are programs of a checkpoint's author: they are rendered in a process with limits.

One process serves all models of this one. It is started with the first conversation and ends with this process.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anymal_eval.errors import BadCheckpoint, RequestFailed

SCRIPT = Path(__file__).with_name("template_process.py")
CPU_S = 10.0  # for one conversation; a template takes under a millisecond
START_S, WALL_S = 180.0, 120.0  # the limit that counts is in CPU seconds; these end a wait that has no end
TEMPLATE_BYTES = 1 << 20


def render_template(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Any],
    *,
    opened: bool = True,
    cut: bool = False,
) -> str:
    """Render a conversation as ``apply_chat_template(tokenize=False)`` of transformers does. Safe in any thread.

    Args:
        template: in Jinja.
        messages: the conversation.
        variables: of the template, such as the special tokens.
        opened: whether it ends where the next answer starts.
        cut: whether it ends right after the last message's text.

    Raises:
        RequestFailed: the template refuses this conversation.
        BadCheckpoint: it takes too much time or memory, or writes too much.
    """
    if len(template) > TEMPLATE_BYTES:
        raise BadCheckpoint(f"the chat template is longer than {TEMPLATE_BYTES >> 20} million characters")
    job = {"template": template, "messages": messages, "variables": variables, "opened": opened, "cut": cut}
    reply = _PROCESS.run(json.dumps({**job, "cpu_s": CPU_S}, default=str))
    if "limit" in reply:
        raise BadCheckpoint(f"the chat template was stopped: {reply['limit']}")
    if "error" in reply:
        message = " ".join(reply["message"].split())
        known = reply["error"] in ("TemplateError", "ValueError")
        raise RequestFailed(message if known and message else f"{reply['error']}: {message}")
    return reply["text"]


class _Process:
    """The process, replaced when it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None

    def run(self, job: str) -> dict[str, str]:
        with self._lock:
            if self._child is None:
                self._child = self._started()
            child = self._child
            reply = self._exchange(child, job, WALL_S)
            if reply is not None:
                return reply
            self.close()
            status = child.returncode
            slow = status in (-signal.SIGPROF, -signal.SIGKILL)
            why = f"it does not end within {CPU_S:g} s" if slow else f"its process died (status {status})"
            return {"limit": why}

    def close(self) -> None:
        """End the process."""
        if self._child is None:
            return
        child, self._child = self._child, None
        child.kill()
        child.communicate()

    def _started(self) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "USE_TORCH": "0", "USE_TF": "0", "USE_FLAX": "0"},
            encoding="utf-8",
        )
        if self._exchange(child, None, START_S) is None:
            child.kill()
            child.communicate()
            raise RuntimeError(f"the process of {SCRIPT} does not start: {child.returncode}")
        return child

    @staticmethod
    def _exchange(child: subprocess.Popen[str], job: str | None, seconds: float) -> dict[str, str] | None:
        """Send a job and wait for its reply; None where the process has ended."""
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the process has no pipes")
        timer = threading.Timer(seconds, child.kill)
        timer.daemon = True
        timer.start()
        try:
            if job is not None:
                child.stdin.write(job + "\n")
                child.stdin.flush()
            line = child.stdout.readline()
        except OSError:
            line = ""
        finally:
            timer.cancel()
        if not line.endswith("\n"):
            child.wait()
            return None
        found: dict[str, str] = json.loads(line)
        return found


_PROCESS = _Process()
atexit.register(_PROCESS.close)
