"""One what-if as a picture: the table from above with all paths, and the end of the what-if, imagination as ghosts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from embodied.checkpoint import write_atomically
from embodied.evaluation.branches import Paths
from embodied.evaluation.suite import WhatIfs
from embodied.report import video
from embodied.report.data import Floats
from envs.cameras import CameraConfig, Cameras
from envs.geometry import quat_to_matrix
from envs.interventions import Intervention, apply_to_state
from envs.scene import Scene
from envs.types import ObjectState, proprioception

WIDTH, HEIGHT = 640, 480
FACTUAL, TRUTH, IMAGINED = (150, 160, 172), (20, 24, 30), (242, 122, 36)
_OVER = 3
"""Lines are drawn this much larger and shrunk, which smooths them."""


def draw(scene: Scene, whatifs: WhatIfs, file: Path) -> None:
    """PNG of the only case: paths from above (grey: what happened, black: what if, orange: imagined), and the end."""
    context = whatifs.contexts
    start = context.recorded[0, 0]
    above = Cameras(scene, (CameraConfig("top", _OVER * WIDTH, _OVER * HEIGHT, "shadow"),))
    joint_position = proprioception(context.history.proprioception.shape[-1])["joint_position"]
    joints = np.asarray(context.history.proprioception)[0, -1, joint_position]
    image = above.draw(joints[None], start.map(lambda array: array[None]))["top"].rgb[0]
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    question = whatifs.questions[0]
    for column, k in enumerate(context.movable):
        if not context.present[0, column]:
            continue
        gone = Intervention("remove", context.history.objects.names[k]) in question.edits
        # The truth is drawn widest and the imagination last, so that where they agree both are seen.
        lines = [(whatifs.factual, FACTUAL, 5)]
        lines += [] if gone else [(whatifs.truth, TRUTH, 9), (whatifs.imagined, IMAGINED, 4)]
        for paths, colour, width in lines:
            points = _pixels(scene, paths.position[0, :, k])
            pen.line([tuple(point) for point in points], fill=colour, width=width, joint="curve")
            x, y = points[-1]
            pen.ellipse((x - 2 * width, y - 2 * width, x + 2 * width, y + 2 * width), fill=colour)
    top = np.asarray(canvas.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))
    front = Cameras(scene, (CameraConfig("front", WIDTH, HEIGHT, "video"),))
    last = context.recorded[0, -1]
    changed = last
    for edit in question.state_edits:
        changed = apply_to_state(edit, changed)
    truth, ghosts = (_end(changed, paths) for paths in (whatifs.truth, whatifs.imagined))
    assert whatifs.truth.proprioception is not None
    final = whatifs.truth.proprioception[:1, -1, joint_position]
    end = front.draw(final, truth, ghosts)["front"].rgb[0]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, video.png(np.concatenate([top, end], axis=1)))


def _end(state: ObjectState, paths: Paths) -> ObjectState:
    """`[1 K ...]` the state at the end of the only branch."""
    changed = replace(state, position_in_world=paths.position[0, -1], quaternion_in_world=paths.quaternion[0, -1])
    return changed.map(lambda array: np.asarray(array)[None])


def _pixels(scene: Scene, points: Floats) -> Floats:
    """World points `[N 3]` in pixels of the enlarged picture from above."""
    camera = scene.model.camera("top")
    seen = (points - camera.pos) @ quat_to_matrix(np.asarray(camera.quat))
    focal = 0.5 * HEIGHT / np.tan(np.deg2rad(float(camera.fovy[0])) / 2)
    centre = np.array([WIDTH / 2, HEIGHT / 2])
    pixels: Floats = _OVER * (centre + focal * seen[:, :2] * np.array([1.0, -1.0]) / -seen[:, 2:])
    return pixels
