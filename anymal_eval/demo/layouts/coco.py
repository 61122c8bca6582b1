"""COCO captions in Karpathy's one file, with ``val2014/``."""

from pathlib import Path

from anymal_eval.demo.files import write_json, write_picture
from anymal_eval.demo.pictures import draw_picture, picture_captions
from anymal_eval.demo.plan import Groups, Plan


def write(folder: Path, plan: Plan) -> Groups:
    """Write five captions a picture; one picture in four is a sign."""
    part = plan.official("val2014")
    images: list[dict[str, object]] = []
    groups: Groups = {}
    draws = plan.pictures(lambda random: draw_picture(random, random.choice(("group", "group", "group", "sign"))))
    for index, _, picture, array in draws:
        if len(images) >= plan.examples:
            break
        cocoid = 1000 + index
        name = f"COCO_{part}_{cocoid:012d}.jpg"
        write_picture(folder / part / name, array)
        sentids = list(range(index * 5, index * 5 + 5))
        sentences = [
            {"tokens": caption.split(), "raw": f"{caption.capitalize()}.", "imgid": index, "sentid": sentid}
            for caption, sentid in zip(picture_captions(picture), sentids, strict=True)
        ]
        images.append(
            {
                "filepath": part,
                "sentids": sentids,
                "filename": name,
                "imgid": index,
                "split": plan.official("test"),
                "sentences": sentences,
                "cocoid": cocoid,
            }
        )
        groups[str(cocoid)] = {"wording": "seen"}
    write_json(folder / "dataset_coco.json", {"images": images, "dataset": "coco"})
    return groups
