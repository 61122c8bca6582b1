"""The model card of a checkpoint of the network: its parts and their licences, its training, its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from anymal_eval.anymal.checkpoint_facts import CheckpointFacts
from anymal_eval.anymal.config import paths_of
from anymal_eval.checkpoints.locating import may_be_repository, repository_of
from anymal_eval.checkpoints.released import is_hub_file
from anymal_eval.report.rendering import render
from anymal_eval.report.run_table import run_table
from anymal_eval.store.results import Results
from anymal_eval.visible import visible_line

# The hub's task types: huggingface.co/tasks.
TYPES = {"image": "image-text-to-text", "audio": "audio-text-to-text", "video": "video-text-to-text"}
OTHER_TYPE = "any-to-any"
_RECIPE = ("steps", "batch_size", "learning_rate", "schedule", "warmup", "weight_decay", "seed")


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a card states.

    Attributes:
        name: OWNER/NAME.
        facts: of the checkpoint as others get it.
        licences: of its frozen parts, by ``llm`` or medium, where their cards are at hand.
        elsewhere: the frozen parts that are neither on the hub nor in the checkpoint, by name.
        training: the record of its training; empty where there is none.
        results: of runs of this checkpoint.
        is_demo: whether it is the demo model.
    """

    name: str
    facts: CheckpointFacts
    licences: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    results: Sequence[Results] = ()
    is_demo: bool = False

    @property
    def text(self) -> str:
        """The content of README.md."""
        sections = [
            _head(self),
            _title(self),
            _use(self),
            _parts(self),
            _training(self),
            _results(self),
            _licence(self),
        ]
        return "\n\n".join(section for section in sections if section) + "\n"


def _head(card: ModelCard) -> str:
    import yaml

    media = [str(medium) for medium in card.facts.config.modalities]
    named = paths_of(card.facts.config).values()
    found = (repository_of(path)[0] if may_be_repository(path) else _of_file(path) for path in named)
    base = list(dict.fromkeys(name for name in found if name))
    head: dict[str, Any] = {"library_name": "anymal_eval"}
    head["pipeline_tag"] = TYPES.get(media[0], OTHER_TYPE) if len(media) == 1 else OTHER_TYPE
    if base:
        head |= {"base_model": base, "base_model_relation": "adapter"}
    head |= {"license": "other", "license_name": "those-of-its-parts"}
    head["tags"] = ["anymal", *media, *(["demo"] if card.is_demo else [])]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)}---"


def _of_file(path: str) -> str:
    """The repository of OWNER/NAME/FILE; empty for any other path."""
    return "/".join(path.split("/", 2)[:2]) if is_hub_file(path) else ""


def _title(card: ModelCard) -> str:
    facts = card.facts
    media = ", ".join(map(str, facts.config.modalities))
    trained = "trained projectors" + (" and LoRA adapters" if facts.adapters else "")
    lines = [f"# {card.name}", ""]
    if card.is_demo:
        lines += ["**A demo model: its answers are about a drawn world, and mean nothing elsewhere.**", ""]
    if facts.note:
        lines += [f"**{_plain(facts.note)}**", ""]
    lines.append(
        f"An AnyMAL network (arXiv:2309.16058) for {media}: {trained} between frozen encoders and a frozen language "
        "model. This repository holds what was trained; the frozen parts are named below."
    )
    return "\n".join(lines)


def _use(card: ModelCard) -> str:
    needed = "".join(f" -o {part}=PATH" for part in card.elsewhere)
    text = f"    python -m anymal_eval run --tasks vqav2 --model anymal:{card.name}{needed} --data-root DATA"
    if needed:
        text += "\n\nThe parts named by PATH are on no hub; `-o backbones=DIR` names a folder that holds them."
    return f"## Use\n\n{text}"


def _parts(card: ModelCard) -> str:
    rows = ["| part | what | where | weights (SHA-256) | licence |", "|---|---|---|---|---|"]
    kinds = {"llm": "language model"} | {
        str(medium): f"{part.encoder.kind} encoder, {part.projector.kind} projector"
        for medium, part in card.facts.config.modalities.items()
    }
    for part, path in paths_of(card.facts.config).items():
        weights = card.facts.frozen.get(part, "")[:12]
        licence = card.licences.get(part, "") or "see its source"
        rows.append("| " + " | ".join(_plain(each) for each in (part, kinds[part], path, weights, licence)) + " |")
    return "## Parts\n\n" + "\n".join(rows)


def _training(card: ModelCard) -> str:
    identity = card.training.get("identity", {})
    recipe = identity.get("recipe", {})
    if not recipe:
        return ""
    stage = {"align": "Stage 1, alignment on captions", "instruct": "Stage 2, instruction tuning"}
    lines = [f"- {stage.get(str(identity.get('stage')), 'Training')}; frozen parts in {identity.get('precision')}"]
    if identity.get("quantize") not in (None, "none"):
        lines[0] += f", the language model in {identity['quantize']}"
    lines.append("- " + ", ".join(f"{name.replace('_', ' ')} {recipe[name]}" for name in _RECIPE if name in recipe))
    data = [_data(each) for each in card.training.get("data", ()) if isinstance(each, dict)]
    if data:
        lines.append("- data: " + ", ".join(data))
    versions = card.training.get("versions", {})
    shown = [
        f"{name} {versions[name]}" for name in ("anymal_eval", "torch", "transformers", "peft") if name in versions
    ]
    if shown:
        lines.append("- with " + ", ".join(shown))
    return "## Training\n\n" + "\n".join(map(_plain, lines))


def _data(each: Mapping[str, Any]) -> str:
    """Such as ``pairs:train.jsonl (1,000 samples)``: the folders are those of one machine."""
    kind, colon, path = str(each.get("name", "")).partition(":")
    size = next((f"{each[unit]:,} {unit}" for unit in ("samples", "shards") if isinstance(each.get(unit), int)), "")
    named = f"{kind}{colon}{PurePath(path).name}" if colon else PurePath(kind).name
    return f"{named} ({size})" if size else named


def _results(card: ModelCard) -> str:
    tables = []
    for results in card.results:
        headlines = tuple(item for item in results.measurements if item.headline)
        tables.append(render(run_table(replace(results, measurements=headlines)), "md").strip())
    return "## Results\n\n" + "\n\n".join(tables) if tables else ""


def _licence(card: ModelCard) -> str:
    known = [f"{part}: {licence}" for part, licence in card.licences.items() if licence]
    text = (
        "The trained weights run only together with the frozen parts above. Each of these has a licence of its own, "
        "which also binds what is made with it"
    )
    return "## Licence\n\n" + _plain(text + (f" ({', '.join(known)})." if known else "."))


def _plain(text: str) -> str:
    return visible_line(text).replace("|", "\\|").replace("<", "&lt;")
