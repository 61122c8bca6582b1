"""A process with another torchvision: ``python -m tests.models.other_environment JOB`` prints a line of JSON.

The job names models, the file of a picture, a question, models that are refused, and whether torchvision is hidden.
"""

import importlib.util
import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

_find_spec = importlib.util.find_spec


def without_torchvision(name: str, package: str | None = None) -> ModuleSpec | None:
    return None if name.partition(".")[0] == "torchvision" else _find_spec(name, package)


def answered(model: Any, picture: str, question: str) -> dict[str, Any]:
    """All that could change with the image processor."""
    from tests.models.example_requests import GREEDY, medium, ranked, request, respond

    shown = medium(Path(picture))
    found = respond(model, [request("1", [shown], question, decoding=GREEDY), *ranked([shown], 2)])
    return {
        "fingerprint": model.fingerprint,
        "answers": [[response.answer, list(response.option_scores or ())] for response in found],
        "pixels": float(model.prepare(request("1", [shown], question)).inputs["pixel_values"].double().sum()),
    }


def main(job: dict[str, Any]) -> dict[str, Any]:
    from anymal_eval.errors import BadCheckpoint, NeedsExtra
    from anymal_eval.models import choose_model

    found: dict[str, Any] = {}
    for typed in job.get("answered", ()):
        model: Any = choose_model(typed, {"device": "cpu"}).load()
        found[typed] = answered(model, job["picture"], job["question"])
        model.close()
    for typed in job.get("refused", ()):
        try:
            choose_model(typed, {"device": "cpu"}).load()
        except (BadCheckpoint, NeedsExtra) as error:
            found[typed] = f"{type(error).__name__}: {error}"
    return found


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    if given.get("hidden"):
        importlib.util.find_spec = without_torchvision
    print(json.dumps(main(given)))
