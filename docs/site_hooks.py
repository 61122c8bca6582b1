"""What MkDocs needs besides ``mkdocs.yml``: our fences, links that leave the folder, proof that nothing is fetched."""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

# "console exit 3": what stands behind the language is for tests/test_docs.py, and no fence to MkDocs.
FENCE = re.compile(r"^```(\w+) [^`\n]+$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)(?:#[^)]*)?\)")
FETCHED = re.compile(r"<(?:script|img|iframe|source|link|video|audio)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """A page as MkDocs reads it. A link to a file outside ``docs/``, which is not on the site, becomes its name."""
    del files
    docs = Path(config["docs_dir"]).resolve()

    def named(found: re.Match[str]) -> str:
        target = (Path(page.file.abs_src_path).parent / found[2]).resolve()
        if target.is_relative_to(docs) or not target.exists():
            return found[0]
        return f"{found[1]} (`{target.relative_to(docs.parent)}`)"

    return LINK.sub(named, FENCE.sub(r"```\1", markdown))


def on_post_page(output: str, page: Any, config: Any) -> str:
    """The page as it is written.

    Raises:
        PluginError: a browser would fetch something from another host.
    """
    del config
    for found in FETCHED.finditer(output):
        raise PluginError(f"{page.file.src_uri}: {found[0]} is fetched from another host")
    return output
