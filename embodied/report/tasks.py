"""The tasks in one picture, a panel each, while their experts are at work: `python -m embodied.report.tasks FILE`."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from embodied.checkpoint import write_atomically
from embodied.report import video
from envs.cameras import picture
from envs.experts import expert
from envs.scene import Camera
from envs.tasks import task
from envs.types import Array
from envs.worlds import TaskWorlds

MOMENTS = {
    "reach": 3, "push": 16, "lift": 14, "place": 12, "stack": 13, "sort": 52,
    "insert": 15, "drawer": 18, "door": 22, "sweep": 45, "clutter": 30, "handover": 16,
}  # fmt: skip
"""Control steps after which each is shown: when it can be seen what it is about."""
OPTIONS: Mapping[str, tuple[str, Mapping[str, Any], int]] = {
    "obstacles": ("place", {"obstacles": ("wall", "post", "block")}, 13),
    "distractors": ("place", {"distractors": ("green_l", "white_mug", "yellow_cross", "orange_pawn")}, 4),
    "robot=koch": ("place", {"robot": "koch"}, 10),
    "robot=koch, push": ("push", {"robot": "koch"}, 10),
}
"""What tasks take: a task, what it is given, and the step."""
SEED = 4
NEAR = Camera("near", (0.60, -0.43, 0.38), (0.205, -0.012, 0.05), 33.0)
CLOSE = Camera("near", (0.42, -0.31, 0.27), (0.11, -0.005, 0.05), 33.0)
WIDE = Camera("near", (0.52, -0.86, 0.46), (0.345, 0.0, 0.085), 35.0)
COLUMNS, WIDTH, HEIGHT, GAP, LABEL = 4, 420, 330, 6, 17
"""Panels in a row; pixels of a panel, between panels, and of the letters."""


def panel(name: str, mode: str = "hero", width: int = WIDTH, height: int = HEIGHT) -> Array:
    """`[h w 3]` uint8: a task's world at its moment, or what an option makes of one, its name in the corner."""
    kind, more, steps = OPTIONS[name] if name in OPTIONS else (name, {}, MOMENTS[name])
    chosen = task(kind, **more)
    robot = chosen.scene.robot
    view = {"so101": NEAR, "two_so101": WIDE}.get(robot, CLOSE)
    worlds = TaskWorlds(replace(chosen, scene=replace(chosen.scene, cameras=(view,))), 1, threads=1)
    worlds.reset(seeds=[SEED])
    law = expert(kind, robot)
    for _ in range(steps):
        worlds.step(law.act(worlds.observation, chosen.goal))
    image = Image.fromarray(picture(worlds.simulation, 0, "near", width, height, mode))
    ImageDraw.Draw(image).text((12, 8), name, fill=(46, 52, 60), font=ImageFont.load_default(LABEL))
    return np.asarray(image)


def sheet(mode: str = "hero") -> Array:
    """`[h w 3]` uint8: all panels, tasks before options, on white."""
    names = (*MOMENTS, *OPTIONS)
    rows = -(-len(names) // COLUMNS)
    size = rows * HEIGHT + (rows - 1) * GAP, COLUMNS * WIDTH + (COLUMNS - 1) * GAP
    whole = np.full((*size, 3), 255, np.uint8)
    for index, name in enumerate(names):
        row, column = divmod(index, COLUMNS)
        top, left = row * (HEIGHT + GAP), column * (WIDTH + GAP)
        whole[top : top + HEIGHT, left : left + WIDTH] = panel(name, mode)
    return whole


if __name__ == "__main__":
    write_atomically(Path(sys.argv[1]), video.png(sheet()))
