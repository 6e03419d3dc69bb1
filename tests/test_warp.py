"""MuJoCo Warp behind the same contract, on its CPU device: it keeps every promise, and agrees with MuJoCo's own batch.

All worlds are of one model, for which Warp compiles its kernels once per machine: a minute of CPU time, then a few
seconds. The tolerances are those of docs/speed.md.
"""

from dataclasses import replace

import numpy as np
import pytest
from contracts import check_simulation, pushing, same

pytest.importorskip("mujoco_warp", reason="MuJoCo Warp is an extra: pip install 'embodied-whatif[warp]'")

from embodied.bench import on_warp
from envs import warp
from envs.engine import Engine
from envs.errors import DivergedError, EmbodiedError
from envs.experts import expert
from envs.interventions import Intervention
from envs.layout import Layout
from envs.parameters import Parameters
from envs.robot import HOME
from envs.scene import build_scene
from envs.servo import SERVOS
from envs.simulation import Simulation
from envs.tasks import TASKS
from envs.variation import FACTORS, Variation, coordinates, count, physics
from envs.worlds import TaskWorlds

TASK = TASKS["lift"]
# Servos that can be given a delay, as the tasks' own are where that is varied.
SCENE = build_scene(replace(TASK.scene, servo=replace(SERVOS["firm"], memory=0.02)))
CUBE = SCENE.index("red_cube")
SPIN = slice(int(SCENE.dof[CUBE]), int(SCENE.dof[CUBE]) + 6)
WORLDS = 2
WARP = Engine("warp", "cpu")


def layout(height=0.014, worlds=WORLDS):
    """The cube where closed jaws that come down beside it push it, and within reach of the open hand."""
    position = np.tile((0.22, 0.0, height), (worlds, 1, 1))
    position[:, 0, 1] = np.linspace(0.02, 0.015, worlds)
    quaternion = np.tile((1.0, 0.0, 0.0, 0.0), (worlds, 1, 1))
    return Layout(np.tile(HOME, (worlds, 1)), position, quaternion)


FALLING, HELD = (3e-6, 2e-6, 5e-5), (3e-6, 2e-6, 1e-5)
PUSHED = (3e-6, 2e-5, 1e-3)
"""How far apart the engines may be: joints [rad], the cube's position [m] and quaternion."""


def apart(a, b):
    """How far apart two observations are, largest differences in the order of the tolerances."""
    joints = np.abs(a.proprioception - b.proprioception)[:, : len(SCENE.joints)].max()
    names = ("position_in_world", "quaternion_in_world")
    position, turn = (np.abs(getattr(a.objects, n) - getattr(b.objects, n))[:, CUBE].max() for n in names)
    return np.array([joints, position, turn])


def assert_agree(a, b, tolerance):
    found = apart(a, b)
    assert (found <= tolerance).all(), f"joints, position and turn differ by {found}; {tolerance} is allowed"


@pytest.fixture(scope="module")
def engines():
    """MuJoCo's batch and MuJoCo Warp; `begin` gives them the same start."""
    return Simulation(SCENE, WORLDS, 1), Simulation(SCENE, WORLDS, 1, engine=WARP)


@pytest.fixture
def pair(engines):
    """Both at the start of a push."""
    return begin(*engines, layout())


def begin(exact, on_warp, where):
    exact.reset(where)
    on_warp.restore(exact.save())
    return exact, on_warp


@pytest.fixture
def mid_push(pair):
    """Both amid a push, from MuJoCo's snapshot."""
    exact, on_warp = pair
    for action in pushing(WORLDS, 10):
        exact.step(action)
    on_warp.restore(exact.save())
    return exact, on_warp


def test_it_keeps_the_contract_of_every_simulation(pair):
    check_simulation(pair[1], pushing(WORLDS, 12))


def test_a_cube_in_free_fall_agrees(engines):
    exact, on_warp = begin(*engines, layout(0.12))
    exact.batch.bind("qvel")[:, SPIN] = 0.1, -0.05, 0.0, 2.0, -1.0, 3.0
    on_warp.restore(exact.save())
    for one in (exact, on_warp):
        one.run(one.joint_target, 25)
    a, b = exact.observe(), on_warp.observe()
    assert a.objects.position_in_world[0, CUBE, 2] < 0.045, "it must have fallen, and not yet landed"
    assert_agree(a, b, FALLING)
    np.testing.assert_allclose(b.time, a.time, rtol=0, atol=1e-12)


