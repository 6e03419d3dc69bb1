from dataclasses import replace

import mujoco
import numpy as np
import pytest
from contracts import check_simulation, same

from envs.control import CartesianDelta, JointAbsolute, JointDelta
from envs.errors import EmbodiedError
from envs.interventions import Intervention
from envs.layout import Layout
from envs.parameters import Parameters
from envs.readout import chain_of, read_poses
from envs.robot import HOME
from envs.scene import SceneConfig, build_scene
from envs.servo import SERVOS
from envs.simulation import Simulation
from envs.variation import Variation
from envs.world_states import SimulationState

SCENE = build_scene(SceneConfig(objects=("red_cube", "blue_cube", "green_cube"), goal_entity="bin"))
WORLDS = 4
STEPS = 18
RED, BLUE, GREEN = (SCENE.index(name) for name in ("red_cube", "blue_cube", "green_cube"))


def layout(worlds=WORLDS, **changes):
    """Red under the tool with blue against it, green far away."""
    position = np.zeros((worlds, 3, 3))
    position[:, 0] = (0.22, 0.02, 0.014)
    position[:, 1] = (0.22, 0.0485, 0.014)
    position[:, 2] = (0.30, -0.18, 0.014)
    quaternion = np.zeros((worlds, 3, 4))
    quaternion[..., 0] = 1.0
    goal = np.full((worlds, 3), (0.1, 0.25, 0.022))
    return replace(Layout(np.tile(HOME, (worlds, 1)), position, quaternion, goal_position=goal), **changes)


def pushing(worlds=WORLDS, steps=STEPS, seed=0):
    """Down beside red with closed jaws, then sweep into both cubes, with noise."""
    actions = np.random.default_rng(seed).uniform(-0.15, 0.15, (steps, worlds, 5))
    actions[:, :, 2] = -0.7
    actions[:4, :, 1] = -0.35
    actions[4:, :, 1] = 0.3
    actions[..., 4] = -1.0
    return actions


def simulation(worlds=WORLDS, scene=SCENE, **changes):
    made = Simulation(scene, worlds, threads=1, **changes)
    made.reset(layout(worlds))
    return made


@pytest.fixture(scope="module")
def contact():
    """A simulation mid-contact, its state there, and what 14 further steps give."""
    made, actions = simulation(), pushing(steps=24)
    for action in actions[:10]:
        made.step(action)
    state = made.save()
    rest = actions[10:]
    factual = [made.step(action) for action in rest]
    moved = np.abs(factual[-1].objects.position_in_world - factual[0].objects.position_in_world).max(axis=-1)
    assert (moved[:, [RED, BLUE]] > 0.01).all(), "the scenario must push both cubes"
    return made, state, rest, factual


def test_contract():
    check_simulation(simulation(), pushing(steps=8))


def test_contract_with_variation_and_absences():
    made = simulation()
    nominal = Parameters.nominal(SCENE, WORLDS)
    varied = Variation(mass=(0.5, 2.0), friction=(0.5, 1.0), size=(0.9, 1.1), servo_gain=(0.8, 1.2), gravity=(0.9, 1.1))
    present = np.array([[True, True, False], [True, False, True], [True, True, True], [True, False, False]])
    made.reset(layout(present=present, parameters=varied.sample(nominal, np.random.default_rng(0))))
    check_simulation(made, pushing(steps=8))


@pytest.mark.parametrize("control", [JointDelta(), JointAbsolute()])
def test_contract_with_other_controllers(control):
    home = np.zeros((6, WORLDS, 6))
    check_simulation(simulation(control=control), home + np.random.default_rng(0).uniform(-0.2, 0.2, home.shape))


