"""OK-VQA: as VQA, but five people's answers each written twice, with stems."""

from pathlib import Path

from anymal_eval.demo.annotators import five_answers_twice
from anymal_eval.demo.files import write_json, write_picture
from anymal_eval.demo.layouts.vqav2 import LICENSE
from anymal_eval.demo.pictures import draw_picture
from anymal_eval.demo.plan import Groups, Plan
from anymal_eval.demo.questions import ask_okvqa

TYPES = {"fruit": "six", "animal": "seven", "thing": "three"}  # foods, animals, objects in OK-VQA's count


def write(folder: Path, plan: Plan) -> Groups:
    """Write two questions a picture."""
    split = plan.official("val2014")
    questions: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    groups: Groups = {}
    for index, random, picture, array in plan.pictures(lambda random: draw_picture(random, "group")):
        if len(questions) >= plan.examples:
            break
        image_id = 1000 + index
        write_picture(folder / split / f"COCO_{split}_{image_id:012d}.jpg", array)
        for k, question in enumerate(ask_okvqa(random, picture, plan.split)[: plan.examples - len(questions)]):
            question_id = image_id * 10 + k
            questions.append({"image_id": image_id, "question": question.text, "question_id": question_id})
            answers = five_answers_twice(random, question)
            annotations.append(
                {
                    "image_id": image_id,
                    "answer_type": "other",
                    "question_type": TYPES[question.topic],
                    "question_id": question_id,
                    "answers": [{"answer_id": k, **answer} for k, answer in enumerate(answers, start=1)],
                    "confidence": random.randrange(3, 6),
                }
            )
            groups[str(question_id)] = {"wording": question.wording}
    head = {"info": {"description": "generated demo data"}, "license": LICENSE, "data_subtype": split}
    write_json(
        folder / f"OpenEnded_mscoco_{split}_questions.json",
        {**head, "task_type": "Open-Ended", "data_type": "mscoco", "questions": questions},
    )
    write_json(folder / f"mscoco_{split}_annotations.json", {**head, "data_type": "mscoco", "annotations": annotations})
    return groups
