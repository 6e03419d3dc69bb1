"""What is stepped has none of what is only drawn, and nobody can tell by what comes out."""

import mujoco
import numpy as np
import pytest
from mujoco.batch import MODEL_FIELDS

from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.stepped import Drawn, without_drawn
from envs.tasks import TASKS
from envs.variation import Variation
from envs.worlds import TaskWorlds

VARIED = Variation(mass=(0.5, 2.0), friction=(0.5, 2.0), size=(0.8, 1.2), servo_gain=(0.8, 1.2),
                   servo_damping=(0.8, 1.2), servo_friction=(0.01, 0.05), servo_delay=(0.0, 0.02),
                   gravity=(0.9, 1.1))  # fmt: skip


@pytest.mark.parametrize("name", ["place", "clutter", "drawer", "handover"])
def test_it_steps_to_the_same_bits(name: str) -> None:
    scene = build_scene(TASKS[name].scene)
    assert scene.stepped.ngeom < scene.model.ngeom
    rng, ends = np.random.default_rng(0), []
    commands = rng.uniform(*scene.joint_range.T, (6, len(scene.joints)))
    for model in (scene.model, scene.stepped):
        data = mujoco.MjData(model)
        mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
        for command in commands:
            data.ctrl[scene.actuator] = command
            mujoco.mj_step(model, data, 60)
        end = np.zeros(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(model, data, end, mujoco.mjtState.mjSTATE_INTEGRATION)
        ends.append(end)
    np.testing.assert_array_equal(*ends)


def test_geoms_are_the_same_by_their_new_ids() -> None:
    scene = build_scene(TASKS["sort"].scene)
    kept = scene.stepped_geom >= 0
    assert 0 < kept.sum() == scene.stepped.ngeom < scene.model.ngeom
    for name in ("geom_size", "geom_bodyid", "geom_friction", "geom_pos", "geom_contype"):
        values = getattr(scene.stepped, name)[scene.stepped_geom[kept]]
        np.testing.assert_array_equal(values, getattr(scene.model, name)[kept])


@pytest.mark.parametrize("mass", [0.0, 1.0])
def test_geoms_that_give_a_body_its_mass_stay(mass: float) -> None:
    spec = mujoco.MjSpec.from_string(f"""<mujoco><worldbody><body><freejoint/>
        <geom name="heavy" size="0.1" contype="0" conaffinity="0"/><geom name="skin" size="0.1" mass="{mass}"/>
        </body></worldbody></mujoco>""")
    spec.add_key(name="home")
    model = spec.compile()
    assert without_drawn(spec, model) is model


def shifted() -> Simulation:
    """Boxes under a pusher with their masses off their centres."""
    simulation = Simulation(build_scene(SceneConfig(robot="pusher")), 2, threads=1)
    parameters = simulation.parameters
    parameters.half_extents[1] *= 1.1
    parameters.centre_of_mass[1, :, 0] = 0.005
    simulation.fields.write(np.arange(2), parameters)
    return simulation


@pytest.mark.parametrize(
    "simulation", [TaskWorlds(TASKS["clutter"], 2, seed=1, threads=1, variation=VARIED).simulation, shifted()]
)
def test_a_model_of_one_world_has_all_that_is_its_own(simulation: Simulation) -> None:
    scene = simulation.scene
    batch, model, own = simulation.batch, simulation.model(1), 0
    for name in MODEL_FIELDS:
        values = batch.expanded(name)
        if values is not None:
            field = getattr(model.opt, name[4:]) if name.startswith("opt.") else getattr(model, name)
            kept = scene.stepped_geom >= 0 if name.startswith("geom_") else slice(None)
            np.testing.assert_array_equal(field[kept], values[1], err_msg=name)
            own += 1
    assert own > 8
    assert not np.array_equal(model.geom_size, scene.model.geom_size)


def test_rays_meet_what_is_drawn_and_objects_in_their_own_sizes() -> None:
    simulation = Simulation(build_scene(SceneConfig()), 2, threads=1)
    scene = simulation.scene
    parameters = simulation.parameters
    parameters.half_extents[1] *= 2.0
    simulation.fields.write(np.arange(2), parameters)
    drawn = Drawn(scene.model, simulation.batch, scene.stepped_geom)
    simulation.rows.put(np.arange(2), scene.index("red_cube"), np.tile((0.2, 0.3, 0.014), (2, 1)))
    eye = np.array((0.22, 0.3, 0.5))
    hit = drawn.first_hit(eye, np.tile((0.0, 0.0, -1.0), (2, 1, 1)), np.arange(2))[:, 0]
    names = [scene.model.geom(int(geom)).name for geom in hit]
    assert names == ["table", "red_cube"]
    above = scene.model.body("shoulder").pos + np.array((0.0, 0.0, 0.5))
    arm = drawn.first_hit(above, np.array([[[0.0, 0.0, -1.0]]]), np.array([0]))
    assert scene.stepped_geom[arm[0, 0]] == -1
