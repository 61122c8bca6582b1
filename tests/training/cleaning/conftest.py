"""A spaCy pipeline that was trained on the labelled captions, drawn pictures, and shards of both."""

import io
import random
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.training.cleaning.captions import POS, Labelled, labelled

spacy = pytest.importorskip("spacy", reason="spaCy is not installed (the clean extra)")


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """spaCy's English pipelines are on no package index: this one knows the words of the labelled captions."""
    from spacy.tokens import Doc
    from spacy.training import Example

    nlp = spacy.blank("en")
    random.seed(0)
    spacy.util.fix_random_seed(0)
    small = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 32, "depth": 2,
             "embed_size": 300, "window_size": 1, "maxout_pieces": 2, "subword_features": False}  # fmt: skip
    tagger = {"@architectures": "spacy.Tagger.v2", "tok2vec": small}
    parser = {"@architectures": "spacy.TransitionBasedParser.v2", "state_type": "parser", "extra_state_tokens": False,
              "hidden_width": 32, "maxout_pieces": 2, "use_upper": True, "tok2vec": small}  # fmt: skip
    nlp.add_pipe("morphologizer", config={"model": tagger})
    nlp.add_pipe("parser", config={"model": parser, "min_action_freq": 1})
    examples = []
    for one in labelled():
        gold = Doc(nlp.vocab, words=list(one.words), pos=[POS[tag] for tag in one.tags],
                   heads=list(one.heads), deps=list(one.relations))  # fmt: skip
        examples.append(Example(nlp.make_doc(one.text), gold))
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for epoch in range(120):
        random.shuffle(examples)
        for batch in spacy.util.minibatch(examples, 8):
            nlp.update(batch, sgd=optimizer)
        # Rounding differs between processors: it is trained until it has learnt them.
        if epoch % 5 == 4 and all(_parsed(nlp, one) for one in labelled()):
            break
    folder = tmp_path_factory.mktemp("pipeline")
    nlp.meta["name"], nlp.meta["version"] = "labelled", "1.0"
    nlp.to_disk(folder)
    return folder


def _parsed(nlp: Any, one: Labelled) -> bool:
    wanted = zip([POS[tag] for tag in one.tags], one.relations, one.heads, strict=True)
    return [(token.pos_, token.dep_, token.head.i) for token in nlp(one.text)] == list(wanted)


def picture(text: str = "", size: tuple[int, int] = (240, 120)) -> Image.Image:
    """A drawn picture, with a text in it."""
    made = Image.new("RGB", size, (250, 250, 245))
    drawing = ImageDraw.Draw(made)
    drawing.ellipse((10, 60, 60, 110), fill=(90, 140, 200))
    if text:
        drawing.text((20, 10), text, fill=(20, 20, 20), font=ImageFont.load_default(size=34))
    return made


def person() -> Image.Image:
    """A public-domain portrait of the U.S. Navy, which matplotlib ships."""
    from matplotlib import cbook

    return Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def write_shard(file: Path, samples: Sequence[Mapping[str, Any]]) -> Path:
    """Each sample: members by ending, in their order."""
    with tarfile.open(file, "w") as archive:
        for number, sample in enumerate(samples):
            for ending, content in sample.items():
                entry = tarfile.TarInfo(f"{number:04d}.{ending}")
                body = content if isinstance(content, bytes) else str(content).encode()
                entry.size = len(body)
                archive.addfile(entry, io.BytesIO(body))
    return file


def read_shard(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def pixels(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
