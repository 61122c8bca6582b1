"""STAR: situated questions of four types on a window of a longer clip."""

from pathlib import Path

from anymal_eval.demo.clips import FPS
from anymal_eval.demo.files import write_clip, write_json
from anymal_eval.demo.plan import WINDOW, Groups, Plan, long_clip
from anymal_eval.demo.questions_time import STAR_TYPES, ask_star


def write(folder: Path, plan: Plan) -> Groups:
    """Write one question of each type a clip; before and after the window something else is seen."""
    rows: list[dict[str, object]] = []
    groups: Groups = {}
    for index, random, clip, array in plan.clips("move"):
        if len(rows) >= plan.examples:
            break
        video = f"D{index:05d}"
        write_clip(folder / "videos" / f"{video}.mp4", long_clip(random, array, plan.split), FPS)
        for question in ask_star(random, clip, plan.split)[: plan.examples - len(rows)]:
            question_id = f"{STAR_TYPES[question.topic]}_T1_{index}"
            rows.append(
                {
                    "question_id": question_id,
                    "question": question.text,
                    "video_id": video,
                    "start": WINDOW[0],
                    "end": WINDOW[1],
                    "answer": question.answer,
                    "question_program": [],
                    "choices": [{"choice_id": k, "choice": option} for k, option in enumerate(question.options)],
                    "situations": {},
                }
            )
            groups[question_id] = {"wording": question.wording}
    write_json(folder / f"STAR_{plan.official('val')}.json", rows)
    return groups
