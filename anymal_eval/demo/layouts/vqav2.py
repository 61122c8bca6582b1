"""VQAv2: questions and annotations as the VQA site gives them, ``COCO_val2014_*.jpg`` beside."""

from pathlib import Path
from random import Random

from anymal_eval.demo.annotators import ten_answers
from anymal_eval.demo.files import write_json, write_picture
from anymal_eval.demo.pictures import Picture, draw_picture
from anymal_eval.demo.plan import Groups, Plan
from anymal_eval.demo.questions import Question, ask_vqav2

LICENSE = {"url": "none", "name": "generated"}
# Longest first: the first one that a question starts with is its type.
PREFIXES = (
    *("what color are the", "what color is the", "where are the", "what kind of", "is there a", "what number"),
    *("what is the", "what color", "are there", "how many", "are the", "is the", "which", "what", "do", "is"),
)


def write(folder: Path, plan: Plan) -> Groups:
    """Write about five questions a picture; one picture in twelve holds two groups of shapes."""
    split = plan.official("val2014")
    questions: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    groups: Groups = {}
    for index, random, picture, array in plan.pictures(_draw):
        if len(questions) >= plan.examples:
            break
        image_id = 1000 + index
        write_picture(folder / split / f"COCO_{split}_{image_id:012d}.jpg", array)
        drawn = ask_vqav2(random, picture, plan.split)
        for k, question in enumerate(drawn[: plan.examples - len(questions)]):
            question_id = image_id * 1000 + k
            questions.append({"image_id": image_id, "question": question.text, "question_id": question_id})
            annotations.append(_annotation(random, question, image_id, question_id))
            groups[str(question_id)] = {"wording": question.wording, "picture": picture.kind}
    head = {"info": {"description": "generated demo data"}, "license": LICENSE, "data_subtype": split}
    write_json(
        folder / f"v2_OpenEnded_mscoco_{split}_questions.json",
        {**head, "task_type": "Open-Ended", "data_type": "mscoco", "questions": questions},
    )
    write_json(
        folder / f"v2_mscoco_{split}_annotations.json", {**head, "data_type": "mscoco", "annotations": annotations}
    )
    return groups


def _draw(random: Random) -> Picture:
    return draw_picture(random, "two groups" if random.randrange(12) == 0 else "group")


def _annotation(random: Random, question: Question, image_id: int, question_id: int) -> dict[str, object]:
    answers = [{**answer, "answer_id": k} for k, answer in enumerate(ten_answers(random, question), start=1)]
    return {
        "question_type": question_type(question.text),
        "multiple_choice_answer": question.answer,
        "answers": answers,
        "image_id": image_id,
        "answer_type": answer_type(question.answer),
        "question_id": question_id,
    }


def question_type(text: str) -> str:
    """VQA's question type: the first words of the question, from a fixed list.

    >>> question_type("What color are the shapes?"), question_type("Name it.")
    ('what color are the', 'none of the above')
    """
    lower = text.lower()
    return next((prefix for prefix in PREFIXES if lower.startswith(prefix + " ")), "none of the above")


def answer_type(answer: str) -> str:
    """VQA's answer type.

    >>> answer_type("yes"), answer_type("3"), answer_type("red")
    ('yes/no', 'number', 'other')
    """
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.isdigit() else "other"
