"""What ``same_bytes`` runs, and the program that makes its inputs from a checkout's tests."""

import json
from pathlib import Path

Command = list[str]

# Run in the checkout. The commands of tests/cli/test_golden.py are caught where its tests give them.
INPUTS = """
import inspect, itertools, json, sys
from pathlib import Path

from anymal_eval.anymal import tiny
from tests.cli import conftest, test_golden
from tests.models import tiny_chats, tiny_models
from tests.training.conftest import write_data

root, golden = map(Path, sys.argv[1:])
tiny.write(root / "anymal")
for name, build in {**tiny_models.BUILDERS, **tiny_chats.BUILDERS}.items():
    build(root / name)
(root / "data").mkdir()
write_data(root / "data")


class Caught(Exception):
    pass


def catch(*arguments):
    raise Caught(*map(str, arguments))


def parameters(test):
    for mark in getattr(test, "pytestmark", ()):
        names, values = mark.args
        names = [names] if isinstance(names, str) else names
        yield [dict(zip(names, each if len(names) > 1 else [each], strict=True)) for each in values]


commands = []
for name, test in list(vars(test_golden).items()) if golden.is_dir() else ():
    if not name.startswith("test_"):
        continue
    for number, chosen in enumerate(itertools.product(*parameters(test))):
        folder = root / "golden" / f"{name.removeprefix('test_')}-{number}"
        given = {key: value for part in chosen for key, value in part.items()}
        if "tmp_path" in inspect.signature(test).parameters:
            given["tmp_path"] = folder
        try:
            test(conftest.Lab(golden, folder, catch), **given)
        except Caught as caught:
            words = list(caught.args)
            words[words.index("--out") + 1] = folder.name
            commands.append(words)
(root / "cases.json").write_text(json.dumps(commands, indent=1))
"""

OPEN = "vqav2,hateful_memes,scienceqa,mmit_cap,nextqa"  # each kind of answer, pictures and clips
FEW = "vqav2,hateful_memes,scienceqa,coco"


def cases(inputs: Path) -> dict[str, list[Command]]:
    """The commands of every case, in their order; ``--out`` names a folder of the case."""
    network = f"anymal:{inputs / 'anymal' / 'checkpoint'}"
    return {
        "golden": golden(inputs),
        "demo": [
            demo("demo", "anymal:demo", "all", "--protocol", "demo", "--with-blind", examples=40, batch=8),
            demo("shuffled", "anymal:demo", "vqav2,audiocaps", "--protocol", "demo", "--ablate", "shuffled-media",
                 examples=40, batch=8),
            ["show", "nextqa", "--data", "demo", "--model", "anymal:demo", "--protocol", "demo", "-n", "2"],
            ["table", "demo", "shuffled"],
            ["check", "shuffled", "--against", "demo"],
            ["report", "shuffled"],
        ],
        "anymal": [
            demo("plain", network, "all", examples=12),
            demo("2023", network, "all", "--protocol", "anymal-2023", examples=12),
            demo("alone", network, OPEN, "-o", "share=false", batch=1),
            demo("features", network, "vqav2,audiocaps,nextqa", "--features", "features", examples=12),
            demo("features-again", network, "vqav2,audiocaps,nextqa", "--features", "features", examples=12),
            demo("bf16", network, "vqav2,hateful_memes", "--precision", "bf16", examples=12),
            demo("nf4", network, "vqav2,hateful_memes", "--quantize", "nf4", examples=12),
            ["table", "plain", "2023", "bf16", "nf4"],
            ["check", "bf16", "--against", "nf4", "--json", "check.json", "--markdown", "check.md"],
        ],
        "hf": [
            demo("llava", f"hf:{inputs / 'llava'}", OPEN),
            demo("llava-alone", f"hf:{inputs / 'llava'}", OPEN, batch=1),
            demo("llava-beams", f"hf:{inputs / 'llava'}", FEW, "--protocol", "openflamingo-2023"),
            demo("llava-next-bf16", f"hf:{inputs / 'llava-next'}", OPEN, "--precision", "bf16"),
            demo("idefics3", f"hf:{inputs / 'idefics3'}", OPEN),
            demo("gemma3", f"hf:{inputs / 'gemma3'}", OPEN),
            demo("mllama", f"hf:{inputs / 'mllama'}", FEW),
            demo("qwen2-audio", f"hf_audio:{inputs / 'qwen2-audio'}", "audiocaps"),
        ],
        "blip": [
            demo(f"{name}-{protocol}", f"{name.partition('-')[0]}:{inputs / name}", FEW, "--protocol", protocol)
            for name, protocol in (
                ("blip2-opt", "blip2-2023"), ("blip2-t5", "blip2-2023"), ("blip2-opt", "plain"),
                ("instructblip-llama", "instructblip-2023"), ("instructblip-t5", "instructblip-2023"),
            )
        ],
        "train": [
            train(inputs, "align", "tiny", "pairs", *backbones(inputs), "--save-every", "2", "--eval-every", "3",
                  "--eval-tasks", "vqav2,audiocaps", "--eval-limit", "4"),
            train(inputs, "instruct", "align/checkpoint", "instructions", "--save-every", "3", "--lora-rank", "4",
                  "--lora-dropout", "0.1", "--accumulate", "2"),
        ],
    }  # fmt: skip


def golden(inputs: Path) -> list[Command]:
    """The runs of published answers, and reports of them."""
    runs: list[Command] = json.loads((inputs / "cases.json").read_text(encoding="utf-8"))
    if not runs:
        return []
    compared = ["scienceqa_results-1", "--against", "scienceqa_results-0"]
    written = ["--json", "check.json", "--markdown", "check.md"]  # JUnit's XML holds the time
    return [
        *runs,
        ["table", "nextqa_hga-0", "scienceqa_results-0", "scienceqa_results-1", "--format", "csv"],
        ["table", "scienceqa_results-0", "vizwiz_baselines-0", "--like", "anymal-2023/4"],
        ["check", *compared, *written],
        ["export", "vizwiz_baselines-1", "--format", "evalai"],
    ]


def demo(out: str, model: str, tasks: str, *more: str, examples: int = 8, batch: int = 4) -> Command:
    """A run over the demo world, with batches of a fixed size."""
    return ["run", "--data", "demo", "--demo-examples", str(examples), "--batch-size", str(batch), "--tasks", tasks,
            "--model", model, "--out", out, *more]  # fmt: skip


def train(inputs: Path, stage: str, start: str, kind: str, *more: str) -> Command:
    """Six steps on a CPU."""
    return ["train", stage, start, "--data", f"{kind}:{inputs / 'data' / kind}.jsonl", "--steps", "6",
            "--batch-size", "6", "--learning-rate", "0.01", "--warmup", "2", "--log-every", "1", "--device", "cpu",
            "--out", stage, *more]  # fmt: skip


def backbones(inputs: Path) -> Command:
    names = {"llm": "llm", "image": "clip", "audio": "clap", "video": "videomae", "imu": "imu2clip.safetensors"}
    return [word for part, name in names.items() for word in ("--backbone", f"{part}={inputs}/anymal/backbones/{name}")]
