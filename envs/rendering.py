"""Pictures by MuJoCo's OpenGL renderer where that works, by the ray-caster with the same face where it does not.

Which back end works is found out in subprocesses, as a broken driver kills the process that asks. MuJoCo chooses its
back end from `MUJOCO_GL` when it is first imported; here its context classes are taken directly instead, so nothing in
the environment has to be set before anything is imported.
"""

import copy
import functools
import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

import mujoco
import numpy as np

from envs.cameras import CameraConfig, Cameras
from envs.entity_geoms import entity_of_geoms, movable_geoms, positions_of, stretch
from envs.errors import EmbodiedError, unknown
from envs.types import Array, ObjectState

if TYPE_CHECKING:
    from envs.scene import Scene

BACKENDS = ("egl", "osmesa", "glfw")
"""OpenGL without a window, in order of preference; `glfw` needs a display."""

RAYCAST = "raycast"

_PROBE = """
import importlib, sys
import mujoco
context = importlib.import_module("mujoco." + sys.argv[1]).GLContext(32, 32)
context.make_current()
model = mujoco.MjModel.from_xml_string(
    '<mujoco><visual><quality shadowsize="0" offsamples="0"/></visual><worldbody><geom size="1" rgba="1 1 1 1"/>'
    '<camera pos="0 0 4"/></worldbody></mujoco>'
)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
target = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, target)
scene, camera = mujoco.MjvScene(model, 10), mujoco.MjvCamera()
camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, camera, mujoco.mjtCatBit.mjCAT_ALL, scene)
import numpy
image, view = numpy.zeros((32, 32, 3), numpy.uint8), mujoco.MjrRect(0, 0, 32, 32)
mujoco.mjr_render(view, scene, target)
mujoco.mjr_readPixels(image, None, view, target)
sys.exit(0 if image[16, 16].min() > 30 else "it draws a black picture")
"""


@functools.cache
def gl_backends(timeout: float = 60.0) -> dict[str, str | None]:
    """Every OpenGL back end: None where it draws a test picture, else one line that says why not. Asked once."""
    return {name: _problem(name, timeout) for name in BACKENDS}


