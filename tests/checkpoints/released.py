"""What the repositories hold that the presets name, and the table of docs/checkpoints.md made of it.

    python -m tests.checkpoints.released        writes the table after a preset was added

From huggingface.co's pages of the files of each repository, as stored copies show them; the language models' files by
the listings of copies, since their own are gated; sizes that no copy shows follow from the number of parameters.
ViCLIP's repository states no licence; that of the same weights as a pickle, OpenGVLab/ViCLIP, states mit.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.anymal.config import paths_of, preset, preset_names

PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"
READ = "2026-11-26"
MARKS = ("<!-- frozen parts -->", "<!-- end of frozen parts -->")


@dataclass(frozen=True, kw_only=True)
class Repository:
    """Files of weights that are loaded; other weights beside them; gigabytes; licence of the card; whether gated."""

    used: tuple[str, ...]
    size: float
    licence: str | None
    beside: tuple[str, ...] = ()
    gated: bool = False

    @property
    def form(self) -> str:
        return "safetensors" if self.used[0].endswith(".safetensors") else "pickles"


def _shards(count: int) -> tuple[str, ...]:
    return tuple(f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1))


def _llama(shards: int, size: float) -> Repository:
    return Repository(
        used=_shards(shards), size=size, licence="llama2", gated=True, beside=("pytorch_model-00001-of-00002.bin",)
    )


ONE, PICKLE = ("model.safetensors",), ("pytorch_model.bin",)
RELEASED = {
    "meta-llama/Llama-2-7b-chat-hf": _llama(2, 13.5),
    "meta-llama/Llama-2-13b-chat-hf": _llama(3, 26.0),
    "meta-llama/Llama-2-70b-chat-hf": _llama(15, 138.0),
    "openai/clip-vit-large-patch14-336": Repository(used=PICKLE, size=1.7, licence=None, beside=("tf_model.h5",)),
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k": Repository(
        used=_shards(2), size=10.2, licence="mit",
        beside=("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "pytorch_model-00001-of-00002.bin"),
    ),
    "facebook/dinov2-giant": Repository(used=ONE, size=4.5, licence="apache-2.0", beside=PICKLE),
    "OpenGVLab/ViCLIP-L-14-hf": Repository(used=ONE, size=1.7, licence=None),
    "laion/clap-htsat-unfused": Repository(used=PICKLE, size=0.6, licence="apache-2.0"),
}  # fmt: skip


def table() -> str:
    """A line for each part of each preset."""
    lines = [
        "What `checkpoints check PRESET` reports, by stored copies of huggingface.co's listings, read on "
        f"{READ}; `python -m tests.checkpoints.released` writes this table.",
        "",
        "| preset | part | from | weights that are loaded | licence | what to do |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(name, part, path) for name in preset_names() for part, path in paths_of(preset(name)).items()]
    return "\n".join(lines)


def _row(name: str, part: str, path: str) -> str:
    found = RELEASED.get(path)
    if path.startswith("imu2clip") and name not in ("demo", "tiny"):
        return f"| {name} | {part} | `{path}` | its state dict | on request | `--backbone {part}=FILE` |"
    if found is None:
        assert "/" not in path, f"{path} of preset {name}: add its files to RELEASED"
        return f"| {name} | {part} | `{path}` | a folder or file of your own | | `--backbone {part}=PATH` |"
    count = f"{len(found.used)} file{'s' * (len(found.used) > 1)} of {found.form}, {found.size:g} GB"
    licence = (found.licence or "not on its card") + ", gated" * found.gated
    do = f"{'accept the licence, `hf auth login`, ' * found.gated}`hf download`"
    do += "; converted once" * (found.form == "pickles")
    return f"| {name} | {part} | `{path}` | {count} | {licence} | {do} |"


def main() -> None:
    text, part = PAGE.read_text(encoding="utf-8"), f"{MARKS[0]}\n{table()}\n{MARKS[1]}"
    PAGE.write_text(re.sub(f"{MARKS[0]}.*{MARKS[1]}", lambda _: part, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
