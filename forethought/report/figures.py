"""Figures as inline SVG, drawn from numbers; colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from forethought.stats.metrics import NUM_BINS, bin_index

WIDTH, HEIGHT, MARGIN = 320, 200, 34
WAYS = 4  # styles of lines that the style sheet tells apart


def _frame(title: str, x_label: str, y_label: str, body: str) -> str:
    left, bottom = MARGIN, HEIGHT - MARGIN
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<text class="title" x="{WIDTH / 2}" y="14">{escape(title)}</text>'
        f'<path class="axis" d="M{left} 22V{bottom}H{WIDTH - 8}"/>'
        f'<text class="label" x="{WIDTH / 2}" y="{HEIGHT - 4}">{escape(x_label)}</text>'
        f'<text class="label" x="10" y="{HEIGHT / 2}" '
        f'transform="rotate(-90 10 {HEIGHT / 2})">{escape(y_label)}</text>{body}</svg>'
    )


def _x(share: float) -> float:
    return MARGIN + share * (WIDTH - MARGIN - 8)


def _y(share: float) -> float:
    return HEIGHT - MARGIN - share * (HEIGHT - MARGIN - 22)


def curve(title: str, values: Sequence[float | None], y_label: str) -> str:
    """A line over optimiser steps; gaps are left out, the range is that of the values."""
    points = [(number, value) for number, value in enumerate(values) if value is not None]
    if len(points) < 2:
        return ""
    low, high = min(v for _, v in points), max(v for _, v in points)
    span = high - low or 1.0
    last = points[-1][0] or 1
    path = " ".join(f"{_x(n / last):.1f},{_y((v - low) / span):.1f}" for n, v in points)
    ticks = "".join(
        f'<text class="tick" x="{MARGIN - 3}" y="{_y(share) + 3:.1f}">'
        f"{low + share * span:.2g}</text>"
        for share in (0.0, 0.5, 1.0)
    )
    end = f'<text class="tick" x="{WIDTH - 8}" y="{HEIGHT - MARGIN + 12}">{last + 1}</text>'
    return _frame(title, "step", y_label, f'{ticks}{end}<polyline class="line" points="{path}"/>')


def risk_coverage(title: str, curves: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> str:
    """Share lost among the episodes answered, over the share answered; a line a way to act.

    Args:
        title: above the figure.
        curves: name and (coverage, risk) points, both in [0, 1]; those without points are left out.
    """
    body = ""
    drawn = [(name, points) for name, points in curves if points]
    risks = [risk for _, points in drawn for _, risk in points]
    # The names stand in the half that the lines leave free.
    top = 30 if sum(risks) < 0.5 * len(risks) else HEIGHT - MARGIN - 11 * len(drawn)
    for number, (name, points) in enumerate(drawn):
        path = " ".join(f"{_x(c):.1f},{_y(risk):.1f}" for c, risk in points)
        style = f'class="line way{number % WAYS}"'
        at = top + 11 * number
        body += (
            f'<polyline {style} points="{path}"><title>{escape(name)}</title></polyline>'
            f'<path {style} d="M{MARGIN + 6} {at}h22"/>'
            f'<text x="{MARGIN + 32}" y="{at + 3}">{escape(name)}</text>'
        )
    if not drawn:
        return ""
    return _frame(title, "share answered, surest first", "share lost of these", _ticks() + body)


def _ticks() -> str:
    """0, one half and 1 on both axes."""
    return "".join(
        f'<text class="tick" x="{MARGIN - 3}" y="{_y(s) + 3:.1f}">{s:.1f}</text>'
        f'<text class="tick" x="{_x(s) + 6:.1f}" y="{HEIGHT - MARGIN + 12}">{s:.1f}</text>'
        for s in (0.0, 0.5, 1.0)
    )


def reliability(title: str, pairs: Sequence[tuple[float, float]]) -> str:
    """Mean outcome against mean q in ten bins; the area of a dot is its share of the rows."""
    if not pairs:
        return ""
    import numpy as np

    bins = bin_index(np.array([q for q, _ in pairs]))
    dots = ""
    for number in range(NUM_BINS):
        there = [pair for pair, place in zip(pairs, bins, strict=True) if place == number]
        if there:
            q = sum(pair[0] for pair in there) / len(there)
            y = sum(pair[1] for pair in there) / len(there)
            radius = 2 + 14 * (len(there) / len(pairs)) ** 0.5
            dots += (
                f'<circle class="dot" cx="{_x(q):.1f}" cy="{_y(y):.1f}" r="{radius:.1f}">'
                f"<title>q {q:.2f}, succeeded {y:.2f}, n {len(there)}</title></circle>"
            )
    line = f'<path class="ideal" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>'
    body = line + _ticks() + dots
    return _frame(title, "stated q (expected level)", "share that succeeded", body)
