"""Pictures of one instant from above: the paths of a what-if, and the graph of who moves whom.

Drawn as a person behind the arm sees the table: x forward is up, y left is left.
"""

import math
from html import escape

import numpy as np

from embodied.report.charts import path, svg
from embodied.report.data import Floats, InfluenceGraph, Track, WhatIfCase

SCALE = 1000.0
"""User units per metre: one per millimetre."""
GRID = 0.05
"""[m]."""
STILL = 0.001
"""[m] An object that nowhere moves further than this is drawn as standing."""


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
    parts, letters = [_grid(left, top, width, height)], []
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
        for kind in _drawn(track):
            poses = getattr(track, kind)
            if len(poses):
                parts.append(f'<path class="way {kind}" d="{path([_screen(pose) for pose in poses])}"/>')
                parts.append(f'<path class="end {kind}" d="{_square(poses[-1], half)}"/>')
        letters.append(
            f'<text class="letter" x="{x:.1f}" y="{y + 1.9 * unit:.1f}" style="font-size:{5.4 * unit:.1f}px" '
            f'text-anchor="middle">{escape(track.name[:1].upper())}</text>'
        )
    parts += letters
    label = f"{case.title}, {case.intervention}, seen from above. {case.sentence}"
    drawing = svg(width, height, label, f'<g transform="translate({-left:.1f},{-top:.1f})">{"".join(parts)}</g>', "top")
    return drawing.replace('class="top"', f'class="top" style="--unit:{unit:.3f}px"', 1)


def _drawn(track: Track) -> tuple[str, ...]:
    """Which of a track's paths are worth ink: none of an object that stands still in all of them."""
    paths = ("factual", "truth", "imagined")
    way = max(float(np.abs(xy[:, :2] - xy[:1, :2]).max()) for xy in (getattr(track, p) for p in paths) if len(xy))
    return paths if way > STILL or track.edited else ()


def influence_graph(graph: InfluenceGraph, which: str, edge: float) -> str:
    """Nodes in a ring, arrows from cause to effect as wide as the effect, labelled in millimetres."""
    values = graph.truth if which == "truth" else graph.imagined
    names = list(dict.fromkeys((*graph.causes, *graph.effects)))
    width, height, radius = 400.0, 300.0, 25.0
    turns = [math.pi * (1 - 2 * k / len(names)) for k in range(len(names))]
    place = {
        name: np.array([200 + 132 * math.cos(t), 150 - 104 * math.sin(t)]) for name, t in zip(names, turns, strict=True)
    }
    parts, words = [], []
    for i, cause in enumerate(graph.causes):
        for j, effect in enumerate(graph.effects):
            size = float(values[i, j])
            if cause != effect and size >= edge:
                words.append(f"{cause} moves {effect} by {1000 * size:.0f} mm")
                parts.append(_arrow(place[cause], place[effect], radius, size, which))
    for name in names:
        x, y = place[name]
        fill = rgb(graph.colour[name])
        parts.append(f'<circle class="node" style="--cube:{fill}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
        parts.append(
            f'<text class="label" x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="middle">'
            f"{escape(name.removesuffix('_cube'))}</text>"
        )
    label = f"Influence in {'the simulator' if which == 'truth' else 'the model'}: {'; '.join(words) or 'none'}."
    return svg(width, height, label, "".join(parts), "graph")


def _arrow(a: Floats, b: Floats, radius: float, size: float, which: str) -> str:
    """From node to node, bowed to its own right so that the two directions of a pair never cover each other."""
    along = (b - a) / float(np.linalg.norm(b - a))
    aside = np.array([-along[1], along[0]])
    stroke = 1.6 + 6 * min(1.0, size / 0.05)
    start, end = a + along * (radius + 3) + aside * 6, b - along * (radius + 15) + aside * 6
    bend = (start + end) / 2 + aside * 22
    heading = (end - bend) / float(np.linalg.norm(end - bend))
    wing = np.array([-heading[1], heading[0]]) * (4.5 + stroke / 2)
    head = [tuple(end + wing), tuple(end + heading * 12), tuple(end - wing)]
    at = 0.25 * start + 0.5 * bend + 0.25 * end
    return (
        f'<path class="arrow {which}" style="stroke-width:{stroke:.1f}" '
        f'd="M{start[0]:.1f},{start[1]:.1f}Q{bend[0]:.1f},{bend[1]:.1f} {end[0]:.1f},{end[1]:.1f}"/>'
        f'<path class="head {which}" d="{path(head)}Z"/>'
        f'<text class="on" x="{at[0]:.1f}" y="{at[1] + 4.5:.1f}" text-anchor="middle">{1000 * size:.0f}</text>'
    )
