"""A small picture of curves, as SVG: % to the right, % upwards."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from ingle_cli.failures import Failure

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
    "#56b4e9",
)  # distinct for the colour-blind too (Okabe, Ito)


ASKED: Final = "% of all GPUs asked by the pods so far"
SUFFIX: Final = ".svg"


def svg(
    curves: dict[str, tuple[float, ...]], heading: str, *, across: str = ASKED, top_percent: float = 100.0
) -> str:
    """One line a curve; value number n of a curve stands at n % `across`. At least one curve, of at least two values.

    `top_percent`: where the picture ends upwards; what is higher is drawn there.
    """
    most = max(len(values) for values in curves.values()) - 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif"',
        f' font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 20, heading, "middle"),
        _text(WIDTH / 2, HEIGHT - 8, across, "middle"),
        *(_across(percent, top_percent) for percent in (top_percent * step / 5 for step in range(6))),
        *(
            _text(_x(percent, most), HEIGHT - BOTTOM + 16, str(percent), "middle")
            for percent in range(0, most + 1, 10)
        ),
    ]
    for i, (name, values) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)]
        points = " ".join(f"{_x(n, most):.1f},{_y(value, top_percent):.1f}" for n, value in enumerate(values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        label = f"{name} {values[-1]:.2f} %"
        parts.append(_text(WIDTH - RIGHT - 8, HEIGHT - BOTTOM - 12 - 18 * i, label, "end", colour))
    return "\n".join([*parts, "</svg>\n"])


def _x(asked_percent: float, most: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * asked_percent / max(1, most)


def _y(percent: float, top_percent: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(1.0, percent / top_percent)


def _across(percent: float, top_percent: float) -> str:
    y = _y(percent, top_percent)
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
    return line + _text(LEFT - 6, y + 4, f"{percent:.3g} %", "end")


def _text(x: float, y: float, text: str, anchor: str, colour: str = "black") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def check_name(path: Path | None) -> None:
    """Before a long replay: Failure where the name does not end with .svg."""
    if path is not None and path.suffix != SUFFIX:
        raise Failure(f"--picture {path}: write a name that ends with {SUFFIX}.")


def drawn(path: Path, picture: str) -> None:
    """Writes it. Failure where the file cannot be written."""
    try:
        path.write_text(picture)
    except OSError as error:
        raise Failure(f"--picture {path}: {error.strerror}.") from error
