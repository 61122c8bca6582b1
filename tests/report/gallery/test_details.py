"""What a page is given to show of one example: every fact that is recorded, and recordings as they are drawn."""

from pathlib import Path
from typing import Any

import numpy as np

from anymal_eval.records import Decoding, Example, Failure, Media, Message, Request, Response
from anymal_eval.report.gallery.content import Side, TaskPage
from anymal_eval.report.gallery.details import detail, metric_facts, sent_parts
from anymal_eval.report.gallery.signals import motion, spectrogram, waveform
from anymal_eval.store.manifest import TaskEntry
from anymal_eval.store.shown_prompts import SentPrompt, append_prompts, read_prompts

MEDIA = tuple(Media(kind="image", uri=f"/data/{name}.png") for name in "cab")


def page(rows: dict[str, Any], **more: Any) -> TaskPage:
    example = Example(id="7", cluster="hidden", kind="caption", media=MEDIA, references=("a dog runs",))
    responses = more.pop("responses", {})
    entry: Any = TaskEntry
    return TaskPage(
        name="captions", entry=entry, examples=[example], total=1, requests=more.pop("requests", {}),
        sides=[Side(label="run", rows={"7": rows}, headline=None, responses=responses)],
        checks=[], measurements=[], chance=[], not_computed=[], ablate="none", **more,
    )  # fmt: skip


def side(rows: dict[str, Any], *responses: Response) -> dict[str, Any]:
    made = page(rows, responses={each.id: each for each in responses})
    found: dict[str, Any] = detail(made, made.examples[0], {})["sides"][0]
    return found


def test_a_recorded_fact_is_a_shown_one() -> None:
    row = {"state": "ok", "raw": "a dog", "answer": "a dog", "cut": True, "thinking": True, "scores": {"cider@1": 0.5}}
    found = side(row, Response(id="7", answer="a dog", thinking="Hm.", finish="length", new_tokens=5, prompt_tokens=90))
    assert (found["finish"], found["new_tokens"], found["prompt_tokens"]) == ("length", 5, 90)
    assert (found["thinking"], found["notes"]) == ("Hm.", ["cut", "thinking"])
    # Without the response, which an accepted run does not hold, the thinking is that of the raw text.
    assert side(row | {"raw": "<think>Hm.</think>a dog"})["thinking"] == "Hm."
    assert "finish" not in side(row)
    failed: dict[str, Any] = {"state": "error", "raw": None, "answer": "too slow", "scores": {}}
    assert side(failed, Response(id="7", failure=Failure(kind="timeout", message="too slow")))["failure"] == "timeout"


def test_the_prompt_names_its_pictures_in_order_and_no_cluster() -> None:
    words = Message(role="user", parts=(MEDIA[1], "and", MEDIA[0], MEDIA[2], "?"))
    row = {"state": "ok", "raw": "a", "answer": "a", "scores": {}}
    made = page(row, requests={"7": Request(id="7", messages=(words,), decoding=Decoding(max_new_tokens=9))})
    found = detail(made, made.examples[0], {})
    parts = found["prompt"]["messages"][0]["parts"]
    assert [each if isinstance(each, str) else (each["medium"], each["name"]) for each in parts] == [
        (1, "a.png"), "and", (2, "c.png"), (3, "b.png"), "?",
    ]  # fmt: skip
    assert [each["name"] for each in found["media"]] == ["a.png", "c.png", "b.png"]
    assert found["prompt"]["limit"] == 9
    assert "hidden" not in str(found)


def test_two_versions_of_a_metric_have_two_names() -> None:
    scores = {"vqa_accuracy@2021": 1.0, "vqa_accuracy@2016": 0.5, "cider@1": 2.5, "gone@3": 0.1}
    facts = metric_facts(page({"state": "ok", "raw": "a", "answer": "a", "scores": scores}))
    assert len({fact["name"] for fact in facts.values()}) == 4
    assert (facts["vqa_accuracy@2021"]["top"], facts["cider@1"]["top"]) == (1.0, 2.5)


def test_what_looks_like_a_special_token_is_not_marked_as_one(tmp_path: Path) -> None:
    sent = SentPrompt(id="7", text="‹s›Is it ‹s›?", tokens=5, special=1, marks=(0, 3))
    append_prompts(tmp_path / "prompts.jsonl", [sent])
    assert list(sent_parts(read_prompts(tmp_path / "prompts.jsonl")["7"])) == [("‹s›", True), ("Is it ‹s›?", False)]
    # A file of an earlier version holds no places.
    old = SentPrompt(id="7", text="‹s›‹image›x4 hi", tokens=6, special=5)
    assert [piece for piece, special in sent_parts(old) if special] == ["‹s›", "‹image›x4"]


def test_a_spectrogram_is_bright_where_the_sound_is() -> None:
    seconds = np.arange(64_000) / 32_000
    tone = (0.5 * np.sin(2 * np.pi * 1_000 * seconds) * (seconds < 1)).astype(np.float32)
    drawn, top = spectrogram(tone, 32_000)
    bright = np.asarray(drawn).astype(int).sum(axis=2)
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    height = 1 - (row + 0.5) / drawn.height
    assert abs(40 * (top / 40) ** height / 1_000 - 1) < 0.1
    assert column < drawn.width / 2
    assert bright[:, -1].max() < bright.max() / 10
    facts = waveform(tone)
    # The level of a sine of amplitude 0.5 over half of the time: 20 log10(0.5 / sqrt(2) / sqrt(2)).
    assert (facts["peakDb"], facts["rmsDb"]) == (-6.0, -12.0)
    silent, _ = spectrogram(np.zeros(1, np.float32), 32_000)
    assert silent.width == drawn.width
    assert waveform(np.zeros(3, np.float32))["rmsDb"] == -99.0


def test_a_motion_is_drawn_without_gravity_and_its_units_are_inferred() -> None:
    time = np.arange(1_000) / 200
    moving = np.stack([0 * time, np.sin(time * 9), 0 * time + 9.81, 0 * time, 0 * time, np.cos(time)])
    drawn = motion(moving.astype(np.float32))
    assert drawn["units"] == ["m/s²", "rad/s"]
    assert drawn["gravity"][2] == 9.81
    assert max(abs(value) for value in drawn["channels"][2]) < 0.001
    assert max(drawn["channels"][5]) > 0.9
    unknown = motion((9 * moving).astype(np.float32))
    assert unknown["units"] == ["", ""]
    in_g = np.concatenate([moving[:3] / 9.81, moving[3:] * 90]).astype(np.float32)
    assert motion(in_g)["units"] == ["g", "°/s"]
