"""MM-IT captions in our JSON lines: requests for a detailed description."""

from pathlib import Path

from anymal_eval.demo.files import write_jsonl, write_picture
from anymal_eval.demo.pictures import draw_picture
from anymal_eval.demo.plan import Groups, Plan
from anymal_eval.demo.questions import ask_mmit_cap


def write(folder: Path, plan: Plan) -> Groups:
    """Write one request a picture, five references each."""
    rows: list[dict[str, object]] = []
    groups: Groups = {}
    draws = plan.pictures(lambda random: draw_picture(random, random.choice(("group", "group", "group", "sign"))))
    for index, random, picture, array in draws:
        if len(rows) >= plan.examples:
            break
        name = f"mmit-{index:06d}"
        write_picture(folder / "images" / f"{name}.png", array)
        (question,) = ask_mmit_cap(random, picture, plan.split)
        references = [question.answer, *question.like]
        image = f"images/{name}.png"
        rows.append({"id": name, "image": image, "question": question.text, "references": references})
        groups[name] = {"wording": question.wording}
    write_jsonl(folder / f"{plan.official('test')}.jsonl", rows)
    return groups
