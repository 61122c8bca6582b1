"""Hateful Memes, a harmless stand-in: label 1 where the written colour contradicts the shape's."""

from pathlib import Path

from anymal_eval.demo.files import write_jsonl, write_picture
from anymal_eval.demo.pictures import contradicts, draw_picture
from anymal_eval.demo.plan import Groups, Plan


def write(folder: Path, plan: Plan) -> Groups:
    """Write ``dev_seen.jsonl`` (or ``train.jsonl``) and ``img/``."""
    rows: list[dict[str, object]] = []
    for index, _, picture, array in plan.pictures(lambda random: draw_picture(random, "meme")):
        if len(rows) >= plan.examples or picture.sign is None:
            break
        meme_id = 10000 + index
        image = f"img/{meme_id:05d}.png"
        write_picture(folder / image, array)
        rows.append({"id": meme_id, "img": image, "label": int(contradicts(picture)), "text": picture.sign.word})
    write_jsonl(folder / f"{plan.official('dev_seen')}.jsonl", rows)
    return {str(row["id"]): {"wording": "seen"} for row in rows}
