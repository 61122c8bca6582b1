"""VizWiz-VQA: one question a picture, a third of the pictures too bad to answer from."""

from pathlib import Path
from random import Random

from anymal_eval.demo.annotators import ten_answers
from anymal_eval.demo.files import write_json, write_picture
from anymal_eval.demo.layouts.vqav2 import answer_type
from anymal_eval.demo.pictures import Picture, Spoilt, draw_picture
from anymal_eval.demo.plan import Groups, Plan
from anymal_eval.demo.questions import ask_vizwiz

SPOILT: tuple[Spoilt, ...] = ("dark", "blurred", "covered", "", "", "", "", "", "")


def write(folder: Path, plan: Plan) -> Groups:
    """Write ``Annotations/val.json`` and one picture a question."""
    split = plan.official("val")
    rows: list[dict[str, object]] = []
    groups: Groups = {}
    for index, random, picture, array in plan.pictures(_draw):
        if len(rows) >= plan.examples:
            break
        name = f"VizWiz_{split}_{index:08d}.jpg"
        write_picture(folder / split / name, array)
        (question,) = ask_vizwiz(random, picture, plan.split)
        answerable = int(not picture.spoilt)
        rows.append(
            {
                "image": name,
                "question": question.text,
                "answers": ten_answers(random, question),
                "answer_type": answer_type(question.answer) if answerable else "unanswerable",
                "answerable": answerable,
            }
        )
        groups[name] = {"wording": question.wording}
    write_json(folder / "Annotations" / f"{split}.json", rows)
    return groups


def _draw(random: Random) -> Picture:
    return draw_picture(random, random.choice(("group", "sign")), random.choice(SPOILT))
