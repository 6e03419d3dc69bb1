"""Charts as inline SVG: colours and text come from the page's style sheet, so they follow light, dark and print."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from embodied.evaluation.statistics import Estimate
from embodied.report.data import ChaosFloor, Chart, Clip, Series

WIDTH, HEIGHT = 460, 270
"""User units of a chart: narrow, so that its 12-unit text is still readable on a phone."""
LEFT, TOP, BOTTOM = 46, 16, 42


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that cover `low..high`, 1, 2 or 5 times a power of ten apart."""
    span = max(high - low, 1e-12)
    power = 10 ** math.floor(math.log10(span / about))
    step = next(power * k for k in (1, 2, 5, 10) if span / (power * k) <= about + 1e-9)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def number(value: float) -> str:
    """A tick label: no trailing zeros, thousands as k."""
    if abs(value) >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Axis:
    """Maps values to user units, linearly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """User units of a value; values beyond the axis stop at its ends."""
        low, high = self.low, self.high
        value = min(max(value, low), high)
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def path(points: Sequence[tuple[float, float]]) -> str:
    """Path data of a polyline."""
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def svg(width: float, height: float, label: str, body: str, kind: str = "") -> str:
    """An SVG that scales with its column, named for those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}" class="{kind}">{body}</svg>'
    )


