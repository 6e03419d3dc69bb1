"""Worlds with a pusher: its servo and range, cylinders, hidden centres of mass, the do-operator, parts of a step."""

from dataclasses import fields, replace

import mujoco
import numpy as np
import pytest
from contracts import check_simulation, same

from envs import pusher
from envs.cameras import CameraConfig, Cameras
from envs.control import CartesianDelta, PlanarDelta
from envs.errors import EmbodiedError
from envs.interventions import Intervention, apply_to_state
from envs.layout import Layout
from envs.objects import ROUNDING
from envs.parameters import Parameters
from envs.scene import SceneConfig, build_scene
from envs.simulation import RAMP, Simulation
from envs.touching import touching
from envs.types import MOVABLE, Kind, Observation, proprioception
from envs.variation import Variation
from envs.world_states import SimulationState

OBJECTS = ("red_cube", "orange_cube", "white_cylinder")
SCENE = build_scene(SceneConfig(objects=OBJECTS, robot="pusher"))
WORLDS = 3
RED, ORANGE, WHITE = (SCENE.index(name) for name in OBJECTS)
HALF = np.array([[0.025, 0.02, 0.022], [0.02, 0.03, 0.025], [0.022, 0.022, 0.02]])


def layout(worlds: int = WORLDS, **changes: object) -> Layout:
    """The pusher behind red, orange beyond it, the cylinder beyond that: a push along x meets all three."""
    position = np.zeros((worlds, 3, 3))
    position[:, :, 0] = (0.20, 0.25, 0.30)
    position[:, :, 1] = (0.004, -0.003, 0.006)
    position[..., 2] = HALF[:, 2]
    quaternion = np.zeros((worlds, 3, 4))
    quaternion[..., 0] = 1.0
    begin = Layout(np.tile([0.145, 0.0], (worlds, 1)), position, quaternion, half_extents=np.tile(HALF, (worlds, 1, 1)),
                   mass=np.full((worlds, 3), 0.1))  # fmt: skip
    return replace(begin, **changes)


def simulation(worlds: int = WORLDS, **changes: object) -> Simulation:
    made = Simulation(SCENE, worlds, threads=1)
    made.reset(layout(worlds, **changes))
    return made


def pushing(worlds: int = WORLDS, steps: int = 8) -> np.ndarray:
    actions = np.random.default_rng(0).uniform(-0.1, 0.1, (steps, worlds, 2))
    actions[..., 0] += 0.5
    return actions


def test_contract() -> None:
    made = simulation()
    check_simulation(made, pushing())
    moved = made.observe().objects.position_in_world[:, [RED, ORANGE, WHITE], 0]
    assert (moved > np.array([0.20, 0.25, 0.30]) - 1e-6).all()


def test_a_push_goes_through_the_chain() -> None:
    made = simulation()
    start = made.observe().objects.position_in_world
    for action in pushing(steps=12):
        seen = made.step(action)
    touched = touching(made, np.arange(WORLDS))
    assert touched[:, RED, ORANGE].all()
    assert touched[:, ORANGE, WHITE].all()
    assert not touched[:, RED, WHITE].any()
    moved = seen.objects.position_in_world - start
    assert (moved[:, [RED, ORANGE, WHITE], 0] > 0.02).all()
    np.testing.assert_allclose(seen.objects.position_in_world[:, [RED, ORANGE, WHITE], 2] - HALF[:, 2], 0, atol=5e-4)


def test_entities_joints_and_proprioception() -> None:
    assert SCENE.names == ("table", "pusher", *OBJECTS)
    assert SCENE.kind.tolist() == [Kind.TABLE, Kind.PUSHER, Kind.BOX, Kind.BOX, Kind.CYLINDER]
    assert SCENE.joints == ("pusher_x", "pusher_y")
    np.testing.assert_allclose(SCENE.joint_range, np.stack([pusher.JOINT_LOW, pusher.JOINT_HIGH], axis=1))
    made = simulation()
    parts = proprioception(6)
    for action in pushing(steps=4):
        seen = made.step(action)
    place = seen.objects.position_in_world[:, 1]
    np.testing.assert_array_equal(seen.proprioception[:, parts["joint_position"]], place[:, :2])
    np.testing.assert_array_equal(seen.proprioception[:, parts["joint_velocity"]],
                                  seen.objects.linear_velocity_in_world[:, 1, :2])  # fmt: skip
    np.testing.assert_array_equal(seen.proprioception[:, parts["joint_target"]], made.joint_target)
    np.testing.assert_allclose(place[:, 2], pusher.HEIGHT, atol=1e-12)
    with pytest.raises(EmbodiedError, match="Proprioception of 7 numbers"):
        proprioception(7)


