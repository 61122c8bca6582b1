"""Hostile names stay text in every format."""

import shutil
import subprocess
from pathlib import Path

import pytest

from anymal_eval.report.gains import gains_table
from anymal_eval.report.paper_table import paper_table
from anymal_eval.report.rendering import Cell, Table, escape_latex, escape_markdown, render

HOSTILE = '<script>alert("x")</script> & 100% $a_b^c~{d}\\end | [x](javascript:y) *z*\nnext'


def table(*cells: Cell) -> Table:
    return Table(title=HOSTILE, columns=("model", "a_b"), rows=(cells,), notes=(HOSTILE,))


def test_html_escapes_names_titles_and_notes() -> None:
    page = render(table(Cell(HOSTILE), Cell("1", bold=True, italic=True, underline=True)), "html")
    assert "<script>" not in page
    assert page.count("&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; &amp; 100%") == 4
    assert "<td><strong><em><u>1</u></em></strong></td>" in page


def test_latex_escapes_every_special_character() -> None:
    assert escape_latex('\\ { } & % $ # _ ~ ^ < > | " [ ]') == (
        r"\textbackslash{} \{ \} \& \% \$ \# \_ \textasciitilde{} \textasciicircum{} "
        r"\textless{} \textgreater{} \textbar{} '' {[} {]}"
    )
    page = render(table(Cell(HOSTILE), Cell("1", bold=True, italic=True, underline=True)), "latex")
    assert r"\textbf{\textit{\underline{1}}}" in page
    assert r"\toprule" in page
    assert r"a\_b" in page
    assert "\nnext" not in page


def test_markdown_keeps_one_row_a_row_and_shows_names_as_they_are() -> None:
    page = render(table(Cell(HOSTILE), Cell("1", bold=True, italic=True, underline=True)), "md")
    assert "***<u>1</u>***" in page
    assert "<script>" not in page
    assert "](javascript" not in page
    grid = [line for line in page.splitlines() if line.startswith("|")]
    assert len(grid) == 3
    assert escape_markdown("_x_ a_b") == r"\_x\_ a_b"


def test_a_table_without_rows_renders() -> None:
    empty = Table(title="t", columns=("model", "value"), rows=())
    assert "model" in render(empty, "md")
    assert "model" in render(empty, "latex")
    assert render(empty, "csv") == "model,value\nt,\n"
    assert "<th>value</th>" in render(empty, "html")


PDFLATEX = shutil.which("pdflatex")


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex (Debian: texlive-latex-base)")
def test_the_latex_compiles(tmp_path: Path) -> None:
    hostile = table(Cell(f"[{HOSTILE}] \u6a21\u578b \u00e9\u00df \x1b", bold=True), Cell("1", underline=True))
    tables = [hostile, paper_table([], "anymal-2023/4"), gains_table("anymal-2023")]
    body = "\n".join(render(each, "latex") for each in tables)
    file = tmp_path / "tables.tex"
    file.write_text(f"\\documentclass{{article}}\n\\begin{{document}}\n{body}\\end{{document}}\n", encoding="utf-8")
    done = subprocess.run(
        [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", file.name],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").is_file()


def test_nothing_in_a_name_acts_on_a_terminal() -> None:
    page = render(table(Cell("a\x1b[31mb\x00\ud800"), Cell("1")), "md")
    assert "a&lt;U+001B&gt;[31mb&lt;U+0000&gt;&lt;U+D800&gt;" in page
