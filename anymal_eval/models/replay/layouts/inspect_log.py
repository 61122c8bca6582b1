"""inspect_ai's logs: ``.json``, or ``.eval`` with one file a sample.

Seen in UKGovernmentBEIS/inspect_ai ``src/inspect_ai/log/_log.py`` and ``_recorders/eval.py`` (MIT): a log has
``samples``, each with ``id``, ``epoch``, ``input``, ``output`` (``choices``, of which the first has
``message.content``: a text, or parts of which those of the type ``text`` are one), ``metadata``, ``error`` and
``attachments``, which texts name as ``attachment://HASH``. In ``.eval`` they are ``samples/ID_epoch_N.json``.
``completion`` is the content again, and is not written by every version.
"""

from collections.abc import Mapping
from typing import Any

from anymal_eval.errors import BadData, WrongUse
from anymal_eval.models.replay.layouts import number_of, scalar
from anymal_eval.models.replay.records import Content, Layout, Options, RecordedAnswer

ATTACHMENT = "attachment://"


def recognises(content: Content) -> bool:
    """Whether it is an object with samples and what was evaluated."""
    return isinstance(content.data, dict) and isinstance(content.data.get("samples"), list) and "eval" in content.data


def read(content: Content, options: Options) -> Layout:
    """The answers of one epoch, in the log's order; samples that ended with an error are failures.

    Raises:
        BadData: a sample has no id or no output, or the log holds no samples.
        WrongUse: there is no such epoch.
    """
    samples = content.data["samples"] if isinstance(content.data, dict) else ()
    where = [f"{content.file}: sample {number}" for number in range(1, len(samples) + 1)]
    for place, sample in zip(where, samples, strict=True):
        if not isinstance(sample, dict) or scalar(sample.get("id")) is None:
            raise BadData(f"{place}: a sample has an id and an output")
    numbers = [
        number_of(place, sample.get("epoch") or 1, "'epoch'") for place, sample in zip(where, samples, strict=True)
    ]
    epochs = sorted(set(numbers))
    if not epochs:
        raise BadData(f"{content.file}: it holds no samples; run inspect with --log-samples")
    if options.epoch not in epochs:
        raise WrongUse(f"-o epoch={options.epoch}: {content.file} has epochs {', '.join(map(str, epochs))}")
    notes = (f"epoch {options.epoch} of {len(epochs)} is read; -o epoch=N reads another",) if len(epochs) > 1 else ()
    chosen = [
        _answer(place, sample)
        for place, sample, number in zip(where, samples, numbers, strict=True)
        if number == options.epoch
    ]
    return Layout(answers=tuple(chosen), name="inspect", notes=notes)


def _answer(where: str, sample: Mapping[str, Any]) -> RecordedAnswer:
    attachments, metadata = _mapping(sample.get("attachments")), _mapping(sample.get("metadata"))
    name = str(scalar(sample["id"]))
    keys = {f"metadata.{key}": found for key, value in metadata.items() if (found := scalar(value)) is not None}
    held: dict[str, Any] = {
        "id": name,
        "keys": {"id": name, **keys},
        "question": _text(_last_content(sample.get("input")), attachments),
        "options": tuple(map(str, choices)) if isinstance(choices := sample.get("choices"), list) else (),
        "where": where,
    }
    output = sample.get("output")
    if sample.get("error") or not isinstance(output, dict):
        error = sample.get("error")
        why = error.get("message", error) if isinstance(error, dict) else error or "it has no output"
        return RecordedAnswer(**held, failure=f"{why}")
    choices = output.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    answer = _text(content if content is not None else output.get("completion", ""), attachments)
    if output.get("error") or (content is None and not answer):
        return RecordedAnswer(**held, failure=f"{output.get('error') or 'its output holds no answer'}")
    return RecordedAnswer(**held, answer=answer)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _last_content(value: Any) -> Any:
    """The content of the last message by the user, or the input itself."""
    if not isinstance(value, list):
        return value
    users = [each.get("content") for each in value if isinstance(each, dict) and each.get("role") == "user"]
    return users[-1] if users else ""


def _text(content: Any, attachments: Mapping[str, Any]) -> str:
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "\n".join(_text(part, attachments) for part in parts)
    text = str(content or "")
    return str(attachments.get(text.removeprefix(ATTACHMENT), text)) if text.startswith(ATTACHMENT) else text
