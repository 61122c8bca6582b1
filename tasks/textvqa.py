"""TextVQA: questions about the words in OpenImages photographs.

Paper     Singh et al. 2019, arXiv:1904.08920
Split     val: 5,000 questions, ten human answers each
Reported  on val with the m4c rule; with or without OCR tokens in the prompt, which moves it by ten points
Licence   CC BY 4.0
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import Hub, JsonFiles, vqa
from anymal_eval.task import Download, Split, Task

CITED = "datasets/textvqa/dataset_infos.json of github.com/huggingface/datasets"


def to_example(row: vqa.VQARow) -> Example:
    """One question, whichever source it came from; ``ocr_tokens`` only where the source has them."""
    return Example(
        id=row.question_id,
        cluster=row.image_id,
        kind="short_answer",
        media=(Media(kind="image", uri=row.image),),
        question=row.question,
        context={"ocr_tokens": ", ".join(row.ocr_tokens)} if row.ocr_tokens else {},
        references=row.answers,
    )


TASK = Task(
    name="textvqa",
    version=1,
    kind="short_answer",
    media="image",
    splits=(Split("val", expected=5_000),),
    official=vqa.TextVQAFiles(
        own=JsonFiles(
            file="TextVQA_0.5.1_{split}.json",
            key="data",
            origin="textvqa.org/dataset",
            folders={"train_images": "textvqa.org/dataset (train_val_images)"},
            read=vqa.textvqa,
        ),
        pair=JsonFiles(
            file="{split}_questions_vqa_format.json",
            key="questions",
            id="question_id",
            origin="github.com/mlfoundations/open_flamingo",
            annotations=JsonFiles(
                file="{split}_annotations_vqa_format.json",
                key="annotations",
                id="question_id",
                origin="github.com/mlfoundations/open_flamingo",
            ),
            read=vqa.textvqa,
        ),
    ),
    hub=Hub(
        id="lmms-lab-encoder/textvqa",
        aliases=("lmms-lab/textvqa",),  # until 2026-07-30
        splits={"val": "validation"},
        read=vqa.textvqa,
        media="image",
        large=True,
    ),
    to_example=to_example,
    metrics=("vqa_accuracy@textvqa",),
    headline="vqa_accuracy@textvqa",
    downloads=(
        Download(
            url="https://dl.fbaipublicfiles.com/textvqa/data/TextVQA_0.5.1_val.json",
            to="TextVQA_0.5.1_val.json",
            size=3_116_162,
            sha256="4ceb5aadc1a41719d0a3e4dfdf06838bcfee1db569a9a65ee67d31c99893081d",
            cited=CITED,
        ),
        Download(
            url="https://dl.fbaipublicfiles.com/textvqa/data/TextVQA_Rosetta_OCR_v0.2_val.json",
            to="TextVQA_Rosetta_OCR_v0.2_val.json",
        ),
        Download(
            url="https://dl.fbaipublicfiles.com/textvqa/images/train_val_images.zip",
            members={"train_images/": "train_images/"},
            size=7_072_297_970,
            sha256="ecf35005640d0708eae185aab1c0a10f89b2db7420b29185a1ed92a8f4290498",
            cited=CITED,
            media=True,
        ),
    ),
)
