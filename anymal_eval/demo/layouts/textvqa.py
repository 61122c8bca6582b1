"""TextVQA 0.5.1: one JSON file, pictures under ``train_images``."""

from pathlib import Path

from anymal_eval.demo.annotators import ten_answers
from anymal_eval.demo.files import write_json, write_picture
from anymal_eval.demo.pictures import draw_picture
from anymal_eval.demo.plan import Groups, Plan
from anymal_eval.demo.questions import Question, ask_textvqa

FIRST_ID = {"eval": 34602, "train": 0}


def write(folder: Path, plan: Plan) -> Groups:
    """Write two questions a sign, in different wordings: a picture and a question name one row, as in the original."""
    split = plan.official("val")
    rows: list[dict[str, object]] = []
    groups: Groups = {}
    for _, random, picture, array in plan.pictures(lambda random: draw_picture(random, "sign")):
        if len(rows) >= plan.examples:
            break
        image_id = f"{random.getrandbits(64):016x}"
        write_picture(folder / "train_images" / f"{image_id}.jpg", array)
        drawn: dict[str, Question] = {}
        while len(drawn) < min(2, plan.examples - len(rows)):
            (question,) = ask_textvqa(random, picture, plan.split)
            drawn.setdefault(question.text, question)
        for question in drawn.values():
            question_id = FIRST_ID[plan.split] + len(rows)
            rows.append(
                {
                    "question": question.text.lower(),
                    "image_id": image_id,
                    "image_classes": ["Sign"],
                    "flickr_original_url": "",
                    "flickr_300k_url": "",
                    "image_width": 64,
                    "image_height": 64,
                    "answers": [answer["answer"] for answer in ten_answers(random, question)],
                    "question_tokens": question.text.lower().rstrip("?").split(),
                    "question_id": question_id,
                    "set_name": split,
                }
            )
            groups[str(question_id)] = {"wording": question.wording}
    head = {"dataset_type": split, "dataset_name": "textvqa", "dataset_version": "0.5.1"}
    write_json(folder / f"TextVQA_0.5.1_{split}.json", {**head, "data": rows})
    return groups
