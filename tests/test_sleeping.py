"""Objects that sleep while they rest, behind the contract of every engine: who sleeps is never seen in a result.

The tolerances are those of docs/speed.md.
"""

from dataclasses import replace

import numpy as np
import pytest
from contracts import check_simulation, pushing, same
from resuming import assert_equal

from embodied.bench.bare import Bare
from embodied.checkpoint import load, save
from embodied.config import AgentConfig, Config, EnvConfig
from embodied.evaluation import whatif
from embodied.training.collect import task_worlds
from embodied.training.policy import PolicyTrainer
from envs.control import targets
from envs.engine import BATCH, Engine
from envs.experts import expert
from envs.gym import TabletopVectorEnv
from envs.interventions import Intervention
from envs.layout import Layout
from envs.parameters import Parameters
from envs.robot import HOME
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.sleeping import SleepingBatch, wake
from envs.tasks import TASKS
from envs.variation import Variation
from envs.worlds import TaskWorlds

SLEEPING = Engine("sleeping")
SCENE = build_scene(SceneConfig(objects=("red_cube", "green_cube"), goal_entity="bin"))
RED, GREEN, BIN = (SCENE.index(name) for name in ("red_cube", "green_cube", "bin"))
WORLDS = 3
STILL = np.zeros((WORLDS, 5))


def layout(worlds=WORLDS, **changes):
    """The red cube where closed jaws that come down beside it push it, the green one and the bin far away."""
    position = np.zeros((worlds, 2, 3))
    position[:, 0] = (0.22, 0.0, 0.014)
    position[:, 0, 1] = np.linspace(0.02, 0.015, worlds)
    position[:, 1] = (0.30, -0.18, 0.014)
    quaternion = np.zeros((worlds, 2, 4))
    quaternion[..., 0] = 1.0
    goal = np.full((worlds, 3), (0.1, 0.25, 0.022))
    return replace(Layout(np.tile(HOME, (worlds, 1)), position, quaternion, goal_position=goal), **changes)


def simulation(worlds=WORLDS, threads=1, **changes):
    made = Simulation(SCENE, worlds, threads, engine=SLEEPING)
    made.reset(layout(worlds, **changes))
    return made


def asleep(made, k):
    """`[N]` whether an object slept at the end of the last physics step."""
    tree = SCENE.stepped.body_treeid[SCENE.body[k]]
    return made.batch.bind("tree_asleep")[:, tree] >= 0


@pytest.fixture
def resting():
    """A second after a beginning: both cubes sleep, each for itself."""
    made = simulation()
    asleep(made, RED)  # bound before the steps that it is asked about
    for _ in range(10):
        made.step(STILL)
    assert asleep(made, RED).all()
    assert asleep(made, GREEN).all()
    return made


def test_it_keeps_the_contract_of_every_simulation():
    check_simulation(simulation(), pushing(WORLDS, 12))


def test_the_arm_never_sleeps_and_what_it_pushes_wakes(resting):
    start = resting.observe().objects.position_in_world
    for action in pushing(WORLDS, 16):
        seen = resting.step(action)
    pushed, left = (np.linalg.norm((seen.objects.position_in_world - start)[:, k], axis=-1) for k in (RED, GREEN))
    assert (pushed > 0.02).all()
    assert not left.any(), "what sleeps does not move by a bit"
    assert asleep(resting, GREEN).all()
    assert not asleep(resting, RED).any()
    robot = SCENE.stepped.body_treeid[SCENE.stepped.jnt_bodyid[SCENE.stepped.dof_jntid[SCENE.joint_dof]]]
    assert (resting.batch.bind("tree_asleep")[:, robot] < 0).all()


def test_a_saved_world_and_its_copies_have_one_future(resting):
    """The saved one, a copy alone and a copy among others, on any number of threads; some sleep and some are pushed."""
    for action in pushing(WORLDS, 9):
        resting.step(action)
    assert asleep(resting, GREEN).all()
    state = resting.save()
    actions = pushing(WORLDS, 24)[9:]
    factual = [resting.step(action) for action in actions]
    alone, among = Simulation(SCENE, 1, 1, engine=SLEEPING), simulation(threads=2)
    for _ in range(4):
        among.step(STILL)
    alone.restore(state[1])
    among.restore(state)
    resting.restore(state)
    for action, expected in zip(actions, factual, strict=True):
        assert same(alone.step(action[1:2]), expected[1:2])
        assert same(among.step(action), expected)
        assert same(resting.step(action), expected)
    np.testing.assert_array_equal(among.save().rows, resting.save().rows)