def test_delayed_servo_lags_and_replays():
    scene = build_scene(replace(SCENE.config, servo=replace(SERVOS["firm"], delay=0.02)))
    delayed, prompt = simulation(scene=scene), simulation()
    action = np.zeros((WORLDS, 5))
    action[:, 1] = 1.0
    # A fresh world holds still: the history is filled with the start command, not with zeros.
    still = delayed.save()
    held = delayed.step(np.full((WORLDS, 5), [0, 0, 0, 0, 0.7 / 0.45 - 1]))
    assert np.abs(held.proprioception[:, :5] - np.array(HOME)[:5]).max() < 0.01
    delayed.restore(still)
    start = delayed.observe().proprioception[:, 0]
    late, early = delayed.step(action).proprioception[:, 0], prompt.step(action).proprioception[:, 0]
    assert (np.abs(late - start) < 0.8 * np.abs(early - start)).all()
    check_simulation(delayed, pushing(steps=6))


def test_replay_equals_the_factual_branch(contact):
    made, state, actions, factual = contact
    made.restore(state)
    assert all(same(made.step(action), expected) for action, expected in zip(actions, factual, strict=True))


@pytest.mark.parametrize(("worlds", "threads"), [(1, 1), (3, 2)])
def test_state_continues_in_another_simulation(contact, worlds, threads):
    _, state, actions, factual = contact
    other = Simulation(SCENE, worlds, threads)
    other.restore(SimulationState(np.array(state[2].rows.tolist()), state.scene))
    for action, expected in zip(actions, factual, strict=True):
        seen = other.step(np.repeat(action[2:3], worlds, axis=0))
        for world in range(worlds):
            assert same(seen[world : world + 1], expected[2:3])


def test_state_with_other_physics_continues_in_a_nominal_simulation():
    made, actions = simulation(), pushing()
    for text in ("mass(red_cube, 0.1)", "friction(blue_cube, 0.15)", "size(red_cube, x=0.02)", "remove(green_cube)",
                 "gravity(z=-3)"):  # fmt: skip
        made.do(Intervention.parse(text), [1, 3])
    for action in actions[:8]:
        made.step(action)
    state = made.save()
    factual = [made.step(action) for action in actions[8:]]
    other = Simulation(SCENE, WORLDS, 2)
    other.restore(state)
    assert all(same(other.step(action), expected) for action, expected in zip(actions[8:], factual, strict=True))
    # And back: a world restored to nominal physics is as if it had never been varied.
    fresh = simulation()
    nominal = fresh.save()
    expected = [fresh.step(action) for action in actions]
    other.restore(nominal)
    assert all(same(other.step(action), wanted) for action, wanted in zip(actions, expected, strict=True))


def test_threads_do_not_change_bits():
    one, two = simulation(), Simulation(SCENE, WORLDS, threads=2)
    two.reset(layout())
    assert all(same(one.step(action), two.step(action)) for action in pushing(steps=10))


@pytest.mark.parametrize("text", [
    "move(red_cube, x=+0)", "move(red_cube, yaw=+0)", "gravity(z=-9.81)", "mass(red_cube, 0.025)",
    "friction(red_cube, 0.2)", "size(red_cube, 0.028)",
])  # fmt: skip
def test_edit_that_changes_nothing_keeps_every_bit(contact, text):
    made, state, actions, factual = contact
    made.restore(state)
    made.do(Intervention.parse(text))
    assert np.array_equal(made.save().rows, state.rows)
    assert all(same(made.step(action), expected) for action, expected in zip(actions, factual, strict=True))


def test_removed_object_is_masked_and_the_rest_does_not_notice(contact):
    made, state, actions, factual = contact
    made.restore(state)
    made.do(Intervention.parse("remove(green_cube)"))
    for action, expected in zip(actions, factual, strict=True):
        seen = made.step(action).objects
        assert not seen.present[:, GREEN].any()
        assert not seen.position_in_world[:, GREEN].any()
        others = [k for k in range(len(SCENE.names)) if k != GREEN]
        # Not to the bit: one solver serves all contacts and stops by their common cost.
        assert np.abs(seen.position_in_world - expected.objects.position_in_world)[:, others].max() < 1e-6
    parked = made.data(0).qpos[SCENE.qpos[GREEN] : SCENE.qpos[GREEN] + 3]
    assert np.abs(parked - SCENE.parking_pose[GREEN, :3]).max() < 1e-6


