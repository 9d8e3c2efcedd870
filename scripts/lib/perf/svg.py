"""Plots as SVG, written by hand: bars, and lines over a logarithmic or named axis."""

import math
from xml.sax.saxutils import escape

COLOURS = ["#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#a16207", "#0e7490", "#be185d", "#52525b", "#65a30d", "#334155"]
WIDTH, LEFT, RIGHT, TOP = 760, 70, 190, 40


def _page(height, title, parts):
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
            f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="#ffffff"/>\n')
    return head + _text(LEFT, 22, title, size=14, weight="bold") + "".join(parts) + "</svg>\n"


def _text(x, y, text, anchor="start", size=12, weight="normal", fill="#27272a"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
            f'fill="{fill}">{escape(str(text))}</text>\n')


def _line(x1, y1, x2, y2, stroke="#e4e4e7", width=1):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" stroke-width="{width}"/>\n'


def short(value):
    """A figure as it stands at an axis or a bar."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def bars(title, unit, rows):
    """Horizontal bars, one a row: [(label, value)]."""
    parts, height = [], TOP + 26 * len(rows) + 20
    left, widest = 210, max(value for _, value in rows) or 1
    for number, (label, value) in enumerate(rows):
        y = TOP + 26 * number
        length = (WIDTH - left - 130) * value / widest
        parts.append(_text(left - 8, y + 14, label, anchor="end"))
        parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="18" fill="{COLOURS[number % len(COLOURS)]}"/>\n')
        parts.append(_text(left + length + 6, y + 14, f"{short(value)} {unit}"))
    return _page(height, title, parts)


def lines(title, unit, ticks, series, log_y=True):
    """One line a series, {name: [value or None, ...]}, over ticks that stand side by side."""
    height, bottom = 380, 340
    values = [value for line in series.values() for value in line if value]
    low, high = min(values), max(values)
    if log_y:
        low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high * 1.0001))
        marks = [10 ** power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    else:
        low, step = 0, 10 ** math.floor(math.log10(high))
        step = next(step * part for part in (0.2, 0.5, 1, 2) if high / (step * part) <= 6)
        high = step * math.ceil(high / step)
        marks = [step * number for number in range(round(high / step) + 1)]

    def y_of(value):
        share = (math.log10(value / low) / math.log10(high / low)) if log_y else (value - low) / (high - low)
        return bottom - share * (bottom - TOP)

    def x_of(number):
        return LEFT + (WIDTH - LEFT - RIGHT) * (number + 0.5) / len(ticks)

    parts = [_text(12, TOP - 4, unit)]
    for mark in marks:
        parts += [_line(LEFT, y_of(mark), WIDTH - RIGHT, y_of(mark)), _text(LEFT - 8, y_of(mark) + 4, short(mark), anchor="end")]
    parts += [_text(x_of(number), bottom + 20, tick, anchor="middle") for number, tick in enumerate(ticks)]
    ends = []
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [(x_of(at), y_of(value)) for at, value in enumerate(line) if value]
        if not points:
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>\n')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>\n' for x, y in points]
        ends.append((points[-1][1], name, colour))
    # Names stand beside the ends of their lines, as near as they can without lying on each other.
    ends.sort()
    places = []
    for y, _, _ in ends:
        places.append(max(y, places[-1] + 15) if places else y)
    for number in reversed(range(len(places))):
        places[number] = min(places[number], height - 10 if number + 1 == len(places) else places[number + 1] - 15)
    for place, (_, name, colour) in zip(places, ends):
        parts.append(_text(WIDTH - RIGHT + 10, place + 4, name, fill=colour))
    return _page(height, title, parts)