def test_the_servo_follows_and_stays_in_range() -> None:
    made = simulation(1, present=np.zeros((1, 3), bool))
    for _ in range(6):
        made.step(np.array([[0.5, -0.5]]))
    for _ in range(2):
        seen = made.step(np.zeros((1, 2)))
    assert np.abs(seen.proprioception[0, :2] - seen.proprioception[0, 4:]).max() < 1e-3
    for _ in range(20):
        made.step(np.ones((1, 2)))
    np.testing.assert_array_equal(made.joint_target[0], pusher.JOINT_HIGH)


def test_the_other_robots_controller_is_refused() -> None:
    with pytest.raises(EmbodiedError, match=r"CartesianDelta commands shoulder_pan.*give PlanarDelta\(\)"):
        Simulation(SCENE, 1, control=CartesianDelta())
    with pytest.raises(EmbodiedError, match=r"PlanarDelta commands pusher_x"):
        Simulation(build_scene(), 1, control=PlanarDelta())
    with pytest.raises(EmbodiedError, match="Unknown robot 'pushr'"):
        SceneConfig(robot="pushr")  # type: ignore[arg-type]


def test_parts_of_a_step_end_where_the_step_does() -> None:
    one, other = simulation(), simulation()
    for action in pushing():
        before = one.joint_target
        whole, parts = one.step(action), [other.observe() for _ in other.parts(action)]
        assert len(parts) == RAMP
        assert same(parts[-1], whole)
        commands = np.stack([part.proprioception[:, 4:] for part in parts])
        share = (np.arange(RAMP) + 1.0)[:, None, None] / RAMP
        np.testing.assert_allclose(commands, before + share * (one.joint_target - before), atol=1e-12)
        times = np.stack([part.time[0] for part in parts])
        np.testing.assert_allclose(np.diff(times), 0.1 / RAMP, atol=1e-9)


def test_save_and_restore_keep_a_hidden_centre_of_mass() -> None:
    truth = replace(Parameters.nominal(SCENE, WORLDS), half_extents=np.tile(HALF, (WORLDS, 1, 1)))
    truth = Variation(mass=(0.5, 2.0), centre_of_mass=(-0.5, 0.5)).sample(truth, np.random.default_rng(0))
    made = simulation(parameters=truth)
    state = made.save()
    first = [made.step(action) for action in pushing()]
    fresh = Simulation(SCENE, WORLDS, threads=2)
    fresh.restore(SimulationState(state.rows.copy()))
    assert all(same(fresh.step(action), seen) for action, seen in zip(pushing(), first, strict=True))
    np.testing.assert_array_equal(fresh.parameters.centre_of_mass, truth.centre_of_mass)
    plain = simulation(parameters=replace(truth, centre_of_mass=np.zeros_like(truth.centre_of_mass)))
    begin = plain.observe()
    assert same(begin, simulation(parameters=truth).observe()), "an observation tells nothing of it"
    last = [plain.step(action) for action in pushing()][-1]
    assert np.abs(last.objects.position_in_world - first[-1].objects.position_in_world).max() > 1e-3