def test_a_pushed_cube_agrees(pair):
    exact, on_warp = pair
    start = exact.observe().objects.position_in_world[:, CUBE]
    for action in pushing(WORLDS):
        a, b = exact.step(action), on_warp.step(action)
    way = np.linalg.norm(a.objects.position_in_world[:, CUBE] - start, axis=-1)
    assert (way > 0.04).all(), "it must have been pushed"
    assert_agree(a, b, PUSHED)


def test_a_control_step_is_made_in_single_precision_by_warp(pair):
    for action in pushing(WORLDS, 2):
        for one in pair:
            one.step(action)
    exact, on_warp = (one.batch.bind("qpos") for one in pair)
    assert np.array_equal(on_warp, on_warp.astype(np.float32))
    assert not np.array_equal(exact, exact.astype(np.float32))


def test_a_grasped_cube_agrees_and_its_own_expert_lifts_it(engines):
    exact, on_warp = begin(*engines, layout())
    law, seen = expert("lift"), exact.observe()
    for _ in range(26):
        seen = exact.step(law.act(seen, TASK.goal))
    assert TASK.goal.satisfied(seen.objects).all()
    on_warp.restore(exact.save())
    for _ in range(10):
        action = law.act(seen, TASK.goal)
        seen, other = exact.step(action), on_warp.step(action)
    assert_agree(seen, other, HELD)
    on_warp.reset(layout())
    seen = on_warp.observe()
    for _ in range(30):
        seen = on_warp.step(law.act(seen, TASK.goal))
    assert TASK.goal.satisfied(seen.objects).all()


PHYSICAL = [name for name, factor in FACTORS.items() if factor.group == "physical" and name != "centre_of_mass"]
"""Those that can be varied with an arm."""


@pytest.mark.parametrize("name", PHYSICAL)
def test_worlds_differ_in_every_factor_as_they_do_in_mujoco(mid_push, name):
    exact, on_warp = mid_push
    nominal, many = Parameters.nominal(SCENE, WORLDS), count(SCENE)
    share = np.random.default_rng(5).random((WORLDS, coordinates(many)))
    # The scene's servos remember 0.02 s.
    wide = Variation(servo_delay=(0.01, 0.02)) if name == "servo_delay" else Variation.wide(name)
    drawn = physics(nominal, wide.draw(many, share))
    start, actions = exact.save(), pushing(WORLDS, 14)[10:]
    for action in actions:
        unvaried = exact.step(action)
    exact.restore(start)
    for one in (exact, on_warp):
        one.fields.write(np.arange(WORLDS), drawn)
        for action in actions:
            one.step(action)
    a, b = exact.observe(), on_warp.observe()
    assert_agree(a, b, PUSHED)
    assert (apart(a, unvaried) > 5 * np.array(PUSHED)).any(), f"{name} must change more than is allowed"


EDITS = ("move(red_cube, y=+0.03, yaw=+0.4)", "remove(red_cube)", "mass(red_cube, 0.2)", "friction(red_cube, 0.9)",
         "size(red_cube, 0.02)", "velocity(red_cube, x=0.3)", "gravity(z=-3.0)", "gain(0.4)")  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_snapshots_are_edited_as_in_mujoco(mid_push, edit):
    exact, on_warp = mid_push
    for one in (exact, on_warp):
        one.do(Intervention.parse(edit), [1])
    np.testing.assert_array_equal(on_warp.save().rows, exact.save().rows)
    for action in pushing(WORLDS, 14)[10:]:
        a, b = exact.step(action), on_warp.step(action)
    assert_agree(a, b, PUSHED)


