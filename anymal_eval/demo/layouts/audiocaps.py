"""AudioCaps: ``test.csv`` with five rows a clip (``train.csv`` with one), a WAV a clip."""

from pathlib import Path

from anymal_eval.demo.files import write_csv, write_sound
from anymal_eval.demo.plan import Groups, Plan
from anymal_eval.demo.sounds import RATE, sound_captions

HEADER = ("audiocap_id", "youtube_id", "start_time", "caption")


def write(folder: Path, plan: Plan) -> Groups:
    """Write ``examples`` clips; the evaluation file has five rows for each."""
    rows: list[tuple[object, ...]] = []
    groups: Groups = {}
    for index, _, sound, array in plan.sounds():
        if len(groups) >= plan.examples:
            break
        youtube_id, start = f"demo{index:07d}", index * 10 % 300
        write_sound(folder / "audio" / f"{youtube_id}_{start}.wav", array, RATE)
        captions = sound_captions(sound)
        for caption in captions if plan.split == "eval" else captions[:1]:
            rows.append((len(rows) + 1, youtube_id, start, caption.capitalize()))
        groups[youtube_id] = {"wording": "seen"}
    write_csv(folder / f"{plan.official('test')}.csv", HEADER, rows)
    return groups
