"""Models that take pictures, clips and sounds answer all of them in one run, as their class does by hand."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import BadCheckpoint, RequestFailed, WrongUse
from anymal_eval.models import choose_model
from anymal_eval.records import Decoding, Media, Request
from tests.conftest import Command
from tests.models.by_hand import Hand
from tests.models.conftest import Open, Tiny
from tests.models.example_requests import GREEDY, OPTIONS, QUESTIONS, answers, medium, request, respond
from tests.models.test_native_video import all_frames
from tests.models.tiny_omni import PALIGEMMA_CHAT
from tests.models.tiny_vision import needs_torchvision

LETTERS = tuple("ABCDE")
BEAMS3 = Decoding(max_new_tokens=8, beams=3, length_penalty=-1.0)
THINKERS = {
    "qwen2.5-omni": "Qwen2_5OmniThinkerForConditionalGeneration",
    "qwen2.5-omni-thinker": "Qwen2_5OmniThinkerForConditionalGeneration",
    "qwen3-omni-thinker": "Qwen3OmniMoeThinkerForConditionalGeneration",
}


class OmniHand(Hand):
    """The thinker, which is the class that its documentation names for text."""

    def __init__(self, folder: Path, thinker: str) -> None:
        import transformers

        found: Any = transformers
        self.processor = found.AutoProcessor.from_pretrained(folder)
        self.processor.image_processor = found.AutoImageProcessor.from_pretrained(folder, backend="pil")
        self.model = getattr(found, thinker).from_pretrained(folder).eval()

    def forward_inputs(self, example: Request, option: str) -> Any:
        import soundfile
        from PIL import Image

        kinds = [{"type": part.kind} if isinstance(part, Media) else {"type": "text", "text": part}
                 for message in example.messages for part in message.parts]  # fmt: skip
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": kinds}], tokenize=False, add_generation_prompt=True
        )
        if option:
            text += option if text[-1].isspace() else f" {option}"
        by_kind = {
            kind: [each.uri for each in example.media if each.kind == kind] for kind in ("image", "video", "audio")
        }
        given: dict[str, Any] = {}
        if by_kind["image"]:
            given["images"] = [Image.open(file).convert("RGB") for file in by_kind["image"]]
        if by_kind["audio"]:
            given["audio"] = [at_16_khz(*soundfile.read(file, dtype="float32")) for file in by_kind["audio"]]
        if by_kind["video"]:  # the processor takes 2 frames a second of them
            given["videos"] = [all_frames(Path(file)) for file in by_kind["video"]]
            metadata = [video_metadata(Path(file)) for file in by_kind["video"]]
            given["videos_kwargs"] = {"do_sample_frames": True, "fps": 2.0, "video_metadata": metadata}
        return self.processor(text=[text], return_tensors="pt", **given)

    def generate(self, example: Request) -> str:
        how, inputs = example.decoding, self.forward_inputs(example, "")
        beams = {"num_beams": how.beams, "length_penalty": how.length_penalty} if how.beams > 1 else {}
        out = self.model.generate(**inputs, do_sample=False, max_new_tokens=how.max_new_tokens, **beams)
        return str(self.processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def at_16_khz(wave: Any, rate: int) -> Any:
    """As librosa resamples, and so ``load_audio`` of transformers; a sound's range is [-1, 1]."""
    import soxr

    return soxr.resample(wave, rate, 16_000, quality="HQ").clip(-1, 1) if rate != 16_000 else wave


def video_metadata(file: Path) -> dict[str, Any]:
    import av

    with av.open(str(file)) as container:
        rate = float(container.streams.video[0].average_rate or 0)
    count = len(all_frames(file))
    return {"fps": rate, "total_num_frames": count, "duration": count / rate}