def test_do_acts_on_the_chosen_worlds_alone(contact):
    made, state, actions, factual = contact
    made.restore(state)
    made.do(Intervention.parse("move(green_cube, x=+0.03, yaw=+0.5)"), [1])
    seen = made.step(actions[0])
    shift = seen.objects.position_in_world[1, GREEN] - factual[0].objects.position_in_world[1, GREEN]
    assert shift == pytest.approx((0.03, 0.0, 0.0), abs=1e-4)
    for world in (0, 2, 3):
        assert same(seen[world : world + 1], factual[0][world : world + 1])


def test_some_worlds_are_observed_as_among_all(contact):
    made, state, _, _ = contact
    made.restore(state)
    made.do(Intervention.parse("remove(green_cube)"), [2])
    made.do(Intervention.parse("mass(red_cube, 0.05)"), [0])
    whole = made.observe()
    assert whole.objects.present[:, GREEN].tolist() == [world != 2 for world in range(WORLDS)]
    assert whole.objects.mass[0, SCENE.index("red_cube")] == 0.05
    for ids in ([2, 0], [3]):
        assert same(made.observe(ids), whole[ids])


@pytest.mark.parametrize("absent", [False, True])
def test_a_step_is_its_parts(absent):
    one, other = simulation(), simulation()
    loose = Variation(backlash=(0.01, 0.03)).sample(Parameters.nominal(SCENE, WORLDS), np.random.default_rng(0))
    present = np.ones((WORLDS, 3), bool)
    present[1, 2] = not absent
    for made in (one, other):
        made.reset(layout(parameters=loose, present=present))
    for action in pushing(steps=10):
        whole, parts = one.step(action), [other.observe() for _ in other.parts(action)]
        assert same(whole, parts[-1])
    np.testing.assert_array_equal(one.save().rows, other.save().rows)


def test_edits_world_by_world_are_edits_at_once(contact):
    made, state, actions, _ = contact
    rows = []
    for turns in ([[0, 2]], [[2], [0]]):
        made.restore(state)
        for worlds in turns:
            made.do(Intervention.parse("remove(green_cube)"), worlds)
        made.step(actions[0])
        rows.append(made.save().rows)
    np.testing.assert_array_equal(*rows)


def test_declared_properties_are_shown_and_felt():
    made = simulation()
    made.do(Intervention.parse("mass(red_cube, 0.5)"), [0])
    made.do(Intervention.parse("friction(red_cube, 0.9)"), [1])
    made.do(Intervention.parse("size(green_cube, 0.04)"), [2])
    objects = made.observe().objects
    assert objects.mass[:, RED].tolist() == [0.5, 0.025, 0.025, 0.025]
    assert objects.friction[:, RED].tolist() == [0.2, 0.9, 0.2, 0.2]
    assert np.allclose(objects.half_extents[2, GREEN], 0.02)
    assert np.isclose(objects.position_in_world[2, GREEN, 2], 0.02)
    models = {world: made.model(world).body_inertia[SCENE.body[RED]].copy() for world in (0, 3)}
    assert np.allclose(models[0], 20.0 * models[3])
    green = made.model(2).body_inertia[SCENE.body[GREEN]]
    assert np.allclose(green, 0.025 / 3 * 2 * 0.02**2)
    for _ in range(5):
        seen = made.step(np.zeros((WORLDS, 5)))
    assert np.isclose(seen.objects.position_in_world[2, GREEN, 2], 0.02, atol=1.1e-3)
    # A sliding cube stops after v^2 / (2 mu g), give or take a control step's discretisation.
    made.do(Intervention.parse("velocity(red_cube, x=0.4)"), [1, 3])
    before = made.observe().objects.position_in_world[:, RED, 0]
    for _ in range(6):
        seen = made.step(np.zeros((WORLDS, 5)))
    slid = seen.objects.position_in_world[:, RED, 0] - before
    assert slid[1] == pytest.approx(0.16 / (2 * 0.9 * 9.81), rel=0.35)
    assert slid[3] == pytest.approx(0.16 / (2 * 0.2 * 9.81), rel=0.35)


