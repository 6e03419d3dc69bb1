"""OpenGL pictures where they work, the ray-caster where not."""

import os
import subprocess
import sys

import numpy as np
import pytest

from envs import rendering
from envs.cameras import CameraConfig, Cameras
from envs.errors import EmbodiedError
from envs.rendering import BACKENDS, RAYCAST, Renderer, gl_backends
from envs.scene import Scene, SceneConfig, build_scene
from envs.simulation import Simulation
from envs.types import PROPRIOCEPTION, Observation


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene(SceneConfig(objects=("red_cube", "green_cube"), goal_entity="target"))


@pytest.fixture(scope="module")
def observation(scene: Scene) -> Observation:
    return Simulation(scene, 2, threads=1).observe()


def joints_of(observation: Observation) -> np.ndarray:
    joints: np.ndarray = observation.proprioception[..., PROPRIOCEPTION["joint_position"]]
    return joints


def test_without_opengl_the_ray_caster_draws(
    scene: Scene, observation: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "gl_backends", lambda: dict.fromkeys(BACKENDS, "there is no driver"))
    with Renderer(scene, "top", 40, 30) as renderer:
        assert renderer.backend == RAYCAST
        images = renderer.draw(joints_of(observation), observation.objects)
    expected = Cameras(scene, (CameraConfig("top", 40, 30, "video"),)).render(observation)["top"]
    assert np.array_equal(images, expected)
    with pytest.raises(EmbodiedError, match="OpenGL by egl does not work here: there is no driver"):
        Renderer(scene, "top", 40, 30, backend="egl")
    with pytest.raises(EmbodiedError, match="Unknown rendering back end 'elg'"):
        Renderer(scene, backend="elg")


def test_a_driver_that_kills_the_process_is_only_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_PROBE", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert rendering._problem("egl", 30.0) == "its driver dies with signal 11"
    monkeypatch.setattr(rendering, "_PROBE", "raise RuntimeError('no device')")
    assert rendering._problem("osmesa", 30.0) == "RuntimeError: no device"


def test_the_environment_can_forbid_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "disable")
    monkeypatch.setattr(rendering, "gl_backends", lambda: dict.fromkeys(BACKENDS))
    assert rendering._choose() == RAYCAST
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert rendering._choose() == "osmesa"


def test_importing_leaves_the_environment_alone() -> None:
    code = "import gymnasium, os; before = dict(os.environ); import envs.rendering; assert dict(os.environ) == before"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))


def test_opengl_and_ray_caster_show_the_same_scene(scene: Scene, observation: Observation) -> None:
    backend = next((name for name, problem in gl_backends().items() if problem is None), None)
    if backend is None:
        pytest.skip("no OpenGL back end works here")
    objects = observation.objects.map(np.copy)
    red, green = scene.index("red_cube"), scene.index("green_cube")
    objects.present[1, red] = False
    objects.half_extents[1, green] *= 1.8
    with Renderer(scene, "top", 120, 90, backend=backend) as renderer:
        images = renderer.draw(joints_of(observation), objects).astype(int)
    frames = Cameras(scene, (CameraConfig("top", 120, 90),)).draw(joints_of(observation), objects)["top"]
    reddish = (images[..., 0] > 90) & (images[..., 0] > 2.2 * images[..., 1]) & (images[..., 0] > 2 * images[..., 2])
    greenish = (images[..., 1] > 60) & (images[..., 1] > 1.5 * images[..., 0]) & (images[..., 1] > 1.3 * images[..., 2])
    for n, k, mask in ((0, red, reddish), (1, red, reddish), (0, green, greenish), (1, green, greenish)):
        truth = frames.entity[n] == k
        assert (truth ^ mask[n]).sum() <= 0.3 * truth.sum() + 2, (n, scene.names[k])
