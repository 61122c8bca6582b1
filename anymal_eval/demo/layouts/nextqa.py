"""NExT-QA, multiple choice: a csv, a map of the videos' paths, 16-frame clips."""

from pathlib import Path

from anymal_eval.demo.clips import FPS, FRAMES
from anymal_eval.demo.drawing import SIDE
from anymal_eval.demo.files import write_clip, write_csv, write_json
from anymal_eval.demo.plan import Groups, Plan
from anymal_eval.demo.questions_time import NEXT_TYPES, ask_nextqa

HEADER = ("video", "frame_count", "width", "height", "question", "answer", "qid", "type", "a0", "a1", "a2", "a3", "a4")


def write(folder: Path, plan: Plan) -> Groups:
    """Write three questions a clip; ``qid`` is unique only within a clip, as in the original."""
    rows: list[tuple[object, ...]] = []
    paths: dict[str, str] = {}
    groups: Groups = {}
    for index, random, clip, array in plan.clips():
        if len(rows) >= plan.examples:
            break
        video = str(2400000000 + index)
        paths[video] = f"{index // 1000:04d}/{video}"
        write_clip(folder / "videos" / f"{paths[video]}.mp4", array, FPS)
        for qid, question in enumerate(ask_nextqa(random, clip, plan.split)[: plan.examples - len(rows)]):
            kind = NEXT_TYPES[question.topic]
            head = (video, FRAMES, SIDE, SIDE, question.text, question.label, qid, kind)
            rows.append((*head, *question.options))
            groups[f"{video}_{qid}"] = {"wording": question.wording}
    write_csv(folder / f"{plan.official('val')}.csv", HEADER, rows)
    write_json(folder / "map_vid_vidorID.json", paths)
    return groups