def test_velocity_and_gravity():
    made = simulation()
    made.do(Intervention.parse("velocity(green_cube, x=0.1, z=0.5, yaw=2)"), [0])
    objects = made.observe().objects
    assert np.allclose(objects.linear_velocity_in_world[0, GREEN], (0.1, 0.0, 0.5))
    assert np.allclose(objects.angular_velocity_in_world[0, GREEN], (0.0, 0.0, 2.0))
    made.do(Intervention.parse("gravity(z=1)"), [1])
    for _ in range(3):
        seen = made.step(np.zeros((WORLDS, 5)))
    assert seen.objects.position_in_world[1, GREEN, 2] == pytest.approx(0.014 + 0.5 * 0.3**2, abs=0.005)
    assert seen.objects.position_in_world[2, GREEN, 2] == pytest.approx(0.014, abs=1e-3)


@pytest.mark.parametrize(("text", "solid"), [
    ("move(green_cube, to, x=0.22, y=0.02)", "red_cube"),
    ("move(green_cube, z=-0.005)", "table"),
    ("move(bin, to, x=0.22, y=0.02)", "red_cube"),
    ("size(red_cube, 0.05)", "blue_cube"),
])  # fmt: skip
def test_overlap_is_refused_by_name_and_depth(text, solid):
    made = simulation()
    before = made.save()
    with pytest.raises(EmbodiedError, match=rf" mm into {solid} \(world 0\)"):
        made.do(Intervention.parse(text))
    assert np.array_equal(made.save().rows, before.rows)


def test_action_interventions_belong_to_the_plan():
    with pytest.raises(EmbodiedError, match="edit_actions"):
        simulation(1).do(Intervention.parse("action(hold)"))


def assert_agrees(model, data, bodies, local, poses, world):
    """Hold row `world` of `poses` to the twin: MuJoCo's own forward pass over `data`."""
    mujoco.mj_forward(model, data)
    positions, quaternions, linears, angulars = poses
    for k, body in enumerate(bodies):
        frame = data.xmat[body].reshape(3, 3)
        position = data.xpos[body] + frame @ local[k, :3]
        velocity = np.zeros(6)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
        linear = velocity[3:] + np.cross(velocity[:3], position - data.xpos[body])
        rotated = np.zeros(4)
        mujoco.mju_mulQuat(rotated, data.xquat[body], local[k, 3:])
        assert np.allclose(positions[world, k], position, atol=1e-12)
        assert np.allclose(linears[world, k], linear, atol=1e-12)
        assert np.allclose(angulars[world, k], velocity[:3], atol=1e-12)
        assert abs(abs(quaternions[world, k] @ rotated) - 1.0) < 1e-12


def test_readout_agrees_with_mj_forward(contact):
    made, state, _, _ = contact
    made.restore(state)
    made.do(Intervention.parse("velocity(green_cube, x=0.1, yaw=3)"))
    seen = made.observe().objects
    poses = (seen.position_in_world, seen.quaternion_in_world, seen.linear_velocity_in_world,
             seen.angular_velocity_in_world)  # fmt: skip
    for world in range(WORLDS):
        assert_agrees(made.model(world), made.data(world), SCENE.body, SCENE.local_pose, poses, world)


