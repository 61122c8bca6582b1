"""How2QA in VALUE's release: JSON lines, a map from its numbers to YouTube ids and times, windows in ``ts``."""

from pathlib import Path

from anymal_eval.demo.clips import FPS
from anymal_eval.demo.files import write_clip, write_json, write_jsonl
from anymal_eval.demo.plan import WINDOW, Groups, Plan, long_clip
from anymal_eval.demo.questions_time import ask_how2qa


def write(folder: Path, plan: Plan) -> Groups:
    """Write two questions a clip; the map's values are ``{YouTube id}_{start}_{end}``, and so are the files' names."""
    rows: list[dict[str, object]] = []
    names: dict[str, str] = {}
    groups: Groups = {}
    for index, random, clip, array in plan.clips():
        if len(rows) >= plan.examples:
            break
        video = str(index + 1)
        names[video] = f"demo{index:07d}_0_60"
        write_clip(folder / "videos" / f"{names[video]}.mp4", long_clip(random, array, plan.split), FPS)
        for question in ask_how2qa(random, clip, plan.split)[: plan.examples - len(rows)]:
            qid = 30000 + len(rows)
            options = {f"a{k}": option for k, option in enumerate(question.options)}
            window = f"{WINDOW[0]:.2f}-{WINDOW[1]:.2f}"
            row = {"vid_name": video, "ts": window, "qid": qid, "q": question.text}
            rows.append({**row, **options, "answer_idx": question.label})
            groups[str(qid)] = {"wording": question.wording}
    write_jsonl(folder / f"how2qa_{plan.official('val')}_release.jsonl", rows)
    write_json(folder / "how2_vid_mapping.json", names)
    return groups
