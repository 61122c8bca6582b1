"""The process that renders chat templates: a template is a program of its checkpoint's author.

Nothing imports this file: ``templates.py`` starts it as a script. The sandbox is that of transformers; memory, time and
output are limited here. Jobs and replies are lines of JSON.
"""

import contextlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

MEMORY = 512 << 20  # bytes that a template may add to the process
MOST_OUTPUT = 8 << 20  # characters


def limit_memory() -> None:
    """Let the process grow by ``MEMORY``."""
    with contextlib.suppress(OSError, ValueError):  # only Linux has this file, and says so
        size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


def answer(render: Any, job: dict[str, Any]) -> dict[str, str]:
    """The rendered conversation, or the error."""
    try:
        [text], _ = render(
            conversations=[job["messages"]],
            chat_template=job["template"],
            add_generation_prompt=job["opened"],
            continue_final_message=job["cut"],
            **job["variables"],
        )
    except MemoryError:
        return {"limit": f"it takes more than {MEMORY >> 20} MiB of memory"}
    except Exception as error:  # noqa: BLE001  # a template can raise any
        return {"error": type(error).__name__, "message": str(error)[:2000]}
    if len(text) > MOST_OUTPUT:
        return {"limit": f"it writes more than {MOST_OUTPUT >> 20} million characters"}
    return {"text": text}


def main() -> None:
    """Answer jobs until the parent closes the pipe."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the parent decides when this ends
        signal.signal(number, signal.SIG_IGN)
    from transformers.utils.chat_template_utils import render_jinja_template

    limit_memory()
    out = sys.stdout
    out.write("{}\n")
    out.flush()
    for line in sys.stdin:
        job = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, job["cpu_s"])  # its signal ends the process, also inside a long operation
        try:
            reply = json.dumps(answer(render_jinja_template, job))
        except MemoryError:
            reply = json.dumps({"limit": f"it takes more than {MEMORY >> 20} MiB of memory"})
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write(reply + "\n")
        out.flush()


if __name__ == "__main__":
    main()
