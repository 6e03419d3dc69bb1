from dataclasses import fields, replace

import mujoco
import numpy as np
import pytest
from mujoco.batch import Batch

from envs.errors import EmbodiedError
from envs.scene import SceneConfig, build_scene
from envs.variation import ModelFields, Parameters, Variation

SCENE = build_scene(SceneConfig(objects=("red_cube", "blue_cube"), goal_entity="bin"))
NOMINAL = Parameters.nominal(SCENE, 50)
WIDE = Variation(
    mass=(0.5, 2.0), friction=(0.5, 1.5), size=(0.8, 1.2), surface_friction=(0.7, 1.3), servo_gain=(0.8, 1.25),
    gravity=(0.9, 1.1),
)  # fmt: skip


def test_draws_are_reproducible_and_in_range():
    first, again = (WIDE.sample(NOMINAL, np.random.default_rng(3)) for _ in range(2))
    other = WIDE.sample(NOMINAL, np.random.default_rng(4))
    assert np.array_equal(first.flat(), again.flat())
    assert not np.array_equal(first.flat(), other.flat())
    for name, low, high in (("mass", 0.5, 2.0), ("half_extents", 0.8, 1.2), ("servo_gain", 0.8, 1.25)):
        ratio = getattr(first, name) / getattr(NOMINAL, name)
        assert (ratio >= low).all()
        assert (ratio <= high).all()
        assert ratio.std() > 0.05
    assert np.ptp(first.half_extents / NOMINAL.half_extents, axis=-1).max() < 1e-12
    assert (first.gravity[:, :2] == 0).all()


def test_switching_one_range_off_leaves_the_others():
    narrow = replace(WIDE, friction=(1.0, 1.0))
    a, b = (variation.sample(NOMINAL, np.random.default_rng(0)) for variation in (WIDE, narrow))
    assert np.array_equal(a.mass, b.mass)
    assert np.array_equal(a.gravity, b.gravity)
    assert np.array_equal(b.friction[:, -2:], NOMINAL.friction[:, -2:])


def test_flat_round_trip():
    drawn = WIDE.sample(NOMINAL, np.random.default_rng(0))
    back = NOMINAL.like(drawn.flat())
    assert all(np.array_equal(getattr(drawn, f.name), getattr(back, f.name)) for f in fields(Parameters))


@pytest.mark.parametrize("limits", [(0.0, 1.0), (2.0, 1.0), (1.0, np.inf)])
def test_bad_ranges_are_refused(limits):
    with pytest.raises(EmbodiedError, match="0 < low <= high"):
        Variation(mass=limits)


def test_bad_parameters_are_refused():
    fields_of = ModelFields(Batch(SCENE.model, 50, 1), SCENE)
    for change, word in (({"mass": -NOMINAL.mass}, "mass"), ({"friction": -NOMINAL.friction}, "friction"),
                         ({"gravity": NOMINAL.gravity * np.nan}, "gravity")):  # fmt: skip
        with pytest.raises(EmbodiedError, match=word):
            fields_of.write(np.arange(50), replace(NOMINAL, **change))
    assert np.array_equal(fields_of.parameters.flat(), NOMINAL.flat())


def test_unvaried_worlds_expand_nothing():
    batch = Batch(SCENE.model, 50, 1)
    ModelFields(batch, SCENE).write(np.arange(50), NOMINAL)
    for name in ("body_mass", "geom_friction", "geom_size", "actuator_gainprm", "opt.gravity"):
        assert batch.expanded(name) is None


def test_a_varied_world_has_the_physics_of_its_parameters():
    batch = Batch(SCENE.model, 3, 1)
    values = replace(WIDE, surface_friction=(1.0, 1.0)).sample(Parameters.nominal(SCENE, 3), np.random.default_rng(1))
    # Three different sides, so that the order of principal axes matters.
    values.half_extents[:, 0] *= (1.3, 0.8, 1.0)
    ModelFields(batch, SCENE).write(np.arange(3), values)
    for world in range(3):
        model, body, geom = batch.get_model(world), SCENE.body[-2:], [SCENE.geoms[-2][0], SCENE.geoms[-1][0]]
        for o in range(2):
            side = values.half_extents[world, o]
            inertia = values.mass[world, o] / 3 * ((side**2).sum() - side**2)
            frame = np.zeros(9)
            mujoco.mju_quat2Mat(frame, model.body_iquat[body[o]])
            frame = frame.reshape(3, 3)
            assert np.allclose(frame @ np.diag(model.body_inertia[body[o]]) @ frame.T, np.diag(inertia), rtol=1e-9)
            assert np.isclose(model.body_mass[body[o]], values.mass[world, o])
            assert np.isclose(model.geom_rbound[geom[o]], np.linalg.norm(side))
            assert np.allclose(model.geom_aabb[geom[o], 3:], side)
            assert np.isclose(model.body_subtreemass[body[o]], values.mass[world, o])
            assert np.isclose(model.body_invweight0[body[o], 0], 1 / values.mass[world, o], rtol=1e-6)
            assert np.isclose(model.geom_friction[geom[o], 0], values.friction[world, SCENE.index(SCENE.objects[o])])
        assert np.allclose(model.actuator_gainprm[SCENE.actuator, 0], 200.0 * values.servo_gain[world])
        assert np.allclose(model.actuator_biasprm[SCENE.actuator, 1], -200.0 * values.servo_gain[world])
        assert np.allclose(model.opt.gravity, values.gravity[world])
