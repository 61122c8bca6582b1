"""ScienceQA: ``problems.json`` with lectures and solutions, ``pid_splits.json``, pictures for about half."""

from pathlib import Path
from random import Random

from anymal_eval.demo.files import write_json, write_picture
from anymal_eval.demo.pictures import draw_picture
from anymal_eval.demo.plan import Groups, Plan
from anymal_eval.demo.questions import Question
from anymal_eval.demo.school import ask_school_picture, ask_school_text

SPLITS = ("train", "val", "test", "trainval", "minitrain", "minival", "minitest")
# topic -> subject, topic, category, skill, lecture
SUBJECTS = {
    "school color": ("natural science", "physics", "Light", "Tell colors", "Shapes can have many colors."),
    "school shape": ("natural science", "physics", "Shapes", "Tell shapes", "A shape is told by its corners."),
    "school caption": ("language science", "writing", "Sentences", "Match sentences", "A caption tells what is seen."),
    "school friend": ("social science", "culture", "Friends", "Compare likes", "People like different colors."),
    "school box": ("language science", "reading", "Texts", "Find facts", "Read the text with care."),
    "school corners": ("natural science", "math", "Shapes", "Count corners", "Corners are where two sides meet."),
    "school fruit": ("natural science", "biology", "Plants", "Know fruits", "Fruits have different colors."),
}


def write(folder: Path, plan: Plan) -> Groups:
    """Write problems: 48 % on a picture, 30 % on a hint alone, 22 % on neither."""
    split = plan.official("test")
    problems: dict[str, object] = {}
    groups: Groups = {}
    draws = plan.pictures(lambda random: draw_picture(random, "group"))
    for index, random, picture, array in draws:
        if len(problems) >= plan.examples:
            break
        pid = str(index + 1)
        lot = random.randrange(50)
        if lot < 24:
            question = ask_school_picture(random, picture, plan.split)
            write_picture(folder / "images" / split / pid / "image.png", array)
        else:
            question = ask_school_text(random, plan.split, "hint" if lot < 39 else "neither")
        problems[pid] = _problem(random, question, split, "image.png" if lot < 24 else None)
        groups[pid] = {"wording": question.wording}
    ids = {name: [] if not name.endswith(split) else list(problems) for name in SPLITS}
    if split == "train":
        ids["trainval"] = list(problems)
    write_json(folder / "problems.json", problems)
    write_json(folder / "pid_splits.json", ids)
    return groups


def _problem(random: Random, question: Question, split: str, image: str | None) -> dict[str, object]:
    subject, topic, category, skill, lecture = SUBJECTS[question.topic]
    return {
        "question": question.text,
        "choices": list(question.options),
        "answer": question.label,
        "hint": question.context["hint"],
        "image": image,
        "task": "closed choice",
        "grade": f"grade{random.randrange(1, 13)}",
        "subject": subject,
        "topic": topic,
        "category": category,
        "skill": skill,
        "lecture": lecture,
        "solution": f"The answer is {question.answer}.",
        "split": split,
    }
