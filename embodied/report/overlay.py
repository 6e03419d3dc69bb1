"""Pictures of one instant from above: the paths of a what-if, and the graph of who moves whom.

Drawn as a person behind the arm sees the table: x forward is up, y left is left.
"""

import math
from html import escape

import numpy as np

from embodied.report.charts import path, svg
from embodied.report.data import Floats, InfluenceGraph, WhatIfCase

SCALE = 1000.0
"""User units per metre: one per millimetre."""
GRID = 0.05
"""[m]"""


def rgb(colour: tuple[float, float, float]) -> str:
    """CSS of an RGB colour in 0..1."""
    return "rgb({},{},{})".format(*(round(255 * min(max(c, 0.0), 1.0)) for c in colour))


def _screen(point: Floats) -> tuple[float, float]:
    return -SCALE * float(point[1]), -SCALE * float(point[0])


def _square(pose: Floats, half: tuple[float, float]) -> str:
    """Path data of a box's outline at x, y, yaw."""
    cosine, sine = math.cos(pose[2]), math.sin(pose[2])
    corners = [(sx * half[0], sy * half[1]) for sx, sy in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
    turned = [np.array([pose[0] + cosine * a - sine * b, pose[1] + sine * a + cosine * b]) for a, b in corners]
    return path([_screen(corner) for corner in turned]) + "Z"


def _frame(points: Floats, least: float, ratio: float) -> tuple[float, float, float, float]:
    """Left, top, width, height in user units around points `[N 2]`, at least `least` metres wide, of a fixed ratio."""
    low, high = points.min(0) - 0.03, points.max(0) + 0.03
    centre = (low + high) / 2
    width = max(high[1] - low[1], (high[0] - low[0]) * ratio, least)
    height = width / ratio
    return (
        -SCALE * (centre[1] + width / 2),
        -SCALE * (centre[0] + height / 2),
        SCALE * width,
        SCALE * height,
    )


def _grid(left: float, top: float, width: float, height: float) -> str:
    step = SCALE * GRID
    vertical = "".join(
        f"M{k * step:.0f},{top:.1f}v{height:.1f}"
        for k in range(math.ceil(left / step), math.floor((left + width) / step) + 1)
    )
    horizontal = "".join(
        f"M{left:.1f},{k * step:.0f}h{width:.1f}"
        for k in range(math.ceil(top / step), math.floor((top + height) / step) + 1)
    )
    # The scale bar sits in the corner; its length is one cell.
    unit = width / 100
    x, y = left + 3 * unit, top + height - 4 * unit
    bar = f'<path class="scale" d="M{x:.1f},{y:.1f}h{step:.1f}" style="stroke-width:{0.7 * unit:.2f}"/>'
    text = f'<text x="{x:.1f}" y="{y - 1.6 * unit:.1f}" style="font-size:{3.6 * unit:.1f}px">{100 * GRID:.0f} cm</text>'
    return f'<path class="grid" d="{vertical}{horizontal}" style="stroke-width:{0.25 * unit:.2f}"/>{bar}{text}'


def top_view(case: WhatIfCase) -> str:
    """The table from above: where things stood, what happened, what would have happened, what the model says."""
    spots = [xy for track in case.tracks for xy in (track.factual, track.truth, track.imagined) if len(xy)]
    points = np.concatenate([xy[:, :2] for xy in spots])
    left, top, width, height = _frame(points, 0.2, 4 / 3)
    unit = width / 100
    parts = [_grid(left, top, width, height)]
    for kind, tool in (("factual", case.tool_factual), ("truth", case.tool_truth)):
        if len(tool) and (kind == "factual" or not np.allclose(tool, case.tool_factual, atol=1e-4)):
            points_on_screen = [_screen(point) for point in tool]
            parts.append(f'<path class="tool {kind}" d="{path(points_on_screen)}"/>')
            x, y = points_on_screen[-1]
            parts.append(f'<circle class="tool-end {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{1.3 * unit:.2f}"/>')
    for track in case.tracks:
        start, half = track.factual[0], track.half_extents
        removed = track.edited and not len(track.truth)
        ghost = "removed" if removed else "start"
        parts.append(f'<path class="{ghost}" style="--cube:{rgb(track.colour)}" d="{_square(start, half)}"/>')
        x, y = _screen(start)
        size = SCALE * half[0]
        if removed:
            parts.append(
                f'<path class="cross" d="M{x - size:.1f},{y - size:.1f}l{2 * size:.1f},{2 * size:.1f}'
                f'm0,{-2 * size:.1f}l{-2 * size:.1f},{2 * size:.1f}"/>'
            )
        elif track.edited and math.dist(start[:2], track.truth[0, :2]) > 0.002:
            # The edit itself: from where it stood to where it was put.
            parts.append(f'<path class="edit" d="{path([(x, y), _screen(track.truth[0])])}"/>')
            parts.append(
                f'<path class="start" style="--cube:{rgb(track.colour)}" d="{_square(track.truth[0], half)}"/>'
            )
        for kind in ("factual", "truth", "imagined"):
            poses = getattr(track, kind)
            if len(poses):
                parts.append(f'<path class="way {kind}" d="{path([_screen(pose) for pose in poses])}"/>')
                parts.append(f'<path class="end {kind}" d="{_square(poses[-1], half)}"/>')
        parts.append(
            f'<text class="letter" x="{x:.1f}" y="{y + 1.9 * unit:.1f}" style="font-size:{5.4 * unit:.1f}px" '
            f'text-anchor="middle">{escape(track.name[:1].upper())}</text>'
        )
    label = f"{case.title}, {case.intervention}, seen from above. {case.sentence}"
    drawing = svg(width, height, label, f'<g transform="translate({-left:.1f},{-top:.1f})">{"".join(parts)}</g>', "top")
    return drawing.replace('class="top"', f'class="top" style="--unit:{unit:.3f}px"', 1)


def influence_graph(graph: InfluenceGraph, which: str, edge: float) -> str:
    """Nodes where they stand, arrows from cause to effect as wide as the effect, labelled in millimetres."""
    values = graph.truth if which == "truth" else graph.imagined
    points = np.array([graph.position[name] for name in (*graph.causes, *graph.effects)])
    left, top, width, height = _frame(points, 0.26, 4 / 3)
    unit = width / 100
    radius = 5.2 * unit
    parts, words = [_grid(left, top, width, height)], []
    for i, cause in enumerate(graph.causes):
        for j, effect in enumerate(graph.effects):
            size = float(values[i, j])
            if cause == effect or math.isnan(size) or size < edge:
                continue
            words.append(f"{cause} moves {effect} by {1000 * size:.0f} mm")
            a, b = (
                np.array(_screen(np.array(graph.position[cause]))),
                np.array(_screen(np.array(graph.position[effect]))),
            )
            along = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
            aside = np.array([-along[1], along[0]])
            # Both directions of a pair bow to their own right, so they never cover each other.
            start, end = a + along * radius * 1.1, b - along * (radius * 1.1 + 2.2 * unit)
            middle = (start + end) / 2 + aside * 6 * unit
            stroke = unit * (0.6 + 1.8 * min(1.0, size / 0.04))
            parts.append(
                f'<path class="arrow {which}" stroke-width="{stroke:.2f}" '
                f'd="M{start[0]:.1f},{start[1]:.1f}Q{middle[0]:.1f},{middle[1]:.1f} {end[0]:.1f},{end[1]:.1f}"/>'
            )
            heading = end - middle
            heading = heading / max(float(np.linalg.norm(heading)), 1e-9)
            wing = np.array([-heading[1], heading[0]]) * (1.4 * unit + stroke / 2)
            tip = end + heading * 2.4 * unit
            parts.append(
                f'<path class="head {which}" d="{path([tuple(end + wing), tuple(tip), tuple(end - wing)])}Z"/>'
            )
            label = (start + end) / 2 + aside * 5.4 * unit
            parts.append(
                f'<text class="on {which}" x="{label[0]:.1f}" y="{label[1] + 1.2 * unit:.1f}" '
                f'style="font-size:{4.2 * unit:.1f}px" text-anchor="middle">{1000 * size:.0f}</text>'
            )
    for name in dict.fromkeys((*graph.causes, *graph.effects)):
        x, y = _screen(np.array(graph.position[name]))
        fill = rgb(graph.colour[name])
        parts.append(f'<circle class="node" style="--cube:{fill}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
        parts.append(
            f'<text class="letter" x="{x:.1f}" y="{y + 1.7 * unit:.1f}" style="font-size:{5 * unit:.1f}px" '
            f'text-anchor="middle">{escape(name[:1].upper())}</text>'
        )
    label = f"Influence in {'the simulator' if which == 'truth' else 'the model'}: {'; '.join(words) or 'none'}."
    drawing = svg(width, height, label, f'<g transform="translate({-left:.1f},{-top:.1f})">{"".join(parts)}</g>', "top")
    return drawing.replace('class="top"', f'class="top" style="--unit:{unit:.3f}px"', 1)
