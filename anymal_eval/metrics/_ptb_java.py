"""The official tokenizer: Stanford PTBTokenizer 3.4.1 from the jar in pycocoevalcap 1.2."""

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from anymal_eval.errors import BadData, NeedsExtra, NeedsJava
from anymal_eval.locks import temporary

_JAR = Path("tokenizer") / "stanford-corenlp-3.4.1.jar"
_REMOVED = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"))
_LINE_BREAKS = str.maketrans(dict.fromkeys("\n\r\v\f\u2028\u2029", " "))


def tokenise_all(captions: Sequence[str]) -> list[str]:
    """The tokens of each caption, from Java, with all captions in one file.

    The official code replaces only the line feed in a caption; other line breaks add a line to the output and shift
    every later caption. Here all of them become spaces.

    Args:
        captions: N captions.

    Returns:
        N strings of tokens joined by spaces, lower-cased and without punctuation, as from pycocoevalcap.

    Raises:
        NeedsJava: there is no ``java``.
        NeedsExtra: pycocoevalcap is not installed.
        BadData: the output has another number of lines.

    Source:
        salaniz/pycocoevalcap 1.2 ``tokenizer/ptbtokenizer.py``.
    """
    if not captions:
        return []
    java = shutil.which("java")
    if java is None:
        raise NeedsJava("the official tokenizer needs a Java runtime, and there is no 'java' on PATH")
    text = "\n".join(caption.translate(_LINE_BREAKS) for caption in captions)
    with temporary("ptb-") as folder:
        file = folder / "captions.txt"
        # What Java cannot read (half of a surrogate pair) becomes a question mark, as in Java itself.
        file.write_bytes(text.encode("utf-8", errors="replace"))
        options = ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
        command = [java, "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", str(jar())]
        done = subprocess.run(
            [*command, "edu.stanford.nlp.process.PTBTokenizer", *options, str(file)],
            capture_output=True,
            check=False,
        )
    if done.returncode != 0:
        raise BadData(f"the Java tokenizer failed: {done.stderr.decode(errors='replace').strip()[-300:]}")
    lines = done.stdout.decode("utf-8").split("\n")
    if lines[-1] == "" and len(lines) == len(captions) + 1:
        lines.pop()
    if len(lines) != len(captions):
        raise BadData(f"the Java tokenizer gave {len(lines)} lines for {len(captions)} captions")
    return [" ".join(token for token in line.rstrip().split(" ") if token not in _REMOVED) for line in lines]


def jar() -> Path:
    """The path of the tokenizer's jar.

    Raises:
        NeedsExtra: pycocoevalcap is not installed.
    """
    package = importlib.util.find_spec("pycocoevalcap")
    for folder in (package.submodule_search_locations or ()) if package else ():
        if (Path(folder) / _JAR).is_file():
            return Path(folder) / _JAR
    raise NeedsExtra("pycocoevalcap 1.2, which brings the official tokenizer, is not here: pip install pycocoevalcap")
