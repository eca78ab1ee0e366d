"""Text, tables and facts as HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_ERROR_DIGITS = 2  # of a standard error; its mean is rounded to the same place
_MINUS = "\N{MINUS SIGN}"
_LISTED = 8  # numbers; of more, it is said how far they reach

# Nothing may be fetched and no script may run, whatever the texts hold.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 76rem; margin: 0 auto; padding: 0 1rem 2rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1.5rem 0 0.5rem; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 0.75rem; border-bottom: 2px solid #0072b2; }
h3, h4 { font-size: 1rem; margin: 1.5rem 0 0.5rem; }
h4 { font-weight: 600; color: #444; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; overflow-wrap: normal; }
th, td { padding: 0.2rem 1.2rem 0.2rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #ddd; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.brief { display: grid; gap: 1rem; grid-template-columns: repeat(4, 1fr); }
.brief div { border-left: 4px solid #0072b2; padding-left: 0.75rem; }
.brief dt { color: #555; }
.brief dd { font-size: 1.25rem; font-variant-numeric: tabular-nums; }
dd { margin: 0; flex: 1; }
.facts { columns: 19rem; column-gap: 2rem; margin: 0.75rem 0 0; }
.facts div { break-inside: avoid; display: flex; gap: 0.75rem; padding: 0.15rem 0;
  border-bottom: 1px solid #eee; }
.facts dt { flex: 0 0 9.5rem; color: #555; }
.pictures { display: grid; gap: 2rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; max-width: 42rem; }
figure img { width: 100%; height: auto; display: block; }
figcaption { margin-bottom: 0.5rem; }
@media (max-width: 48rem) { .brief { grid-template-columns: 1fr 1fr; } }
@media (max-width: 32rem) {
  th, td { padding-right: 0.6rem; font-size: 0.85rem; }
  td.number { white-space: normal; }
  .brief dd { font-size: 1.1rem; }
  .facts dt { flex-basis: 8rem; }
}
"""


def escaped(value: object) -> str:
    """Returns a value as text in which HTML finds no markup."""
    return html.escape(str(value), quote=True)


def section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Yields lines of HTML under a heading."""
    yield f"<section><h2>{escaped(title)}</h2>"
    yield from lines
    yield "</section>"


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int]
) -> Iterator[str]:
    """Yields a table whose first column names the rows.

    Args:
        columns: The names of the columns.
        rows: The rows, with one text a column.
        numbers: The places of the columns that hold numbers.
    """
    yield '<div class="scroll"><table>'
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in columns)
    yield f"<thead><tr>{head}</tr></thead><tbody>"
    for row in rows:
        cells = [f'<th scope="row">{escaped(row[0])}</th>']
        for place, cell in enumerate(row[1:], start=1):
            kind = ' class="number"' if place in numbers else ""
            cells.append(f"<td{kind}>{escaped(cell)}</td>")
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"


def definitions(values: Mapping[str, object], kind: str = "facts") -> Iterator[str]:
    """Yields a list of terms with their values, in the style `kind`."""
    yield f'<dl class="{kind}">'
    for term, value in values.items():
        meaning = escaped(brief(value))
        yield f"<div><dt>{escaped(term)}</dt><dd>{meaning}</dd></div>"
    yield "</dl>"


def brief(value: object) -> str:
    """Returns a value in a few words; of many numbers, how far they reach."""
    if isinstance(value, (list, tuple)):
        if len(value) > _LISTED and all(map(_is_number, value)):
            return f"{brief(min(value))} to {brief(max(value))} ({len(value)} numbers)"
        return ", ".join(map(brief, value)) or "none"
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", _MINUS)
    return str(value)


def with_error(mean: Any, error: Any) -> str:
    """Returns "mean ± error", rounded to the digits that the error leaves."""
    if not _is_number(mean) or not _is_number(error) or not 0 < error < math.inf:
        known = brief(error) if _is_number(error) else "?"
        return f"{brief(mean)} ± {known}"
    digits = max(0, _ERROR_DIGITS - 1 - math.floor(math.log10(error)))
    return f"{decimal(mean, digits)} ± {decimal(error, digits)}"


def decimal(value: float, digits: int) -> str:
    """Returns a number with `digits` after the point, and a real minus sign."""
    return f"{value:.{digits}f}".replace("-", _MINUS)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