def test_an_edited_world_goes_on_alone_and_is_restored_to_the_bit(mid_push):
    _, on_warp = mid_push
    start, actions = on_warp.save(), pushing(WORLDS, 13)[10:]
    first = [on_warp.step(action) for action in actions]
    on_warp.restore(start)
    on_warp.do(Intervention.parse("mass(red_cube, 0.3)"), [1])
    edited = [on_warp.step(action) for action in actions]
    assert all(same(a[0], b[0]) for a, b in zip(first, edited, strict=True))
    assert not same(first[-1][1], edited[-1][1])
    on_warp.restore(start)
    assert all(same(on_warp.step(action), expected) for action, expected in zip(actions, first, strict=True))


def test_only_the_worlds_that_are_asked_for_go_on(mid_push):
    _, on_warp = mid_push
    before = on_warp.save()
    on_warp.settle([1], 0.05)
    after = on_warp.save()
    np.testing.assert_array_equal(after.rows[0], before.rows[0])
    assert not np.array_equal(after.rows[1], before.rows[1])


def test_a_snapshot_continues_among_fewer_worlds(mid_push):
    _, on_warp = mid_push
    start, action = on_warp.save(), pushing(WORLDS, 11)[10]
    expected = on_warp.step(action)
    alone = Simulation(SCENE, 1, 1, engine=WARP)
    alone.restore(start[1])
    assert same(alone.step(action[1:])[0], expected[1])


def test_room_for_contacts_and_their_rows_grows(mid_push, monkeypatch):
    """A step in which contacts had no room is done again with more, from the same rows."""
    _, on_warp = mid_push
    start, action = on_warp.save(), pushing(WORLDS, 11)[10]
    expected = on_warp.step(action)
    enough = on_warp.batch._constraints
    monkeypatch.setattr(warp, "_room", lambda model: (1, enough // 8))
    narrow = Simulation(SCENE, WORLDS, 1, engine=WARP)
    narrow.restore(start)
    assert same(narrow.step(action), expected)
    assert narrow.batch._contacts > 1
    assert narrow.batch._constraints > enough // 8


def test_a_world_that_diverges_is_named_and_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    task = replace(TASK, scene=SCENE.config)
    worlds = TaskWorlds(task, WORLDS, seed=4, threads=1, engine=WARP)
    worlds.simulation.batch.bind("qvel")[1, SPIN] = 1e30
    with pytest.raises(DivergedError, match="worlds 1 diverged"):
        worlds.simulation.step(np.zeros((WORLDS, 5)))
    worlds.reset()
    worlds.simulation.batch.bind("qvel")[1, SPIN] = 1e30
    with pytest.warns(RuntimeWarning, match="world 1 of task 'lift' diverged"):
        transition = worlds.step(np.zeros((WORLDS, 5)))
    assert transition.truncated.tolist() == [False, True]
    assert np.isfinite(transition.next_observation.objects.position_in_world).all()


@pytest.mark.parametrize(("ask", "said"), [
    (lambda one: one.batch.bind("actuator_force"), "does not hand out actuator_force"),
    (lambda one: one.batch.expand("geom_contype"), "cannot give each world a geom_contype of its own"),
    (lambda one: Simulation(SCENE, 1, engine=Engine("warp", "cuda")), "finds no GPU"),
])  # fmt: skip
def test_what_it_cannot_do_is_refused_by_name(engines, monkeypatch, ask, said):
    monkeypatch.setattr("warp.is_cuda_available", lambda: False)
    with pytest.raises(EmbodiedError, match=said):
        ask(engines[1])


@pytest.mark.parametrize("name", TASKS)
def test_it_takes_the_scene_of_every_task(name):
    scene = build_scene(TASKS[name].scene)
    held = warp.WarpBatch(scene.model, 1, 1, "cpu")
    assert held.expand("geom_size").shape == (1, scene.model.ngeom, 3)


def test_the_bench_sets_it_beside_mujoco():
    figures = on_warp.summarise([on_warp.measure(0, True)])
    assert set(figures) == {"warp_cpu_env_steps_per_s_of_2_worlds", "warp_cpu_ratio_to_batch_of_2_worlds"}
    assert all(each["value"] > 0 for each in figures.values())


def test_a_scene_that_it_cannot_step_is_refused():
    model = build_scene(TASK.scene).model
    model.opt.noslip_iterations = 3
    with pytest.raises(EmbodiedError, match="MuJoCo Warp cannot step this scene: noslip"):
        warp.WarpBatch(model, 1, 1, "cpu")
