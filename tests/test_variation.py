from dataclasses import fields, replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
from mujoco.batch import Batch

from envs.errors import EmbodiedError
from envs.parameters import ModelFields, Parameters
from envs.scene import SceneConfig, build_scene
from envs.servo import SERVOS
from envs.variation import FACTORS, Variation, coordinates, count, physics

REMEMBERING = replace(SERVOS["firm"], memory=12)
SCENE = build_scene(SceneConfig(objects=("red_cube", "blue_cube"), goal_entity="bin", servo=REMEMBERING))
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


FIELDS = {
    "mass": {"body_mass", "body_inertia"},
    "friction": {"geom_friction"},
    "size": {"geom_size", "geom_rbound", "geom_aabb", "body_inertia"},
    "surface_friction": {"geom_friction"},
    "servo_gain": {"actuator_gainprm", "actuator_biasprm"},
    "servo_damping": {"dof_damping", "actuator_biasprm"},
    "servo_friction": {"dof_frictionloss"},
    "servo_delay": {"actuator_delay"},
    "backlash": set(),
    "gravity": {"opt.gravity"},
    "tilt": {"opt.gravity"},
}
"""What each physical factor writes into the model."""
DERIVED = {"body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0", "actuator_acc0", "stat.meaninertia",
           "actuator_length0", "actuator_lengthrange", "cam_poscom0", "light_poscom0", "bvh_aabb",
           "dof_length"}  # fmt: skip
"""What MuJoCo derives from masses, inertias and sizes."""


def different(a: mujoco.MjModel, b: mujoco.MjModel) -> set[str]:
    arrays = {name: (getattr(a, name), getattr(b, name)) for name in dir(a)
              if isinstance(getattr(a, name), np.ndarray)}  # fmt: skip
    arrays |= {f"opt.{name}": (getattr(a.opt, name), getattr(b.opt, name)) for name in dir(a.opt)
               if isinstance(getattr(a.opt, name), np.ndarray | float | int)}  # fmt: skip
    return {name for name, (one, other) in arrays.items() if not np.array_equal(one, other)}


@pytest.mark.parametrize("name", FIELDS)
def test_a_physical_factor_changes_what_it_says_and_nothing_else(name):
    batch = Batch(SCENE.stepped, 2, 1)
    own, many = ModelFields(batch, SCENE), count(SCENE)
    share = np.random.default_rng(5).random((1, coordinates(many)))
    nominal, wide = Parameters.nominal(SCENE, 1), Variation.wide(name)
    assert wide.varied == (name,)
    values = wide.draw(many, share)
    drawn = physics(nominal, values)
    own.write(np.array([1]), drawn)
    changed = different(batch.get_model(0), batch.get_model(1))
    assert changed - DERIVED == FIELDS[name]
    assert (name == "backlash") == (own.backlash is not None)
    # Objects and surfaces share a field: which geoms differ tells them apart.
    if name in ("friction", "surface_friction"):
        rows = np.flatnonzero((batch.get_model(0).geom_friction != batch.get_model(1).geom_friction).any(axis=1))
        objects = {SCENE.stepped_geom[SCENE.geoms[SCENE.index(cube)][0]] for cube in SCENE.objects}
        assert set(rows) == objects if name == "friction" else objects.isdisjoint(rows) and len(rows) > 2
    low, high = FACTORS[name].wide
    assert ((values[name] >= low) & (values[name] <= high)).all()
    # And back again.
    own.write(np.array([1]), nominal)
    assert not different(batch.get_model(0), batch.get_model(1)) - DERIVED


def test_every_factor_is_a_field_and_is_tested():
    named = {f.name for f in fields(Variation)}
    assert named == {*FACTORS, "layout"}
    physical = {name for name, factor in FACTORS.items() if factor.group == "physical"}
    assert physical == {*FIELDS, "centre_of_mass"}
    for name, factor in FACTORS.items():
        assert getattr(Variation(), name) == (factor.nominal, factor.nominal)


def test_a_tilt_turns_gravity_and_keeps_its_strength():
    drawn = Variation(tilt=(-0.2, 0.2), gravity=(0.9, 1.1)).sample(NOMINAL, np.random.default_rng(0))
    lean = Variation(tilt=(0.1, 0.1)).sample(NOMINAL, np.random.default_rng(0)).gravity[0]
    assert np.allclose(np.linalg.norm(lean), 9.81)
    # Turned about x the table's y goes up, and things slide to -y; turned about y its x goes down, and they slide to x.
    assert lean[1] < 0 < lean[0]
    assert np.isclose(np.arccos(-lean[2] / 9.81), np.arccos(np.cos(0.1) ** 2))
    strength = np.linalg.norm(drawn.gravity, axis=1) / 9.81
    assert (strength > 0.9).all()
    assert (strength < 1.1).all()
    assert np.ptp(drawn.gravity[:, 0]) > 1.0