def test_steps_taken_back_leave_worlds_that_are_what_their_rows_say(resting):
    before, rows = resting.snapshot(), resting.batch.state.copy()
    for action in pushing(WORLDS, 12)[:2]:
        resting.step(action)
    assert asleep(resting, RED).all()
    resting.undo(before)
    other = simulation()
    other.batch.state[:] = rows
    other.restore(other.save())
    assert all(same(resting.step(action), other.step(action)) for action in pushing(WORLDS, 12))


def test_worlds_that_begin_anew_leave_the_others_asleep(resting):
    resting.reset(layout(1), [1])
    resting.run(resting.joint_target)
    for k in (RED, GREEN):
        assert asleep(resting, k).tolist() == [True, False, True]
    fresh = simulation(1)
    fresh.run(fresh.joint_target)
    np.testing.assert_array_equal(resting.save([1]).rows, fresh.save().rows)


def apart(a, b):
    """How far apart two observations are: joints [rad], positions [m] and quaternions of the cubes."""
    joints = np.abs(a.proprioception - b.proprioception)[:, : len(SCENE.joints)].max()
    names = ("position_in_world", "quaternion_in_world")
    return joints, *(np.abs(getattr(a.objects, n) - getattr(b.objects, n))[:, [RED, GREEN]].max() for n in names)


AT_REST, PUSHED = (1e-9, 1e-5, 1e-6), (3e-6, 2e-5, 1e-3)
"""How far apart the engines may be, see `apart`."""


def assert_agree(a, b, tolerance):
    found = apart(a, b)
    assert (np.array(found) <= tolerance).all(), f"joints, position and turn differ by {found}; {tolerance} is allowed"


def test_cubes_at_rest_and_pushed_agree_with_the_other_engine():
    exact, sleeping = Simulation(SCENE, WORLDS, 1), simulation()
    exact.restore(sleeping.save())
    for _ in range(10):
        a, b = exact.step(STILL), sleeping.step(STILL)
    assert_agree(a, b, AT_REST)
    assert apart(a, b)[1] > 0, "what sleeps is no more stepped"
    start = a.objects.position_in_world
    for action in pushing(WORLDS):
        a, b = exact.step(action), sleeping.step(action)
    assert (np.linalg.norm((a.objects.position_in_world - start)[:, RED], axis=-1) > 0.04).all()
    assert_agree(a, b, PUSHED)


EDITS = ("move(red_cube, x=+0.08, z=+0.05)", "move(red_cube, x=+0.03, yaw=+0.4)", "mass(red_cube, 0.2)",
         "remove(red_cube)", "friction(red_cube, 0.9)", "size(red_cube, 0.04)", "velocity(red_cube, x=0.3)",
         "gravity(x=4.0)", "gravity(z=1.0)", "gain(0.4)")  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_wakes_its_world_alone_and_does_what_it_does_on_the_other_engine(resting, edit):
    exact = Simulation(SCENE, WORLDS, 1)
    exact.batch.state[:] = resting.batch.state
    for one in (resting, exact):
        one.do(Intervention.parse(edit), [1])
        one.run(one.joint_target)
    assert asleep(resting, GREEN).tolist() == [True, False, True]
    for action in pushing(WORLDS, 8):
        seen, expected = resting.step(action), exact.step(action)
    assert_agree(seen, expected, PUSHED)


@pytest.mark.parametrize(("place", "edit"), [
    ((0.22, 0.02, 0.042), "remove(red_cube)"),
    ((0.1, 0.25, 0.02), "remove(bin)"),
    ((0.1, 0.25, 0.02), "move(bin, z=-0.01)"),
])  # fmt: skip
def test_what_it_lies_on_is_taken_away(place, edit):
    position = layout().object_position.copy()
    position[:, 0], position[:, 1] = (0.22, 0.02, 0.014), place
    made = simulation(object_position=position)
    asleep(made, GREEN)
    for _ in range(10):
        before = made.step(STILL)
    assert asleep(made, GREEN).all()
    made.do(Intervention.parse(edit), [1])
    fallen = (made.step(STILL).objects.position_in_world - before.objects.position_in_world)[:, GREEN, 2]
    # A bin that can be put elsewhere is always awake, and wakes what lies in it again and again.
    assert np.abs(fallen[[0, 2]]).max() < 1e-9
    assert fallen[1] < -0.001


def test_what_held_on_a_slope_slides_once_it_is_slippery():
    made = simulation()
    made.do(Intervention.parse("gravity(x=1.3)"))
    for _ in range(10):
        before = made.step(STILL)
    assert asleep(made, RED).all()
    made.do(Intervention.parse("friction(red_cube, 0.05)"), [0])
    slid = (made.step(STILL).objects.position_in_world - before.objects.position_in_world)[:, RED, 0]
    assert slid[0] > 1e-4
    assert not slid[1:].any()


