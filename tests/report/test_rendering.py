"""Hostile names stay text in every format."""

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
        r"\textless{} \textgreater{} \textbar{} \textquotedbl{} {[} {]}"
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
