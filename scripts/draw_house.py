#!/usr/bin/env python3
"""Draws the house: the rooms of the package, floor by floor, into docs/house.svg.

Floors and rooms are those of the table in CONTRIBUTING.md, which a test compares with
the imports.

    .venv/bin/python scripts/draw_house.py
"""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[1]
PICTURE = _ROOT / "docs" / "house.svg"
_ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \|$", re.MULTILINE)
_WIDTH, _HEIGHT, _GAP, _MARGIN = 640, 38, 6, 40  # pixels


def floors() -> list[tuple[int, list[str]]]:
    """Returns (floor, its rooms), from the ground up."""
    text = (_ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = [(int(m[1]), re.findall(r"`(\w+)/`", m[2])) for m in _ROW.finditer(text)]
    return sorted(rows)


def draw(house: list[tuple[int, list[str]]]) -> str:
    """Returns the picture as SVG; the ground floor is at the bottom."""
    step = _HEIGHT + _GAP
    height = step * len(house) + _GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="14" text-anchor="middle">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for floor, rooms in house:
        y = height - step * (floor + 1)
        middle = y + _HEIGHT // 2 + 5
        lines.append(f'<text x="20" y="{middle}" fill="#666666">{floor}</text>')
        wide = (_WIDTH - _MARGIN - _GAP * len(rooms)) // len(rooms)
        for number, room in enumerate(rooms):
            x = _MARGIN + number * (wide + _GAP)
            lines.append(
                f'<rect x="{x}" y="{y}" width="{wide}" height="{_HEIGHT}" rx="4" '
                'fill="#e8eef7" stroke="#5b7aa8"/>'
            )
            lines.append(
                f'<text x="{x + wide // 2}" y="{middle}" fill="#1b2a41">{room}</text>'
            )
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(floors()), encoding="utf-8")
    print(PICTURE.relative_to(_ROOT))