def test_absent_objects_stay_away_and_the_others_sleep():
    made = simulation(present=np.tile([False, True], (WORLDS, 1)))
    asleep(made, GREEN)
    for _ in range(3):
        seen = made.step(STILL)
    assert asleep(made, GREEN).all()
    assert not seen.objects.present[:, RED].any()
    parked = made.data(0).qpos[SCENE.qpos[RED] : SCENE.qpos[RED] + 3]
    assert np.abs(parked - SCENE.parking_pose[RED, :3]).max() < 1e-6


def test_a_batch_that_wakes_keeps_rows_fields_and_warnings():
    nominal, varied = Parameters.nominal(SCENE, WORLDS), Variation.parse("mass=0.5..2, friction=0.5..2")
    made = simulation(parameters=varied.sample(nominal, np.random.default_rng(0)))
    made.batch.warning[1, 0, 1] = 7
    rows, masses = made.batch.state.copy(), made.batch.expand("body_mass").copy()
    wake(made.batch, np.array([2, 1]))
    np.testing.assert_array_equal(made.batch.state, rows)
    np.testing.assert_array_equal(made.batch.expand("body_mass"), masses)
    assert made.batch.warning[:, 0, 1].tolist() == [0, 7, 0]


def trainer():
    config = Config(env=EnvConfig(task="place", engine="sleeping", threads=1, variation=1.5))
    small = AgentConfig(width=16, batch=32, ramp=50, updates_per_step=0.25)
    made = PolicyTrainer(task_worlds(config, 4, 1), small, 0, [], None, capacity=400)
    assert isinstance(made.worlds.simulation.batch, SleepingBatch)
    return made


def test_a_killed_training_goes_on_from_its_checkpoint_bit_for_bit(tmp_path):
    """A checkpoint wakes what sleeps, also in the training that goes on: both have it at the same step."""
    straight, killed = trainer(), trainer()
    for one in (straight, killed):
        one.advance(9)
        save(tmp_path / "checkpoint.safetensors", one.state_dict())
    straight.advance(9)
    killed.advance(4)
    resumed = trainer()
    resumed.load_state_dict(load(tmp_path / "checkpoint.safetensors")[0])
    resumed.advance(9)
    assert_equal(straight.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("name", ["place", "stack", "drawer", "clutter", "sweep"])
def test_experts_succeed_as_on_the_other_engine(name):
    task = TASKS[name]
    law, ended = expert(name), []
    for engine in (BATCH, SLEEPING):
        worlds = TaskWorlds(task, 4, seed=3, threads=1, engine=engine)
        success = np.zeros(4, bool)
        for _ in range(task.horizon):
            success |= worlds.step(law.act(worlds.observation, task.goal)).success
        ended.append(success)
    np.testing.assert_array_equal(ended[1], ended[0])
    assert ended[1].any()


@pytest.mark.parametrize("name", TASKS)
def test_it_steps_the_scene_of_every_task(name):
    worlds = TaskWorlds(TASKS[name], 1, threads=1, engine=SLEEPING)
    trees = worlds.simulation.batch.bind("tree_asleep")
    slept = np.zeros(trees.shape[1], bool)
    for action in np.random.default_rng(0).uniform(-1, 1, (6, 1, worlds.spec.size)):
        assert not worlds.step(action).truncated.any()
        slept |= trees[0] >= 0
    assert slept.any() == (worlds.simulation.scene.stepped.ntree > 1)


def test_what_ifs_are_judged_awake(monkeypatch):
    judges = []

    def asked(simulation, *rest):
        judges.append(simulation.engine)
        raise InterruptedError

    monkeypatch.setattr(whatif, "play_batch", asked)
    with pytest.raises(InterruptedError):
        whatif.held_out(Config(env=EnvConfig(engine="sleeping")), 1)
    assert judges == [BATCH]


def test_bare_sleeping_loops_step_the_same_physics():
    env = TabletopVectorEnv("place", 4, threads=1, engine="sleeping")
    env.reset(seed=0)
    simulation = env.worlds.simulation
    start, before = simulation.save(), simulation.joint_target
    actions = np.random.default_rng(0).uniform(-1, 1, (8, 4, simulation.control.spec.size))
    plan = [before, *np.moveaxis(targets(simulation.control, before, np.moveaxis(actions, 0, 1)), 1, 0)]
    bare = Bare(simulation, start.rows, plan, 1)
    for _ in range(2):
        bare.rewind_batch()
        bare.run_batch()
        bare.rewind_loop()
        bare.run_loop()
        simulation.restore(start)
        for action in actions:
            simulation.step(action)
        bare.check(simulation.save().rows, np.ones(4, bool))
