"""One table, four formats with the same content: Markdown, LaTeX (booktabs), CSV, HTML."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

from anymal_eval.visible import visible_line

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["md", "latex", "csv", "html"]
Tone = Literal["", "better", "worse", "unsure", "quiet"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: Mapping[Format, str] = {"md": ".md", "latex": ".tex", "csv": ".csv", "html": ".html"}

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    # After the end of a row a bracket would be read as that row's optional argument.
    "[": "{[}",
    "]": "{]}",
}
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?( %)?")
# Every LaTeX prints characters up to this one; others need fonts that the reader may not have.
_LAST_LATIN = "\u017f"
# Without booktabs the table still compiles, with plain rules.
LATEX_PREAMBLE = r"""% best with \usepackage{booktabs}
\providecommand{\toprule}{\hline}
\providecommand{\midrule}{\hline}
\providecommand{\bottomrule}{\hline}"""
# A table that is wider than the text is made smaller, as graphicx can; without it, it keeps its width.
LATEX_WIDTH = r"""% as wide as the text at most with \usepackage{graphicx}
\providecommand{\resizebox}[3]{#3}"""

_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ table.title }}</title>
<style>
body { font-family: sans-serif; margin: 2em; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; }
caption { text-align: left; font-weight: bold; padding: 0.3em 0; }
th { border-bottom: 1px solid; text-align: left; }
th, td { padding: 0.15em 0.6em; vertical-align: top; }
</style>
</head>
<body>
<table>
<caption>{{ table.title }}</caption>
<thead><tr>{% for column in table.columns %}<th>{{ column }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}<tr>{% for cell in row %}<td>
{%- if cell.bold %}<strong>{% endif %}{% if cell.italic %}<em>{% endif %}{% if cell.underline %}<u>{% endif -%}
{{ cell.text }}
{%- if cell.underline %}</u>{% endif %}{% if cell.italic %}</em>{% endif %}{% if cell.bold %}</strong>{% endif -%}
</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
{% for note in table.notes %}<p>{{ note }}</p>
{% endfor %}</body>
</html>
"""


@dataclass(frozen=True)
class Cell:
    """The text of one table cell, and its style.

    Attributes:
        text: all of it.
        below: the end of ``text`` that stands below the rest, smaller, in a paper.
        marks: the letters of footnotes, which end ``text`` in brackets.
        tone: its colour on a terminal.
    """

    text: str
    bold: bool = False
    italic: bool = False
    underline: bool = False
    below: str = ""
    marks: tuple[str, ...] = ()
    tone: Tone = ""

    def __post_init__(self) -> None:
        """Put the text on one line: a line break would start a new row in Markdown."""
        object.__setattr__(self, "text", visible_line(self.text))


@dataclass(frozen=True, kw_only=True)
class PaperLayout:
    r"""How a table stands in a paper; all of it is escaped where it is used.

    Attributes:
        caption: of the table.
        label: the name in ``\label``; what is no letter or digit becomes a hyphen.
        heads: the lines of each column's heading; a column without lines is left out.
        rule_before: the number of the row above which a rule is drawn; 0 for none.
        rows: the numbers of the rows that stand in a paper; None for all.
        footnotes: letter -> sentence.
        remarks: other sentences below the table.
    """

    caption: str
    label: str
    heads: tuple[tuple[str, ...], ...]
    rule_before: int = 0
    rows: tuple[int, ...] | None = None
    footnotes: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table before formatting. Column names are unique; ``notes`` are printed below it.

    Attributes:
        tidy: the same for programs, one value a cell: a mapping for each row of the CSV; empty where the table as it
            is shown is what a program reads.
        paper: how it stands in a paper; None for the plain table.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    tidy: tuple[Mapping[str, str], ...] = ()
    paper: PaperLayout | None = None

    def __post_init__(self) -> None:
        """Put the title, the columns and each note on one line."""
        object.__setattr__(self, "columns", tuple(visible_line(column) for column in self.columns))
        object.__setattr__(self, "title", visible_line(self.title))
        object.__setattr__(self, "notes", tuple(visible_line(note) for note in self.notes))

    @property
    def frame(self) -> "pd.DataFrame":
        """The cells' texts as a pandas frame."""
        import pandas as pd

        return pd.DataFrame([[cell.text for cell in row] for row in self.rows], columns=list(self.columns), dtype=str)


def render(table: Table, format: Format) -> str:
    """The table as text that ends with a newline; all text is escaped for its format.

    Args:
        table: the table.
        format: ``md`` for GitHub and terminals, ``latex`` with booktabs, ``csv`` for programs (without ``tidy``
            with the title and the notes as last rows), ``html`` as a self-contained page.
    """
    match format:
        case "md":
            return _markdown(table)
        case "latex":
            return _latex(table)
        case "csv":
            return _csv(table)
        case "html":
            return _html(table)


def escape_latex(text: str) -> str:
    r"""Text that LaTeX prints literally; a character beyond the Latin ones as its code point.

    >>> escape_latex("50% of a_b & {c}")
    '50\\% of a\\_b \\& \\{c\\}'
    >>> escape_latex("\u6a21")
    'U+6A21'
    """
    return "".join(_LATEX.get(letter, letter) if letter <= _LAST_LATIN else f"U+{ord(letter):04X}" for letter in text)


