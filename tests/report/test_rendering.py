"""Hostile names stay text in every format."""

import shutil
import subprocess
from pathlib import Path

import pytest

from anymal_eval import published
from anymal_eval.published import PaperTable
from anymal_eval.report.comparison import OUTPUTS
from anymal_eval.report.gains import gains_table
from anymal_eval.report.paper_table import paper_table
from anymal_eval.report.rendering import Cell, Table, escape_latex, escape_markdown, render
from anymal_eval.store.results import Results, parse_results

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


def own_rows(table: PaperTable) -> Results:
    """A run with a number, an interval and a footnote in every column of a published table."""
    facts = {"data": "demo", "protocol": "anymal-2023", "signature": "s", "unit": "fraction", "better": "higher",
             "value": 1.0, "ci_low": 0.9123, "ci_high": 1.0, "ci_method": "exact", "n": 9, "n_expected": 9,
             "states": {"ok": 9}, "group": None, "headline": True}  # fmt: skip
    measured = []
    for column in table.columns:
        output = OUTPUTS.get(column.metric, column.metric)
        split = column.same_splits[0] if column.same_splits else "test"
        metric, _, version = (column.rules[0] if column.rules else output).partition("@")
        measured.append(facts | {"task": column.our_task, "split": split, "metric": metric, "version": version or "1",
                                 "output": output})  # fmt: skip
    run = {"name": "night", "model": "a-rather-long-name-of-a-model:7b-instruct"}
    return parse_results({"schema": 1, "run": run, "measurements": measured}, "x")


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex (Debian: texlive-latex-base)")
def test_every_published_table_fits_the_text_beside_own_rows(tmp_path: Path) -> None:
    pages = []
    for name in published.names():
        for table in published.load(name).tables:
            pages.append(render(paper_table([own_rows(table)], f"{name}/{table.id}"), "latex"))
            assert "[91.2, 100.0]" in render(paper_table([own_rows(table)], f"{name}/{table.id}"), "md")
    wide = Table(title="t", columns=("model", "value"), rows=((Cell("x" * 300), Cell("1")),))
    body = "\n\\clearpage\n".join(pages)
    for graphics, text in ((True, body), (False, render(wide, "latex"))):
        file = tmp_path / f"tables{graphics:d}.tex"
        package = "\\usepackage{graphicx}" if graphics else ""
        file.write_text(
            f"\\documentclass{{article}}{package}\n\\begin{{document}}\n{text}\\end{{document}}\n", encoding="utf-8"
        )
        done = subprocess.run(
            [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", file.name],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]
        # pdflatex itself measures what is wider than the text, as it does in the table that is no published one.
        log = file.with_suffix(".log").read_text(encoding="latin-1")
        assert ("Overfull \\hbox" in log) is not graphics, log[-3000:]


def test_nothing_in_a_name_acts_on_a_terminal() -> None:
    page = render(table(Cell("a\x1b[31mb\x00\ud800"), Cell("1")), "md")
    assert "a&lt;U+001B&gt;[31mb&lt;U+0000&gt;&lt;U+D800&gt;" in page
