"""A small picture of curves, as SVG: % asked to the right, % allocated upwards."""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 640
HEIGHT: Final = 400
LEFT: Final = 50
TOP: Final = 40
RIGHT: Final = 20
BOTTOM: Final = 45
COLOURS: Final = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
)  # distinct for the colour-blind too (Okabe, Ito)


def svg(curves: dict[str, tuple[float, ...]], heading: str) -> str:
    """One line a curve; value number n of a curve stands at n % asked. At least one curve, of at least two values."""
    most = max(len(values) for values in curves.values()) - 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif"',
        f' font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 20, heading, "middle"),
        _text(WIDTH / 2, HEIGHT - 8, "% of all GPUs asked by the pods so far", "middle"),
        *(_across(percent) for percent in range(0, 101, 20)),
        *(
            _text(_x(percent, most), HEIGHT - BOTTOM + 16, str(percent), "middle")
            for percent in range(0, most + 1, 10)
        ),
    ]
    for i, (name, values) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)]
        points = " ".join(f"{_x(n, most):.1f},{_y(value):.1f}" for n, value in enumerate(values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        label = f"{name} {values[-1]:.2f} %"
        parts.append(_text(WIDTH - RIGHT - 8, HEIGHT - BOTTOM - 12 - 18 * i, label, "end", colour))
    return "\n".join([*parts, "</svg>\n"])


def _x(asked_percent: float, most: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * asked_percent / max(1, most)


def _y(allocated_percent: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * allocated_percent / 100


def _across(percent: int) -> str:
    y = _y(percent)
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
    return line + _text(LEFT - 6, y + 4, f"{percent} %", "end")


def _text(x: float, y: float, text: str, anchor: str, colour: str = "black") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