def test_words_for_a_variation():
    parsed = Variation.parse("mass=0.5..2, tilt=0.02, backlash, layout=7")
    assert parsed == Variation(mass=(0.5, 2.0), tilt=(0.02, 0.02), backlash=FACTORS["backlash"].wide, layout=7)
    assert Variation.parse(str(parsed)) == parsed
    assert set(Variation.parse("visual").varied) == {name for name, f in FACTORS.items() if f.group == "visual"}
    assert Variation.parse("") == Variation()
    assert parsed.fixed({"mass": None, "tilt": 0.1, "layout": None}) == Variation(
        tilt=(0.1, 0.1), backlash=FACTORS["backlash"].wide, layout=0
    )
    for text, words in (("mas=2", "Unknown factor 'mas'. Did you mean 'mass'"), ("visuals", "Did you mean 'visual'"),
                        ("mass=heavy", "must be a number"), ("gravity=-1", "gravity"),
                        ("layout=0.5", "a layout is a seed")):  # fmt: skip
        with pytest.raises(EmbodiedError, match=words):
            Variation.parse(text)
    with pytest.raises(EmbodiedError, match="Factor mass was given 'x'; it is set by a number, or frozen by None"):
        Variation().fixed({"mass": "x"})
    with pytest.raises(EmbodiedError, match="Unknown factor 'weight'"):
        Variation().fixed({"weight": 1.0})


def test_flat_round_trip():
    drawn = WIDE.sample(NOMINAL, np.random.default_rng(0))
    back = NOMINAL.like(drawn.flat())
    assert all(np.array_equal(getattr(drawn, f.name), getattr(back, f.name)) for f in fields(Parameters))


@pytest.mark.parametrize("limits", [(0.0, 1.0), (2.0, 1.0), (1.0, np.inf)])
def test_bad_ranges_are_refused(limits):
    with pytest.raises(EmbodiedError, match="low <= high"):
        Variation(mass=limits)


def test_bad_parameters_are_refused():
    fields_of = ModelFields(Batch(SCENE.stepped, 50, 1), SCENE)
    for change, word in (({"mass": -NOMINAL.mass}, "mass"), ({"friction": -NOMINAL.friction}, "friction"),
                         ({"gravity": NOMINAL.gravity * np.nan}, "gravity")):  # fmt: skip
        with pytest.raises(EmbodiedError, match=word):
            fields_of.write(np.arange(50), replace(NOMINAL, **change))
    assert np.array_equal(fields_of.parameters.flat(), NOMINAL.flat())


def test_unvaried_worlds_expand_nothing():
    batch = Batch(SCENE.stepped, 50, 1)
    ModelFields(batch, SCENE).write(np.arange(50), NOMINAL)
    for name in ("body_mass", "geom_friction", "geom_size", "actuator_gainprm", "opt.gravity"):
        assert batch.expanded(name) is None


def test_a_varied_world_has_the_physics_of_its_parameters():
    batch = Batch(SCENE.stepped, 3, 1)
    values = replace(WIDE, surface_friction=(1.0, 1.0)).sample(Parameters.nominal(SCENE, 3), np.random.default_rng(1))
    # Three different sides, so that the order of principal axes matters.
    values.half_extents[:, 0] *= (1.3, 0.8, 1.0)
    ModelFields(batch, SCENE).write(np.arange(3), values)
    for world in range(3):
        model, body = batch.get_model(world), SCENE.body[-2:]
        geom = SCENE.stepped_geom[[SCENE.geoms[-2][0], SCENE.geoms[-1][0]]]
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


def test_the_documentation_has_every_factor():
    text = (Path(__file__).parent.parent / "docs" / "variation.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    told = {row[0].strip("`"): row for row in rows}
    assert set(told) == {*FACTORS, "layout"}
    for name, factor in FACTORS.items():
        assert told[name][1] == factor.per
        numbers = told[name][2].replace("pi", f"{np.pi:g}").removeprefix("x ").split()[0]
        assert [float(number) for number in numbers.split("..")] == pytest.approx(factor.wide, rel=1e-5)
        assert told[name][2].startswith("x ") == factor.log
