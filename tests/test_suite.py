"""The suite of tasks, one per file: each is valid, and the documented way of adding one works."""

import importlib
import re
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

import envs.experts
import envs.suite
from embodied.report.tasks import MOMENTS, panel
from envs.entity_geoms import positions_of
from envs.errors import EmbodiedError
from envs.experts import expert
from envs.fixtures import FIXTURES
from envs.objects import SHAPES
from envs.parameters import Parameters
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.suite import NAMES
from envs.tasks import TASKS, suite_task
from envs.types import Kind
from envs.validation import validate
from envs.variation import Variation
from envs.worlds import TaskWorlds

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"```(python|yaml)\n(.*?)```", re.DOTALL)


def test_a_task_is_a_short_file_and_a_line_of_yaml() -> None:
    for name in NAMES:
        assert TASKS[name].name == name
        assert len((ROOT / "envs" / "suite" / f"{name}.py").read_text().splitlines()) < 80
        assert yaml.safe_load((ROOT / "conf" / "env" / f"{name}.yaml").read_text()) == {"task": name}


def test_the_documented_task_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = dict(reversed(BLOCK.findall((ROOT / "docs" / "tasks.md").read_text())))
    name = yaml.safe_load(blocks["yaml"])["task"]
    assert len(blocks["python"].splitlines()) < 80
    (tmp_path / f"{name}.py").write_text(blocks["python"])
    monkeypatch.setattr(envs.suite, "__path__", [*envs.suite.__path__, str(tmp_path)])
    monkeypatch.setattr(envs.experts, "NAMES", (*NAMES, name))
    task = importlib.import_module(f"envs.suite.{name}").TASK
    validate(task, resets=24, seed=5000, threads=1).check(expert=0.9)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"envs/suite/odd_one\.py has no task; give it TASK = Task\(name='odd_one', \.\.\.\)\."),
        ("from envs.suite.door import TASK", r"odd_one\.py has a task named 'door'; give both the same name\."),
    ],
)
def test_a_module_without_its_own_task_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    (tmp_path / "odd_one.py").write_text(text)
    monkeypatch.setattr(envs.suite, "__path__", [*envs.suite.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "envs.suite.odd_one", raising=False)
    with pytest.raises(EmbodiedError, match=sentence):
        suite_task("odd_one")


def test_the_docs_name_every_task() -> None:
    text = (ROOT / "docs" / "tasks.md").read_text()
    assert all(f"| `{name}` |" in text for name in NAMES)


def test_the_picture_in_the_docs_has_a_panel_per_task() -> None:
    # Those three are `place` with a bin, among other cubes, and with goals in the air.
    assert set(MOMENTS) == set(TASKS) - {"place_bin", "place_clutter", "place_air"}
    assert (ROOT / "docs" / "tasks.png").stat().st_size > 100_000
    door = panel("door", "fast", 96, 72).astype(int)
    assert door.shape == (72, 96, 3)
    assert np.abs(door - panel("drawer", "fast", 96, 72)).mean() > 1.0


@pytest.fixture(scope="module")
def opened() -> TaskWorlds:
    """Doors half way through being opened."""
    worlds = TaskWorlds(TASKS["door"], 3, threads=1)
    worlds.reset(seeds=[1, 2, 3])
    law = expert("door")
    for _ in range(12):
        worlds.step(law.act(worlds.observation, worlds.task.goal))
    return worlds


def test_pictures_show_how_far_parts_are_open(opened: TaskWorlds) -> None:
    scene, observation = opened.simulation.scene, opened.observation
    joints = observation.proprioception[:, :6]
    column = scene.slide[scene.index("door")]
    true = np.array([opened.simulation.data(world).qpos[column] for world in range(3)])
    assert true.min() > 0.2
    np.testing.assert_allclose(positions_of(scene, joints, observation.objects)[0][:, column], true, atol=1e-9)


def test_entities_of_fixtures_are_where_mujoco_has_them(opened: TaskWorlds) -> None:
    scene = opened.simulation.scene
    for world in range(3):
        data = opened.simulation.data(world)
        mujoco.mj_forward(scene.model, data)
        for name in ("cupboard", "door"):
            k = scene.index(name)
            objects = opened.observation.objects
            np.testing.assert_allclose(objects.position_in_world[world, k], data.body(name).xpos, atol=1e-9)
            same = abs(objects.quaternion_in_world[world, k] @ data.body(name).xquat)
            assert same == pytest.approx(1.0, abs=1e-9)


def test_an_opened_door_continues_bit_for_bit(opened: TaskWorlds) -> None:
    simulation, law = opened.simulation, expert("door")
    saved, ends = simulation.save(), []
    for _ in range(2):
        simulation.restore(saved)
        observation = simulation.observe()
        for _ in range(8):
            observation = simulation.step(law.act(observation, opened.task.goal))
        ends.append(simulation.save().rows)
    simulation.restore(saved)
    np.testing.assert_array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], saved.rows)