def _problem(name: str, timeout: float) -> str | None:
    if name == "glfw" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display"
    environment = {key: value for key, value in os.environ.items() if key != "PYOPENGL_PLATFORM"}
    command = [sys.executable, "-c", _PROBE, name]
    try:
        done = subprocess.run(
            command, env=environment | {"MUJOCO_GL": name}, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it did not draw a picture within {timeout:.0f} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"its driver dies with signal {-done.returncode}"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"it ends with status {done.returncode}"


class Renderer:
    """Draws states of one scene through one camera. Holds an OpenGL context: close it, or use it in a `with` block."""

    def __init__(
        self, scene: "Scene", camera: str = "front", width: int = 480, height: int = 360, hero: bool = False,
        backend: str | None = None,
    ) -> None:  # fmt: skip
        """`hero` asks for shadows and smooth edges, which are 95 % of the cost in software.

        `backend` is one of `BACKENDS` or `raycast`; None takes the one that `MUJOCO_GL` names or else the first that
        works, and the ray-caster where none does. Raises `EmbodiedError` for one that is asked for and does not work.
        """
        allowed = (*BACKENDS, RAYCAST)
        if backend is not None and backend not in allowed:
            raise unknown("rendering back end", backend, allowed)
        config = CameraConfig(camera, width, height, "hero" if hero else "video")
        self.backend = _choose() if backend is None else backend
        self.scene, self.camera = scene, camera
        self._cameras = Cameras(scene, (config,))
        self._gl: _OpenGL | None = None
        if self.backend != RAYCAST:
            problem = gl_backends()[self.backend]
            if problem is not None:
                raise EmbodiedError(f"OpenGL by {self.backend} does not work here: {problem}. Use backend='raycast'.")
            self._gl = _OpenGL(scene, camera, width, height, hero, self.backend)

    def draw(self, joints: Array, objects: ObjectState) -> Array:
        """`[N h w 3]` uint8 of joints `[N 6]` [rad] and objects `[N ...]`, numpy or torch."""
        if self._gl is None:
            return self._cameras.draw(joints, objects)[self.camera].rgb
        joints, objects = self._cameras.check(joints, objects)
        return np.stack([self._gl.draw(joints[n : n + 1], objects[n : n + 1]) for n in range(len(joints))])

    def labels(self, joints: Array, objects: ObjectState) -> tuple[Array, Array]:
        """Entity `[N h w]` int16 and depth `[N h w]` float32 [m], as in `Frames`, of states as `draw` takes them."""
        if self._gl is None:
            frames = self._cameras.draw(joints, objects)[self.camera]
            return frames.entity, frames.depth
        joints, objects = self._cameras.check(joints, objects)
        pairs = [self._gl.labels(joints[n : n + 1], objects[n : n + 1]) for n in range(len(joints))]
        entity, depth = zip(*pairs, strict=True)
        return np.stack(entity), np.stack(depth)

    def close(self) -> None:
        """Free the OpenGL context. May be called twice."""
        if self._gl is not None:
            self._gl.close()
            self._gl = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _choose() -> str:
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted in ("disable", "disabled", "off", "false", "0"):
        return RAYCAST
    order = sorted(BACKENDS, key=lambda name: name != wanted)
    return next((name for name in order if gl_backends()[name] is None), RAYCAST)


class _OpenGL:
    """One camera's pictures by MuJoCo's classic renderer."""

    def __init__(self, scene: "Scene", camera: str, width: int, height: int, hero: bool, backend: str) -> None:
        self._scene, self._model = scene, copy.copy(scene.model)
        quality = self._model.vis.quality
        quality.shadowsize, quality.offsamples = (4096, 8) if hero else (0, 0)
        self._model.vis.global_.offwidth, self._model.vis.global_.offheight = width, height
        self._data = mujoco.MjData(self._model)
        self._entity, self._movable = entity_of_geoms(scene), movable_geoms(scene)
        self._alpha = self._model.geom_rgba[:, 3].copy()
        self._view, self._options = mujoco.MjrRect(0, 0, width, height), mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = self._model.camera(camera).id
        self._shown = mujoco.MjvScene(self._model, 2000)
        self._shown.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = hero
        self._shown.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = hero
        self._context: Any = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        self._context.make_current()
        self._target = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._target)
        # Far off, floats near 0 are as fine as they are near by; near 1 they are not.
        self._target.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR

    def draw(self, joints: Array, objects: ObjectState) -> Array:
        """`[h w 3]` uint8 of joints `[1 6]` [rad] and objects `[1]`."""
        return self._read(joints, objects)[0]

    def labels(self, joints: Array, objects: ObjectState) -> tuple[Array, Array]:
        """Entity `[h w]` int16 and depth `[h w]` float32 [m]."""
        flags = self._shown.flags
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = True
        try:
            image, inverse = self._read(joints, objects)
        finally:
            flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = False
        names = np.full(self._shown.ngeom + 1, -1, np.int16)
        for shown in self._shown.geoms[: self._shown.ngeom]:
            if shown.objtype == mujoco.mjtObj.mjOBJ_GEOM and shown.segid >= 0:
                names[shown.segid + 1] = self._entity[shown.objid]
        number = image.astype(np.int64) @ (1, 1 << 8, 1 << 16)
        extent, clip = self._model.stat.extent, self._model.vis.map
        near, far = clip.znear * extent, clip.zfar * extent
        # What glFrustum maps to 1 (near) .. 0 (far), undone.
        depth = near * far / (near + inverse.astype(np.float64) * (far - near))
        return names[number], np.where(number > 0, depth, np.inf).astype(np.float32)

    def _read(self, joints: Array, objects: ObjectState) -> tuple[Array, Array]:
        """`[h w 3]` uint8 and the depth buffer `[h w]` float32."""
        model, data, movable = self._model, self._data, self._movable
        sizes, local = stretch(self._scene, self._entity, movable, objects.half_extents[0])
        model.geom_size[:], model.geom_pos[:] = sizes, local
        model.geom_rgba[movable, :3] = objects.colour[0, self._entity[movable]]
        model.geom_rgba[movable, 3] = (self._alpha * objects.present[0, self._entity])[movable]
        qpos, mocap_position, mocap_quaternion = positions_of(self._scene, joints, objects)
        data.qpos[:], data.mocap_pos[:], data.mocap_quat[:] = qpos[0], mocap_position[0], mocap_quaternion[0]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        self._context.make_current()
        mujoco.mjv_updateScene(model, data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._shown)
        image = np.empty((self._view.height, self._view.width, 3), np.uint8)
        depth = np.empty((self._view.height, self._view.width), np.float32)
        mujoco.mjr_render(self._view, self._shown, self._target)
        mujoco.mjr_readPixels(image, depth, self._view, self._target)
        return image[::-1], depth[::-1]

    def close(self) -> None:
        self._context.make_current()
        self._target.free()
        self._context.free()