def escape_markdown(text: str) -> str:
    r"""Text that Markdown shows literally; underscores inside a word need no escape.

    >>> escape_markdown("vqa_accuracy@2021 <b> a|b *x*")
    'vqa_accuracy@2021 &lt;b&gt; a\\|b \\*x\\*'
    """
    text = re.sub(r"([\\`*|])", r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    return text.replace("](", r"]\(")


def _markdown(table: Table) -> str:
    from tabulate import tabulate

    rows = [[_markdown_cell(cell) for cell in row] for row in table.rows]
    headers = [escape_markdown(column) for column in table.columns]
    grid = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    notes = [escape_markdown(note) for note in table.notes]
    return "\n\n".join([f"**{escape_markdown(table.title)}**", grid, *notes]) + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    if not text:
        return text
    text = f"<u>{text}</u>" if cell.underline else text
    text = f"*{text}*" if cell.italic else text
    return f"**{text}**" if cell.bold else text


def _latex(table: Table) -> str:
    if table.paper is not None:
        return _paper_latex(table, table.paper)
    columns = [escape_latex(column) for column in table.columns]
    grid = _latex_grid([[_latex_cell(cell) for cell in row] for row in table.rows], columns)
    notes = [rf"\par\footnotesize {escape_latex(note)}" for note in table.notes]
    caption = rf"\caption{{{escape_latex(table.title)}}}"
    lines = [LATEX_PREAMBLE, r"\begin{table}", r"\centering", caption, grid, *notes, r"\end{table}"]
    return "\n".join(lines) + "\n"


def _paper_latex(table: Table, layout: PaperLayout) -> str:
    """A table that is at most as wide as the text: intervals below their values, headings on several lines."""
    kept = [at for at, head in enumerate(layout.heads) if head]
    heads = [_stacked([escape_latex(line) for line in layout.heads[at]], "b") for at in kept]
    shown = table.rows if layout.rows is None else [table.rows[number] for number in layout.rows]
    rows = [[_paper_cell(row[at]) for at in kept] for row in shown]
    grid = _latex_grid(rows, heads, layout.rule_before)
    notes = [*map(escape_latex, layout.remarks)]
    notes += [rf"\textsuperscript{{{letter}}}~{escape_latex(note)}." for letter, note in layout.footnotes.items()]
    lines = [
        LATEX_PREAMBLE,
        LATEX_WIDTH,
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(layout.caption)}}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9]', '-', layout.label)}}}",
        r"\small",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        grid + "}",
        r"\par\medskip",
        r"\begin{minipage}{\linewidth}\raggedright\footnotesize",
        *notes,
        r"\end{minipage}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_grid(rows: Sequence[Sequence[str]], columns: Sequence[str], rule_before: int = 0) -> str:
    shown = [rf"{' & '.join(row)} \\" for row in rows]
    if rule_before:
        shown.insert(rule_before, r"\midrule")
    start = [rf"\begin{{tabular}}{{{'l' * len(columns)}}}", r"\toprule", rf"{' & '.join(columns)} \\", r"\midrule"]
    return "\n".join([*start, *shown, r"\bottomrule", r"\end{tabular}"])


def _paper_cell(cell: Cell) -> str:
    marks = f" ({','.join(cell.marks)})" if cell.marks else ""
    text = cell.text.removesuffix(marks).removesuffix(f" {cell.below}" if cell.below else "")
    shown = _latex_cell(replace(cell, text=text))
    if cell.marks:
        shown += rf"\textsuperscript{{{','.join(cell.marks)}}}"
    return _stacked([shown, rf"{{\scriptsize {escape_latex(cell.below)}}}"], "t") if cell.below else shown


def _stacked(lines: Sequence[str], position: str) -> str:
    if len(lines) == 1:
        return lines[0]
    return rf"\begin{{tabular}}[{position}]{{@{{}}l@{{}}}}" + r" \\ ".join(lines) + r"\end{tabular}"


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(cell.text)
    if not text:
        return text
    text = rf"\underline{{{text}}}" if cell.underline else text
    text = rf"\textit{{{text}}}" if cell.italic else text
    return rf"\textbf{{{text}}}" if cell.bold else text


def _csv(table: Table) -> str:
    columns: Sequence[str]
    rows: list[Sequence[str]]
    if table.tidy:
        columns = list(dict.fromkeys(name for row in table.tidy for name in row))
        rows = [[row[name] for name in columns] for row in table.tidy]
    else:
        # As rows of full width the title and the notes keep the file valid for every CSV reader.
        columns = table.columns
        rows = [[cell.text for cell in row] for row in table.rows]
        rows += [[text, *[""] * (len(columns) - 1)] for text in (table.title, *table.notes)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_no_formula(cell) for cell in row] for row in rows)
    return text.getvalue()


def _no_formula(text: str) -> str:
    """Text that a spreadsheet shows and does not compute.

    >>> _no_formula("=1+1"), _no_formula("-1.5"), _no_formula("model")
    ("'=1+1", '-1.5', 'model')
    """
    text = visible_line(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) and not _NUMBER.fullmatch(text) else text


def _html(table: Table) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(_HTML).render(table=table)