def test_readout_of_offset_hinges_and_welded_bodies():
    model = mujoco.MjModel.from_xml_string("""
      <mujoco><compiler angle="radian"/><worldbody>
        <body name="a" pos=".1 .2 .3" quat=".8 .1 .2 .3"><joint axis="1 2 3" pos=".3 -.1 .2" ref=".4"/><geom size=".1"/>
          <body name="b" pos="-.2 .1 .5" quat=".5 .5 -.1 .7"><geom size=".1"/>
            <body name="c" pos=".3 .3 -.1"><joint axis="0 1 1" pos="-.1 .2 .4"/><geom size=".1"/></body></body></body>
        <body name="d" mocap="true" pos="1 2 3" quat=".1 .2 .3 .4"/>
        <body name="e"><freejoint/><geom size=".1"/>
          <body name="f" pos=".1 .2 .3" quat=".8 .1 .2 .3"><geom size=".1"/></body></body>
      </worldbody></mujoco>""")
    data, generator = mujoco.MjData(model), np.random.default_rng(0)
    data.qpos[:], data.qvel[:] = generator.normal(size=model.nq), generator.normal(size=model.nv)
    row = np.zeros(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(model, data, row, mujoco.mjtState.mjSTATE_INTEGRATION)
    bodies, local = np.arange(1, model.nbody), generator.normal(size=(model.nbody - 1, 7))
    local[:, 3:] /= np.linalg.norm(local[:, 3:], axis=1, keepdims=True)
    poses = read_poses(chain_of(model, bodies, local), row[None], np.ones((1, len(bodies)), bool))
    assert_agrees(model, data, bodies, local, poses, 0)


def test_readout_refuses_what_it_cannot_follow():
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body name='b'><joint type='ball'/><geom size='.1'/></body></worldbody></mujoco>"
    )
    with pytest.raises(ValueError, match="hinges and slides, or one free joint"):
        chain_of(model, np.array([1]), np.array([[0, 0, 0, 1, 0, 0, 0.0]]))


def test_bad_actions_are_named():
    made = simulation(3)
    action = np.zeros((3, 5))
    action[1, 2] = np.nan
    with pytest.raises(EmbodiedError, match="world 1 has z = nan"):
        made.step(action)
    with pytest.raises(EmbodiedError, match=r"\(3, 5\)"):
        made.step(np.zeros((2, 5)))
    assert (made.observe().time == 0).all()


def test_reset_begins_anew_in_the_chosen_worlds():
    made, actions = simulation(), pushing()
    untouched = [made.step(action) for action in actions[:6]]
    made.do(Intervention.parse("mass(red_cube, 1)"))
    made.reset(layout(1, seed=np.array([7])), [2])
    objects = made.observe().objects
    assert made.observe().time[2] == 0.0
    assert objects.mass[2, RED] == 0.025
    assert made.observe().time[1] == untouched[-1].time[1]
    fresh = Simulation(SCENE, 1)
    fresh.reset(layout(1, seed=np.array([7])))
    assert np.array_equal(fresh.save().rows, made.save([2]).rows)
    assert all(same(made.step(action)[2:3], fresh.step(action[2:3])) for action in actions)


def test_varied_sizes_rest_where_nominal_ones_would():
    varied = Variation(size=(0.6, 1.6)).sample(Parameters.nominal(SCENE, WORLDS), np.random.default_rng(0))
    made = simulation()
    made.reset(layout(parameters=varied))
    seen = made.observe().objects
    green = seen.position_in_world[:, GREEN, 2]
    assert np.allclose(green, varied.half_extents[:, 2, 2])
    assert np.array_equal(seen.half_extents[:, GREEN], varied.half_extents[:, 2])
    settled = made.step(np.zeros((WORLDS, 5))).objects.position_in_world[:, GREEN, 2]
    assert np.abs(settled - green).max() < 1.1e-3