def _spread(places: list[float], gap: float, low: float, high: float) -> list[float]:
    """The same labels moved apart just enough not to overlap, kept within `low..high`."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = list(places)
    for before, after in itertools.pairwise(order):
        moved[after] = max(moved[after], moved[before] + gap)
    if order and moved[order[-1]] > high:
        moved[order[-1]] = high
        for after, before in itertools.pairwise(order[::-1]):
            moved[before] = min(moved[before], moved[after] - gap)
    return [max(low, place) for place in moved]


def _grid(x: Axis, y: Axis, x_ticks: Sequence[float], y_ticks: Sequence[float], percent: bool) -> str:
    parts = []
    for tick in y_ticks:
        text = f"{100 * tick:g} %" if percent else number(tick)
        parts.append(f'<path class="grid" d="M{x.start},{y(tick):.1f}H{x.end}"/>')
        parts.append(f'<text x="{x.start - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{text}</text>')
    parts.extend(
        f'<text x="{x(tick):.1f}" y="{y.start + 18}" text-anchor="middle">{number(tick)}</text>' for tick in x_ticks
    )
    return "".join(parts)


def line_chart(chart: Chart) -> str:
    """Lines with their names at their ends instead of a legend, and bands where an interval is known."""
    drawn = [series for series in chart.series if len(series.x)]
    values = [v for s in drawn for v in (*s.y, *(s.low or ()), *(s.high or ())) if math.isfinite(v)]
    if not values:
        return ""
    right = 16 + 7.8 * max(len(series.name) for series in drawn)
    x_values = [v for series in drawn for v in series.x]
    x = Axis(min(x_values), max(max(x_values), min(x_values) + 1e-9), LEFT, WIDTH - right)
    if chart.percent:
        y_ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    elif chart.logarithmic:
        decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
        y_ticks = [10.0**decade for decade in decades]
        y_ticks = y_ticks if len(y_ticks) > 1 else [y_ticks[0], 10 * y_ticks[0]]
    else:
        y_ticks = ticks(min(0.0, *values), max(values))
    y = Axis(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP, chart.logarithmic)
    x_ticks = [tick for tick in ticks(x.low, x.high, 4) if x.low <= tick <= x.high]
    parts = [_grid(x, y, x_ticks, y_ticks, chart.percent)]
    labels = _spread([y(series.y[-1]) for series in drawn], 14, TOP, HEIGHT - BOTTOM)
    for series, place in sorted(zip(drawn, labels, strict=True), key=lambda pair: pair[0].role == "main"):
        parts.append(_line(series, x, y))
        parts.append(f'<text class="name {series.role}" x="{x.end + 8:.1f}" y="{place + 4:.1f}">')
        parts.append(f"{escape(series.name)}</text>")
    parts.append(f'<text class="axis" x="{(x.start + x.end) / 2:.1f}" y="{HEIGHT - 6}" text-anchor="middle">')
    parts.append(f"{escape(chart.x_label)}</text>")
    ends = ", ".join(
        f"{s.name} ends at {100 * s.y[-1]:.0f} %" if chart.percent else f"{s.name} ends at {s.y[-1]:.3g}" for s in drawn
    )
    return svg(WIDTH, HEIGHT, f"{chart.title}: {chart.y_label} over {chart.x_label}; {ends}.", "".join(parts), "chart")


def _line(series: Series, x: Axis, y: Axis) -> str:
    points = [(x(a), y(b)) for a, b in zip(series.x, series.y, strict=True) if math.isfinite(b)]
    band = ""
    if series.low is not None and series.high is not None:
        upper = [(x(a), y(b)) for a, b in zip(series.x, series.high, strict=True)]
        lower = [(x(a), y(b)) for a, b in zip(series.x, series.low, strict=True)]
        band = f'<path class="band {series.role}" d="{path(upper + lower[::-1])}Z"/>'
    if len(points) == 1:  # A level known once holds over the whole axis.
        points = [(x.start, points[0][1]), (x.end, points[0][1])]
    return f'{band}<path class="line {series.role}" d="{path(points)}"/>'


def interval_bar(estimate: Estimate, low: float = -0.25, high: float = 1.0, role: str = "main") -> str:
    """A dot with its interval on a short axis marked at 0 and 1; an arrow where it leaves the axis."""
    if math.isnan(estimate.value):
        return ""
    width, height = 120.0, 14.0
    x = Axis(low, high, 4, width - 4)
    parts = [f'<path class="grid" d="M{x(0):.1f},1V{height - 1}M{x(1):.1f},1V{height - 1}"/>']
    if math.isfinite(estimate.low):
        parts.append(f'<path class="whisker {role}" d="M{x(estimate.low):.1f},7H{x(estimate.high):.1f}"/>')
    if estimate.value < low:
        parts.append(f'<path class="dot {role}" d="M2,7L9,3V11Z"/>')
    else:
        parts.append(f'<circle class="dot {role}" cx="{x(estimate.value):.1f}" cy="7" r="3.6"/>')
    return f'<svg viewBox="0 0 {width:g} {height:g}" aria-hidden="true" class="mini">{"".join(parts)}</svg>'


def trust_chart(clip: Clip) -> str:
    """Expected and true error of the imagination over time; the trusted part shaded, its end marked."""
    top = max(*clip.uncertainty, *clip.error, clip.threshold) * 1000
    y_ticks = ticks(0, 1.12 * top, 4)
    width, height = 720, 190
    x = Axis(clip.time[0], clip.time[-1], LEFT, width - 130)
    y = Axis(0, y_ticks[-1], height - BOTTOM, TOP)
    end, level = x(clip.trusted), y(1000 * clip.threshold)
    early = clip.trusted < 0.4 * clip.time[-1]
    side = "start" if early else "end"
    parts = [
        f'<rect class="trusted" x="{x.start}" y="{TOP}" width="{end - x.start:.1f}" height="{y.start - TOP}"/>',
        _grid(x, y, [tick for tick in ticks(x.low, x.high, 6) if x.low <= tick <= x.high], y_ticks, False),
        f'<path class="line baseline" d="M{x.start},{level:.1f}H{x.end}"/>',
        f'<path class="horizon" d="M{end:.1f},{TOP - 6}V{y.start}"/>',
        f'<text class="strong" x="{end + (6 if early else -6):.1f}" y="{TOP + 4}" text-anchor="{side}">'
        f"trusted to {clip.trusted:.1f} s</text>",
    ]
    names = (("true error", clip.error, "reference"), ("expected", clip.uncertainty, "main"))
    places = [y(1000 * values[-1]) for _, values, _ in names] + [level]
    # Wide enough apart for the larger text a phone gets.
    spread = _spread(places, 23, TOP, y.start)
    for (name, values, role), place in zip(names, spread, strict=False):
        points = [(x(t), y(1000 * v)) for t, v in zip(clip.time, values, strict=True)]
        parts.append(f'<path class="line {role}" d="{path(points)}"/>')
        parts.append(f'<text class="name {role}" x="{x.end + 8:.1f}" y="{place + 4:.1f}">{name}</text>')
    parts.append(f'<text class="name baseline" x="{x.end + 8:.1f}" y="{spread[-1] + 4:.1f}">threshold</text>')
    parts.append(
        f'<text class="axis" x="{(x.start + x.end) / 2:.1f}" y="{height - 6}" text-anchor="middle">seconds; '
        "millimetres on the left</text>"
    )
    label = (
        f"The expected error of the imagination crosses {1000 * clip.threshold:.0f} mm after {clip.trusted:.1f} s; "
        f"the true error is then {1000 * float(np.interp(clip.trusted, clip.time, clip.error)):.0f} mm."
    )
    return svg(width, height, label, "".join(parts), "chart wide")


def floor_chart(floor: ChaosFloor) -> str:
    """How the final errors of the nudged simulator are spread, on a logarithmic axis from a micrometre up."""
    millimetres = np.maximum(np.asarray(floor.errors) * 1000, 1e-3)
    edges = np.logspace(-3, 2.5, 34)
    counts, _ = np.histogram(np.minimum(millimetres, edges[-1]), edges)
    width, height = 460, 170
    x = Axis(edges[0], edges[-1], 26, width - 14, logarithmic=True)
    y = Axis(0, max(int(counts.max()), 1), height - BOTTOM, TOP + 16)
    parts = []
    for count, start, end in zip(counts, edges, edges[1:], strict=False):
        if count:
            parts.append(
                f'<rect class="bar" x="{x(start) + 0.5:.1f}" y="{y(count):.1f}" '
                f'width="{x(end) - x(start) - 1:.1f}" height="{y.start - y(count):.1f}"/>'
            )
    marks = (("median", floor.median * 1000), ("90 %", floor.p90 * 1000), ("nudge", floor.nudge * 1000))
    places = _spread([x(max(value, 1e-3)) for _, value in marks], 54, 30, width - 34)
    for (name, value), place in zip(marks, places, strict=True):
        parts.append(f'<path class="horizon" d="M{x(max(value, 1e-3)):.1f},{TOP + 8}V{y.start}"/>')
        parts.append(f'<text class="strong" x="{place:.1f}" y="{TOP}" text-anchor="middle">{name}</text>')
    for power in range(-3, 3):
        tick = 10.0**power
        parts.append(f'<text x="{x(tick):.1f}" y="{y.start + 18:.1f}" text-anchor="middle">{number(tick)}</text>')
    parts.append(f'<path class="grid" d="M{x.start},{y.start}H{x.end}"/>')
    parts.append(
        f'<text class="axis" x="{width / 2}" y="{height - 6}" text-anchor="middle">'
        "final error of the nudged simulator, mm</text>"
    )
    label = f"Histogram of chaos: median {floor.median * 1000:.2g} mm, 90 % below {floor.p90 * 1000:.2g} mm."
    return svg(width, height, label, "".join(parts), "chart")
