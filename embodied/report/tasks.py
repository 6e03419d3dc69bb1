"""The tasks in one picture, a panel each, while their experts are at work: `python -m embodied.report.tasks FILE`."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from embodied.checkpoint import write_atomically
from embodied.report import video
from envs.cameras import picture
from envs.experts import expert
from envs.scene import Camera
from envs.tasks import TASKS
from envs.types import Array
from envs.worlds import TaskWorlds

MOMENTS = {
    "reach": 3, "push": 16, "lift": 14, "place": 12, "stack": 13, "sort": 52,
    "insert": 15, "drawer": 18, "door": 22, "sweep": 45, "clutter": 30, "handover": 16,
}  # fmt: skip
"""Control steps after which each is shown: when it can be seen what it is about."""
SEED = 4
NEAR = Camera("near", (0.60, -0.43, 0.38), (0.205, -0.012, 0.05), 33.0)
WIDE = Camera("near", (0.52, -0.86, 0.46), (0.345, 0.0, 0.085), 35.0)
COLUMNS, WIDTH, HEIGHT, GAP, LABEL = 4, 420, 330, 6, 17
"""Panels in a row; pixels of a panel, between panels, and of the letters."""


def panel(name: str, mode: str = "hero", width: int = WIDTH, height: int = HEIGHT) -> Array:
    """`[h w 3]` uint8: the task's world at its moment, its name in the corner."""
    task = TASKS[name]
    view = WIDE if task.scene.robot == "two_so101" else NEAR
    worlds = TaskWorlds(replace(task, scene=replace(task.scene, cameras=(view,))), 1, threads=1)
    worlds.reset(seeds=[SEED])
    law = expert(name)
    for _ in range(MOMENTS[name]):
        worlds.step(law.act(worlds.observation, task.goal))
    image = Image.fromarray(picture(worlds.simulation, 0, "near", width, height, mode))
    ImageDraw.Draw(image).text((12, 8), name, fill=(46, 52, 60), font=ImageFont.load_default(LABEL))
    return np.asarray(image)


def sheet(mode: str = "hero") -> Array:
    """`[h w 3]` uint8: all panels, in the order of `MOMENTS`, on white."""
    rows = -(-len(MOMENTS) // COLUMNS)
    size = rows * HEIGHT + (rows - 1) * GAP, COLUMNS * WIDTH + (COLUMNS - 1) * GAP
    whole = np.full((*size, 3), 255, np.uint8)
    for index, name in enumerate(MOMENTS):
        row, column = divmod(index, COLUMNS)
        top, left = row * (HEIGHT + GAP), column * (WIDTH + GAP)
        whole[top : top + HEIGHT, left : left + WIDTH] = panel(name, mode)
    return whole


if __name__ == "__main__":
    write_atomically(Path(sys.argv[1]), video.png(sheet()))