@needs_torchvision
@pytest.mark.parametrize("name", THINKERS)
def test_pictures_clips_and_sounds_are_those_of_the_class(
    name: str, opened: Open, tiny: Tiny, pictures: list[Path], sounds: list[Path], clip: Path
) -> None:
    model, hand = opened("hf", name), OmniHand(tiny(name), THINKERS[name])
    assert model.accepts == {"image", "video", "audio"}
    assert type(model.network).__name__ == THINKERS[name]
    picture, sound, shown = medium(pictures[0]), medium(sounds[0], "audio"), medium(clip, "video")
    media = [[picture], [sound], [shown], [picture, sound, shown], [medium(sounds[2], "audio")], [medium(pictures[1])]]
    requested = [request(f"q{n}", own, QUESTIONS[n], decoding=GREEDY) for n, own in enumerate(media)]
    expected = [hand.generate(each) for each in requested]
    assert answers(model, requested, 1) == expected
    assert answers(model, requested, 16) == expected
    assert len(set(expected)) > 3, "equal answers prove nothing"
    ranked = [request(f"r{n}", own, QUESTIONS[n], candidates=OPTIONS[n % 3]) for n, own in enumerate(media[:4])]
    for response, each in zip(respond(model, ranked, 16), ranked, strict=True):
        assert response.option_scores == pytest.approx(hand.scores(each), abs=1e-4)
    beams = request("b", [picture], QUESTIONS[3], decoding=BEAMS3)
    assert answers(model, [beams]) == [hand.generate(beams)]


@needs_torchvision
def test_tasks_of_three_kinds_in_one_command(tiny: Tiny, tmp_path: Path, command_here: Command) -> None:
    done = command_here(
        "run", "--tasks", "vqav2,audiocaps,nextqa", "--data", "demo", "--demo-examples", 2, "--model",
        f"hf:{tiny('qwen2.5-omni')}", "--max-new-tokens", 4, "--out", tmp_path / "run", ANYMAL_EVAL_CACHE=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "video=native, fps=2, max_frames=768" in json.dumps(results)
    [data] = (tmp_path / "demo").glob("*-eval-2-*")
    hand = OmniHand(tiny("qwen2.5-omni"), THINKERS["qwen2.5-omni"])
    short = Decoding(max_new_tokens=4)
    for task, rows in (("vqav2", pictured(data / "vqav2")), ("audiocaps", heard(data / "audiocaps"))):
        requested = {row["id"]: request("1", row["media"], row["text"], decoding=short) for row in rows}
        expected = {each: hand.generate(about) for each, about in requested.items()}
        assert {each: row["answer"].strip() for each, row in answered(tmp_path / "run", task).items()} == expected
    found = answered(tmp_path / "run", "nextqa")
    letters = {row["id"]: request("1", row["media"], row["text"], candidates=LETTERS) for row in shown(data / "nextqa")}
    assert found.keys() == letters.keys()
    for each, about in letters.items():
        assert found[each]["option_scores"] == pytest.approx(hand.scores(about), abs=1e-4)


def answered(run: Path, task: str) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in (run / task / "responses.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    return {row["id"]: row for row in rows}


def pictured(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the official questions, with the prompt of ``--protocol plain``."""
    [file] = folder.glob("*uestions*.json")
    for row in json.loads(file.read_text())["questions"]:
        picture = folder / "val2014" / f"COCO_val2014_{row['image_id']:012}.jpg"
        text = f"{row['question']}\nAnswer with a single word or phrase."
        yield {"id": str(row["question_id"]), "media": [medium(picture)], "text": text}


def heard(folder: Path) -> Iterator[dict[str, Any]]:
    for sound in sorted((folder / "audio").glob("*.wav")):
        yield {
            "id": sound.stem.rpartition("_")[0], "media": [medium(sound, "audio")],
            "text": "Describe it in one sentence.",
        }  # fmt: skip


def shown(folder: Path) -> Iterator[dict[str, Any]]:
    [file] = folder.glob("*.csv")
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            [clip] = folder.rglob(f"{row['video']}.mp4")
            options = "\n".join(f"{letter}. {row[f'a{number}']}" for number, letter in enumerate(LETTERS))
            text = f"{row['question']}\n{options}\nAnswer with the option's letter."
            yield {"id": f"{row['video']}_{row['qid']}", "media": [medium(clip, "video")], "text": text}


def test_one_sound_of_a_class_that_no_auto_class_knows(opened: Open, tiny: Tiny, sounds: list[Path]) -> None:
    """AudioFlamingo3's processor takes one sound a prompt."""
    model, hand = opened("hf_audio", "audio-flamingo-3"), Hand(tiny("audio-flamingo-3"))
    shown = [medium(file, "audio") for file in sounds]
    requested = [request(f"q{n}", [shown[n]], QUESTIONS[n], decoding=GREEDY) for n in range(3)]
    requested.append(request("b", [shown[3]], QUESTIONS[3], decoding=BEAMS3))
    expected = [hand.generate(each) for each in requested]
    assert answers(model, requested, 1) == answers(model, requested, 16) == expected
    assert len(set(expected)) > 2, "equal answers prove nothing"
    ranked = request("r", [shown[0]], QUESTIONS[1], candidates=OPTIONS[1])
    [response] = respond(model, [ranked])
    assert response.option_scores == pytest.approx(hand.scores(ranked), abs=1e-4)
    two = respond_or_fail(model, request("t", shown[:2], "Which?", decoding=GREEDY))
    assert two == "the processor refuses the prompt: Got 1 text but 2 audios; they must match 1:1."


def respond_or_fail(model: Any, example: Request) -> str:
    with pytest.raises(RequestFailed) as caught:
        model.prepare(example)
    return str(caught.value)


@needs_torchvision
def test_a_task_that_cannot_be_taken_names_the_remedy(tiny: Tiny, command_here: Command, tmp_path: Path) -> None:
    done = command_here("run", "--tasks", "imu_caption", "--data", "demo", "--model", f"hf:{tiny('qwen2.5-omni')}",
                   ANYMAL_EVAL_CACHE=str(tmp_path))  # fmt: skip
    assert done.returncode == 1
    wanted = "imu_caption needs imu: name a model that takes it (anymal:), or leave this task out"
    assert wanted in done.stderr


def test_a_template_of_a_file(tiny: Tiny, tmp_path: Path, pictures: list[Path]) -> None:
    from PIL import Image

    file = tmp_path / "chat.jinja"
    file.write_text(PALIGEMMA_CHAT)
    model: Any = choose_model(f"hf:{tiny('paligemma')}", {"chat_template": str(file)}).load()
    assert model.remark.startswith("chat_template=")
    hand = Hand(tiny("paligemma"))
    for shown in pictures[:3]:
        inputs = hand.processor(text="<image>answer en what?", images=Image.open(shown), return_tensors="pt")
        out = hand.model.generate(**inputs, do_sample=False, max_new_tokens=12)
        expected = hand.processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
        assert answers(model, [request("1", [medium(shown)], "answer en what?", decoding=GREEDY)]) == [expected]
    model.close()
    file.write_text(PALIGEMMA_CHAT + " ")
    other: Any = choose_model(f"hf:{tiny('paligemma')}", {"chat_template": str(file)}).load()
    assert other.fingerprint != model.fingerprint
    other.close()


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), (b"\xff", "no UTF-8"), (b" ", "must hold a Jinja")]
)
def test_a_template_that_is_none(content: bytes | None, why: str, tiny: Tiny, tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WrongUse, match=why):
        choose_model(f"hf:{tiny('paligemma')}", {"chat_template": str(file)}).load()