def test_a_varied_world_has_the_physics_of_its_parameters() -> None:
    values = replace(Parameters.nominal(SCENE, 2), half_extents=np.tile(HALF, (2, 1, 1)))
    values = Variation(mass=(0.5, 2.0), centre_of_mass=(-0.5, 0.5)).sample(values, np.random.default_rng(1))
    assert (np.abs(values.centre_of_mass[..., :2]) <= 0.5 * HALF[:, :2]).all()
    assert (values.centre_of_mass[..., 2] == 0).all()
    made = simulation(2, parameters=values)
    for world in range(2):
        model = made.model(world)
        for o, k in enumerate((RED, ORANGE, WHITE)):
            body, geom, mass, half = SCENE.body[k], SCENE.geoms[k][0], values.mass[world, o], HALF[o]
            inertia = mass / 3 * ((half**2).sum() - half**2)
            size = half
            if k == WHITE:
                across = mass * (half[0] ** 2 / 4 + half[2] ** 2 / 3)
                inertia = np.array([across, across, mass * half[0] ** 2 / 2])
                size = np.array([half[0] - ROUNDING, half[2] - ROUNDING, 0.0])
            frame = np.zeros(9)
            mujoco.mju_quat2Mat(frame, model.body_iquat[body])
            turned = frame.reshape(3, 3) @ np.diag(model.body_inertia[body]) @ frame.reshape(3, 3).T
            np.testing.assert_allclose(turned, np.diag(inertia), rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(model.geom_size[geom], size)
            np.testing.assert_allclose(model.geom_aabb[geom, 3:], half - model.geom_margin[geom])
            assert model.geom_margin[geom] == (ROUNDING if k == WHITE else 0.0)
            assert model.geom_rbound[geom] == pytest.approx(np.linalg.norm(size))
            np.testing.assert_array_equal(model.body_ipos[body], values.centre_of_mass[world, o])
            data = made.data(world)
            mujoco.mj_kinematics(model, data)
            offset = data.xipos[body] - data.xpos[body]
            np.testing.assert_allclose(offset, values.centre_of_mass[world, o], atol=1e-12)


def test_a_cylinder_touches_a_box_along_the_way_between_them() -> None:
    model, data = SCENE.model, mujoco.MjData(SCENE.model)
    rng, half = np.random.default_rng(0), float(SCENE.half_extents[RED, 0])
    box, rod = model.geom("red_cube").id, model.geom("white_cylinder").id
    for _ in range(100):
        # A point at the edge of a rounded square: half a millimetre less than a radius from the box.
        corner = rng.uniform(-half, half, 2)
        corner[rng.integers(2)] = half
        out = np.where(corner == half, 1.0, 0.0)
        if rng.random() < 0.5:
            angle = rng.uniform(0.05, np.pi / 2 - 0.05)
            corner, out = np.full(2, half), np.array([np.cos(angle), np.sin(angle)])
        place = corner + (half - 5e-4) * out
        tilt = np.array([1.0, *rng.normal(0.0, 0.002, 2), 0.0])
        for name, xyz, quat in (("red_cube", (0.2, 0.0, half), (1.0, 0.0, 0.0, 0.0)),
                                ("white_cylinder", (0.2 + place[0], place[1], half), tilt / np.linalg.norm(tilt)),
                                ("orange_cube", (0.5, 0.2, half), (1.0, 0.0, 0.0, 0.0))):  # fmt: skip
            data.joint(name).qpos[:] = (*xyz, *quat)
        mujoco.mj_forward(model, data)
        touching = [c for c in data.contact if set(c.geom) == {box, rod}]
        assert touching
        for contact in touching:
            assert contact.dist - ROUNDING == pytest.approx(-5e-4, abs=2e-4)
            assert np.abs(contact.frame[:2] @ out) > np.cos(np.radians(3.0))


def test_a_cylinder_is_not_moved_into_a_box() -> None:
    made = simulation()
    place = made.observe().objects.position_in_world[0]
    gap = place[ORANGE] - place[WHITE]
    apart = HALF[1, 0] + HALF[2, 0]
    for overlap in (-0.0002, 0.002):
        x = float(gap[0] + np.sign(-gap[0]) * (apart - overlap))
        edit = Intervention("move", "white_cylinder", {"x": x, "y": float(gap[1])})
        if overlap < 0:
            made.do(edit, np.array([0]))
            continue
        with pytest.raises(EmbodiedError, match=r"would push white_cylinder 2\.0 mm into orange_cube"):
            made.do(edit, np.array([1]))


def test_impossible_bodies_are_refused_before_anything_changes() -> None:
    made = simulation()
    start = made.save().rows
    oval = np.tile(HALF, (WORLDS, 1, 1))
    oval[1, 2] = (0.02, 0.025, 0.02)
    with pytest.raises(EmbodiedError, match="half_extents of white_cylinder must have the same x and y"):
        made.reset(layout(half_extents=oval))
    far = replace(Parameters.nominal(SCENE, WORLDS), centre_of_mass=np.full((WORLDS, 3, 3), 0.1))
    with pytest.raises(EmbodiedError, match="centre_of_mass of red_cube is outside"):
        made.reset(layout(parameters=far))
    thin = np.tile(HALF, (WORLDS, 1, 1))
    thin[2, 2] = 0.003
    with pytest.raises(EmbodiedError, match="half_extents of white_cylinder must be above"):
        made.reset(layout(half_extents=thin))
    for text in ("size(white_cylinder, x=0.05)", "size(white_cylinder, x=0.05, y=0.04)"):
        with pytest.raises(EmbodiedError, match="oval of the cylinder"):
            made.do(Intervention.parse(text))
        with pytest.raises(EmbodiedError, match="oval of the cylinder"):
            apply_to_state(Intervention.parse(text), made.observe().objects)
    with pytest.raises(EmbodiedError, match="'move' cannot act on 'pusher'"):
        made.do(Intervention.parse("move(pusher, x=+0.1)"))
    np.testing.assert_array_equal(made.save().rows, start)
    with pytest.raises(EmbodiedError, match=r"centre_of_mass .* -0.99 <= low <= high <= 0.99"):
        Variation(centre_of_mass=(-1.0, 1.0))
    arm = build_scene()
    shifted = replace(Parameters.nominal(arm, 1), centre_of_mass=np.full((1, 1, 3), 0.001))
    with pytest.raises(EmbodiedError, match="must be 0 in scenes with an arm"):
        Simulation(arm, 1).fields.write(np.arange(1), shifted)


@pytest.mark.parametrize("name", OBJECTS)
def test_edits_that_change_nothing_leave_every_bit_alone(name: str) -> None:
    made = simulation()
    for action in pushing()[:4]:
        made.step(action)
    saved, k = made.save(), SCENE.index(name)
    factual = [made.step(action) for action in pushing()[4:]]
    made.restore(saved)
    state = made.observe().objects
    half, velocity = state.half_extents[0, k], state.linear_velocity_in_world[0, k]
    edits = [
        Intervention("move", name, {"x": 0.0, "y": 0.0}),
        Intervention("mass", name, {"value": state.mass[0, k]}),
        Intervention("friction", name, {"value": state.friction[0, k]}),
        Intervention("size", name, dict(zip("xyz", 2 * half, strict=True))),
        Intervention("gain", None, {"factor": 1.0}),
        Intervention("gravity", None, {"z": -9.81}),
    ]
    for edit in edits:
        made.do(edit)
    made.do(Intervention("velocity", name, dict(zip("xyz", velocity, strict=True))), np.array([0]))
    np.testing.assert_allclose(made.save().rows, saved.rows, rtol=0, atol=1e-15)
    made.restore(saved)
    for edit in edits:
        made.do(edit)
    np.testing.assert_array_equal(made.save().rows, saved.rows)
    assert all(same(made.step(action), seen) for action, seen in zip(pushing()[4:], factual, strict=True))


@pytest.mark.parametrize("name", ["red_cube", "white_cylinder"])
@pytest.mark.parametrize("what", ["mass({}, 0.3)", "friction({}, 0.9)", "size({}, 0.03)", "velocity({}, y=0.3)",
                                  "move({}, y=+0.05)", "remove({})"])  # fmt: skip
def test_every_edit_changes_what_it_says_and_what_follows(name: str, what: str) -> None:
    assert int(SCENE.kind[SCENE.index(name)]) in MOVABLE
    made, edited = simulation(), simulation()
    edit = Intervention.parse(what.format(name))
    edited.do(edit)
    expected = apply_to_state(edit, made.observe().objects)
    got = edited.observe().objects
    for field in fields(got):
        if field.name not in ("names", "kind"):
            np.testing.assert_allclose(getattr(got, field.name), getattr(expected, field.name), atol=1e-12)
    actions = np.tile([0.6, 0.0], (10, WORLDS, 1))
    ends = [[one.step(action) for action in actions][-1].objects.position_in_world for one in (made, edited)]
    assert np.abs(ends[0] - ends[1]).max() > 1e-3


def test_the_tables_friction_slows_what_slides() -> None:
    ends = []
    for friction in (0.1, 0.9):
        made = simulation(1)
        made.do(Intervention("friction", "table", {"value": friction}))
        made.do(Intervention.parse("velocity(white_cylinder, x=0.4)"))
        for _ in range(5):
            seen = made.step(np.zeros((1, 2)))
        ends.append(seen.objects.position_in_world[0, WHITE, 0])
    assert ends[0] - ends[1] > 0.005


def test_gain_weakens_the_servo_and_shows_nowhere() -> None:
    made, weak = simulation(), simulation()
    weak.do(Intervention.parse("gain(0.2)"), np.array([1]))
    assert same(made.observe(), weak.observe())
    np.testing.assert_array_equal(weak.parameters.servo_gain, [[1, 1], [0.2, 0.2], [1, 1]])
    factual, lagging = ([one.step(action) for action in pushing(steps=3)][-1] for one in (made, weak))
    lag = made.joint_target - lagging.proprioception[:, :2]
    assert lag[1, 0] > 2 * (made.joint_target - factual.proprioception[:, :2])[1, 0]
    assert same(factual[::2], lagging[::2])
    weak.do(Intervention.parse("gain(0.5)"), np.array([1]))
    np.testing.assert_allclose(weak.parameters.servo_gain[1], 0.1)


def test_absent_objects_stay_away_and_are_no_burden() -> None:
    gone = simulation(present=np.tile([True, False, True], (WORLDS, 1)))
    for action in pushing():
        seen: Observation = gone.step(action)
    assert not seen.objects.present[:, ORANGE].any()
    assert not seen.objects.position_in_world[:, ORANGE].any()
    np.testing.assert_allclose(gone.rows._qpos[:, SCENE.qpos[ORANGE] : SCENE.qpos[ORANGE] + 3],
                               np.tile(SCENE.parking_pose[ORANGE, :3], (WORLDS, 1)))  # fmt: skip


def test_cameras_see_pusher_and_objects() -> None:
    frames = Cameras(SCENE, (CameraConfig("top", 120, 90),), threads=1).frames(simulation(1))["top"]
    assert set(np.unique(frames.entity)) >= {0, 1, RED, ORANGE, WHITE}
