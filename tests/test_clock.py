"""Nobody's time is taken for timers, unless somebody asks for them."""

from collections.abc import Iterator

import mujoco
import pytest

from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation

SCENE = build_scene(SceneConfig())


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = mujoco.get_mjcb_time()
    yield
    mujoco.set_mjcb_time(before)


def timed() -> float:
    """What MuJoCo says a few steps took."""
    data = mujoco.MjData(SCENE.model)
    mujoco.mj_step(SCENE.model, data, 5)
    return float(data.timer[mujoco.mjtTimer.mjTIMER_STEP].duration)


def test_a_simulation_stops_the_timers_and_they_can_be_had_back() -> None:
    mujoco.set_mjcb_time(None)
    assert timed() > 0.0
    Simulation(SCENE, 1)
    assert timed() == 0.0
    mujoco.set_mjcb_time(None)
    assert timed() > 0.0


def test_a_clock_of_somebody_else_stays() -> None:
    ticks = []

    def clock() -> float:
        ticks.append(len(ticks))
        return float(len(ticks))

    mujoco.set_mjcb_time(clock)
    Simulation(SCENE, 1)
    assert mujoco.get_mjcb_time() is clock
    assert timed() > 0.0