def test_voxtral_names_what_serves_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "voxtral", "architectures": ["VoxtralForConditionalGeneration"], "audio_config": {}})
    )
    with pytest.raises(BadCheckpoint, match=r"written by mistral-common.*--model vllm:CHECKPOINT"):
        choose_model(f"hf_audio:{tmp_path}", {}).load()


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ({"model_type": "granite_speech", "encoder_config": {}}, {"hf_audio": {"audio"}}),
        ({"model_type": "voxtral", "audio_config": {}}, {"hf_audio": {"audio"}}),
        ({"model_type": "gemma3n", "audio_config": {}, "vision_config": {}},
         {"hf": {"image", "video", "audio"}, "hf_audio": {"audio"}}),
        ({"model_type": "gemma4", "audio_config": None, "vision_config": {}}, {"hf": {"image", "video"}}),
        ({"model_type": "qwen3_omni_moe", "thinker_config": {"audio_config": {}, "vision_config": {}}},
         {"hf": {"image", "video", "audio"}, "hf_audio": {"audio"}}),
    ],
)  # fmt: skip
def test_kinds_are_read_from_the_configuration(
    config: dict[str, Any], kinds: dict[str, set[str]], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    for wrapper in ("hf", "hf_audio"):
        spec = choose_model(f"{wrapper}:{tmp_path}", {})
        if wrapper in kinds:
            assert spec.accepts == kinds[wrapper]
        else:
            other = next(iter(kinds))
            with pytest.raises(BadCheckpoint, match=re.escape(f"use --model {other}:")):
                _ = spec.accepts