def test_hidden_variation_is_not_shown():
    varied = Variation(mass=(2.0, 2.0), friction=(0.5, 0.5)).sample(
        Parameters.nominal(SCENE, WORLDS), np.random.default_rng(0)
    )
    made = simulation()
    made.reset(layout(parameters=varied, mass=np.full((WORLDS, 3), 0.03)))
    seen = made.observe().objects
    assert (seen.mass[:, [RED, BLUE, GREEN]] == 0.03).all()
    assert (seen.friction[:, RED] == 0.2).all()
    assert np.allclose(made.parameters.mass, 0.05)
    # What an intervention declares, it also makes true.
    made.do(Intervention.parse("mass(red_cube, 0.1)"), [1])
    assert made.observe().objects.mass[1, RED] == made.parameters.mass[1, 0] == 0.1


def test_no_worlds_is_no_work():
    made = simulation()
    before = made.save()
    made.reset(layout(0), np.zeros(0, np.int64))
    made.restore(made.save([]), [])
    made.do(Intervention.parse("remove(red_cube)"), [])
    made.settle([])
    assert np.array_equal(made.save().rows, before.rows)


def test_settle_keeps_time():
    made = simulation()
    position = layout().object_position.copy()
    position[:, 2, 2] = 0.03
    made.reset(layout(object_position=position))
    made.settle([0, 1], 0.4)
    seen = made.observe()
    assert (seen.time == 0).all()
    assert seen.objects.position_in_world[0, GREEN, 2] == pytest.approx(0.014, abs=1e-3)
    assert seen.objects.position_in_world[2, GREEN, 2] == pytest.approx(0.03)


def test_world_streams_are_saved():
    made = simulation()
    made.reset(layout(seed=np.arange(WORLDS)))
    first = made.generator(1).random()
    state = made.save()
    second = made.generator(1).random()
    made.restore(state)
    assert made.generator(1).random() == second != first


@pytest.mark.parametrize(("ids", "message"), [([0, 0], "distinct"), ([9], "0..3"), ([0.5], "integers")])
def test_bad_worlds_are_refused(ids, message):
    with pytest.raises(EmbodiedError, match=message):
        simulation().save(ids)


def test_bad_states_and_layouts_are_refused():
    made = simulation()
    state = made.save()
    with pytest.raises(EmbodiedError, match="another scene"):
        made.restore(SimulationState(state.rows, "other"))
    with pytest.raises(EmbodiedError, match="state of shape"):
        made.restore(SimulationState(state.rows[:, 1:]))
    with pytest.raises(EmbodiedError, match="joints has shape"):
        made.reset(layout(), [0])
    with pytest.raises(EmbodiedError, match="joints must be finite"):
        made.reset(layout(joints=np.full((WORLDS, 6), np.nan)))
    with pytest.raises(EmbodiedError, match="length zero"):
        made.reset(layout(object_quaternion=np.zeros((WORLDS, 3, 4))))
    crowded = layout().object_position
    crowded[2, 2] = crowded[2, 0] + (0.01, 0.0, 0.0)
    with pytest.raises(EmbodiedError, match=r"In world 2 .* red_cube and green_cube overlap: .* 10 mm apart"):
        made.reset(layout(object_position=crowded))
    made.reset(layout(object_position=crowded, present=np.tile([True, True, False], (WORLDS, 1))))
    with pytest.raises(EmbodiedError, match="at least one"):
        Simulation(SCENE, 0)
    with pytest.raises(EmbodiedError, match="whole number of physics steps"):
        Simulation(SCENE, 1, control=CartesianDelta(rate=7.0))


def test_divergence_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo logs its warning into the working directory
    made = simulation()
    state = made.save()
    state.rows[2, 1] = np.inf
    made.restore(state)
    with pytest.raises(EmbodiedError, match="worlds 2 diverged"):
        made.step(np.zeros((WORLDS, 5)))


def test_absent_rows_read_as_nothing():
    present = np.zeros((1, len(SCENE.names)), bool)
    poses = read_poses(chain_of(SCENE.model, SCENE.body, SCENE.local_pose), simulation(1).save().rows, present)
    assert (poses[1] == (1.0, 0.0, 0.0, 0.0)).all()
    assert not any(poses[i].any() for i in (0, 2, 3))