@pytest.mark.parametrize("name", FIXTURES)
def test_boxes_of_fixtures_are_their_walls(name: str) -> None:
    """All that collides but knobs and stalks is in the entity's box, and touches all its sides."""
    for part in FIXTURES[name].parts:
        knobs = 2 if part.joint is not None else 0
        solids = part.solids[: len(part.solids) - knobs]
        if part.name == "door":
            solids = part.solids[:1]
        high = np.max([np.add(solid.position, solid.half_extents) for solid in solids], axis=0)
        low = np.min([np.subtract(solid.position, solid.half_extents) for solid in solids], axis=0)
        np.testing.assert_allclose([high, -low], [part.half_extents] * 2, atol=1e-9)


def test_shapes_rest_where_their_sizes_say() -> None:
    names = ("yellow_ball", "orange_capsule", "red_peg")
    scene = build_scene(SceneConfig(objects=names))
    simulation = Simulation(scene, 2, threads=1)
    truth = Parameters.nominal(scene, 2)
    truth.half_extents[1] *= 1.3
    simulation.fields.write(np.arange(2), truth)
    simulation.settle(duration=1.0)
    z = simulation.observe().objects.position_in_world[:, [scene.index(name) for name in names], 2]
    # Contacts are felt, in which what touches at a point or a small face rests a little over a millimetre deep.
    np.testing.assert_allclose(z, truth.half_extents[..., 2], atol=1.4e-3)


def test_scaled_shapes_turn_like_compiled_ones() -> None:
    """Principal moments of a resized capsule are those of MuJoCo's own of that size."""
    scene = build_scene(SceneConfig(objects=("orange_capsule",)))
    simulation = Simulation(scene, 1, threads=1)
    truth = Parameters.nominal(scene, 1)
    truth.half_extents[:] = (0.010, 0.010, 0.030)
    simulation.fields.write(np.arange(1), truth)
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body()
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=(0.010, 0.020, 0.0), mass=truth.mass[0, 0])
    compiled = spec.compile().body_inertia[1]
    own = simulation.model(0).body_inertia[scene.body[scene.index("orange_capsule")]]
    np.testing.assert_allclose(np.sort(own), np.sort(compiled), rtol=1e-9)


def test_a_ball_touches_what_its_box_does_not_roll_into() -> None:
    assert SHAPES["yellow_ball"].kind == Kind.SPHERE
    worlds = Simulation(build_scene(SceneConfig(objects=("yellow_ball",))), 1, threads=1)
    k = worlds.scene.index("yellow_ball")
    tilted = np.array([[np.cos(0.4), np.sin(0.4), 0.0, 0.0]])
    worlds.rows.put(np.array([0]), k, np.array([[0.2, 0.0, 0.05]]), tilted)
    from envs.goals import Goal

    assert Goal.parse("lifted(yellow_ball, 0.0)").margins(worlds.observe().objects)[0, 0] == pytest.approx(0.036)


def test_a_peg_goes_into_its_hole_and_one_that_is_too_wide_seldom_does() -> None:
    task, demonstrator, share = TASKS["insert"], expert("insert"), {}
    for wide in (1.0, 1.1):
        worlds = TaskWorlds(task, 32, seed=3, variation=Variation(size=(wide, wide)))
        for _ in range(task.horizon):
            success = worlds.step(demonstrator.act(worlds.observation, task.goal)).success
        share[wide] = success.mean()
    assert share[1.0] > 0.85
    assert share[1.1] < 0.4


def test_errors_name_what_is_allowed() -> None:
    with pytest.raises(EmbodiedError, match=r"Unknown fixture 'cabnet'\. Did you mean 'cabinet'\?"):
        SceneConfig(fixtures=("cabnet",))
    with pytest.raises(EmbodiedError, match="each may appear once"):
        SceneConfig(fixtures=("cabinet", "cabinet"))
    scene = build_scene(SceneConfig(objects=("yellow_ball",)))
    simulation = Simulation(scene, 1, threads=1)
    wrong = Parameters.nominal(scene, 1)
    wrong.half_extents[..., 2] *= 1.5
    with pytest.raises(EmbodiedError, match="those of a ball are all the same"):
        simulation.fields.write(np.arange(1), wrong)
