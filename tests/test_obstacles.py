"""Obstacles and distractors as options of tasks: placed clear of all else, seen, moved, and climbed over."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import envs.experts
from embodied.bench.experts import succeeded
from embodied.config import Config, EnvConfig
from embodied.data.rerun import scene_of
from embodied.training.collect import chosen_task
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.experts import PickAndPlace
from envs.fixtures import BIN_HALF_EXTENTS, DOOR_KNOB, DRAWER_KNOB, FIXTURES, OBSTACLES
from envs.geometry import quat_from_yaw, quat_rotate
from envs.interventions import Intervention
from envs.layout import Layout
from envs.objects import COMPOUNDS, object_type
from envs.robot import HOME
from envs.scene import build_scene
from envs.simulation import Simulation
from envs.task import JAWS
from envs.tasks import TASKS, task, task_among
from envs.types import Array, Kind
from envs.worlds import TaskWorlds

STANDING = ("wall", "post")
MORE = ("yellow_ball", "green_l", "white_mug")


def streams(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def test_everything_begins_clear_of_everything() -> None:
    crowded = task("place", distractors=MORE, obstacles=STANDING)
    layout = crowded.layout(streams(100))
    assert layout.goal_position is not None
    assert layout.fixture_position is not None
    names = ["target", *crowded.scene.fixtures, *crowded.scene.objects]
    where = np.concatenate([layout.goal_position[:, None], layout.fixture_position, layout.object_position], axis=1)
    apart = np.linalg.norm(where[:, :, None, :2] - where[:, None, :, :2], axis=-1)
    for name in (*STANDING, *(each for each in MORE if each in COMPOUNDS)):
        own = names.index(name)
        others = np.delete(apart[:, own], own, axis=1)
        # The corners of a square are what turns furthest out.
        assert others.min() > JAWS + 0.010, name


def test_a_beginning_depends_on_its_own_seed_where_others_are_drawn_anew() -> None:
    """Of a hundred worlds that are so full, some find no room at first."""
    crowded = task("place", distractors=MORE, obstacles=STANDING)
    together = crowded.layout(streams(100))
    for seed in (3, 50, 99):
        alone = crowded.layout([np.random.default_rng(seed)])
        np.testing.assert_array_equal(alone.object_position[0], together.object_position[seed])
        np.testing.assert_array_equal(alone.joints[0], together.joints[seed])
        assert alone.seed is not None
        assert together.seed is not None
        assert alone.seed[0] == together.seed[seed]


def test_eight_objects_find_room() -> None:
    cubes = tuple(f"{colour}_cube" for colour in ("blue", "green", "yellow", "purple", "orange"))
    full = task("place", distractors=(*cubes, "white_cylinder", "brown_cylinder"))
    assert len(full.scene.objects) == 8
    assert full.layout(streams(50)).object_position.shape == (50, 8, 3)


def walled() -> TaskWorlds:
    """A cube on one side of a wall, its target on the other."""
    chosen = task("place", obstacles=("wall",))
    worlds = TaskWorlds(chosen, 1, threads=1)
    layout = replace(
        chosen.layout([np.random.default_rng(5)]),
        object_position=np.array([[[0.23, -0.085, 0.014]]]),
        object_quaternion=quat_from_yaw(np.array([[0.0]])),
        goal_position=np.array([[0.23, 0.085, 0.014]]),
        fixture_position=np.array([[[0.23, 0.0, 0.025]]]),
        fixture_quaternion=quat_from_yaw(np.array([[0.5 * np.pi]])),
    )
    worlds.simulation.reset(layout)
    return worlds


def carried_over(worlds: TaskWorlds) -> tuple[bool, Array]:
    """Whether the cube got there, and the least height of the tool above the wall."""
    law, seen, heights = PickAndPlace(), worlds.simulation.observe(), []
    for _ in range(50):
        seen = worlds.simulation.step(law.act(seen, worlds.task.goal))
        tool = seen.objects.position_in_world[0, seen.objects.index("gripper")]
        if abs(tool[1]) < 0.03:
            heights.append(tool[2])
    return bool(worlds.task.goal.satisfied(seen.objects)[0]), np.array(heights)


def test_the_demonstrator_climbs_over_a_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    done, heights = carried_over(walled())
    assert done
    assert heights.min() > 0.075
    monkeypatch.setattr(envs.experts, "over_obstacles", lambda seen, action, to, control: action)
    assert carried_over(walled())[1].min() < 0.075


def test_obstacles_are_moved_and_removed_by_hand_alone() -> None:
    worlds = TaskWorlds(task("place", obstacles=("post",)), 2, threads=1)
    simulation, k = worlds.simulation, worlds.simulation.scene.index("post")
    assert int(simulation.scene.kind[k]) == Kind.OBSTACLE
    before = simulation.observe().objects.position_in_world[:, k]
    simulation.do(Intervention.parse("move(post, z=+0.05)"))
    np.testing.assert_allclose(simulation.observe().objects.position_in_world[:, k] - before, [[0, 0, 0.05]] * 2)
    simulation.do(Intervention.parse("remove(post)"), np.array([1]))
    assert simulation.observe().objects.present[:, k].tolist() == [True, False]
    with pytest.raises(EmbodiedError, match="'mass' cannot act on 'post'"):
        simulation.do(Intervention.parse("mass(post, 1)"))


def test_an_object_in_an_obstacle_is_refused() -> None:
    chosen = task("place", obstacles=("post",))
    worlds, layout = TaskWorlds(chosen, 1, threads=1), chosen.layout(streams(1))
    assert layout.fixture_position is not None
    inside = replace(layout, object_position=layout.fixture_position * (1.0, 1.0, 0.5))
    with pytest.raises(EmbodiedError, match="In world 0 of the layout, red_cube and post overlap by 24 mm"):
        worlds.simulation.reset(inside)
    worlds.simulation.reset(replace(inside, present=np.array([[False]])))


@pytest.mark.parametrize(
    ("name", "objects", "where", "told"),
    [
        # Bars side by side along their lengths, of which one is moved by a centimetre; a cube in a bin's wall.
        (
            "place",
            ("green_bar", "blue_rod"),
            [(0.25, 0.0, 0.010), (0.25, 0.010, 0.010)],
            "green_bar and blue_rod overlap",
        ),
        ("place_bin", ("red_cube",), [(0.053, 0.0, 0.014)], "red_cube and bin overlap"),
        ("drawer", ("red_cube",), [(0.038, 0.02, 0.03)], "red_cube and cabinet overlap"),
        ("insert", ("red_peg",), [(0.020, 0.0, 0.03)], "red_peg and socket overlap"),
    ],
)
def test_what_is_long_or_hollow_is_judged_as_it_is(name: str, objects: tuple[str, ...], where, told: str) -> None:
    chosen = TASKS[name]
    chosen = replace(chosen, scene=replace(chosen.scene, objects=objects), subject=objects[0] if name == "place" else
                     chosen.subject)  # fmt: skip
    simulation = Simulation(build_scene(chosen.scene), 1, 1)
    turned = np.tile((1.0, 0.0, 0.0, 0.0), (1, len(objects), 1))
    base, upright = np.array([[0.25, 0.0, 0.0]]), np.array([[1.0, 0.0, 0.0, 0.0]])
    layout = Layout(np.array([HOME]), np.array([where], float), turned)
    if name != "place":
        layout = replace(layout, object_position=layout.object_position + base)
    if chosen.goal_entity is not None:
        height = BIN_HALF_EXTENTS[2] if name == "place_bin" else 0.014
        layout = replace(layout, goal_position=base + np.array([0.0, 0.0, height]), goal_quaternion=upright)
    if chosen.scene.fixtures:
        height = FIXTURES[chosen.scene.fixtures[0]].height
        layout = replace(
            layout, fixture_position=(base + np.array([0.0, 0.0, height]))[:, None], fixture_quaternion=upright[:, None]
        )
    with pytest.raises(EmbodiedError, match=f"In world 0 of the layout, {told} by"):
        simulation.reset(layout)
    apart = layout.object_position + (np.arange(len(objects))[:, None] - 2) * np.array([0.0, 0.12, 0.0])
    simulation.reset(replace(layout, object_position=apart))


def test_an_object_in_the_table_and_a_joint_past_its_end_are_refused() -> None:
    chosen = task("place")
    worlds, layout = TaskWorlds(chosen, 1, threads=1), chosen.layout(streams(1))
    for depth in (0.010, 0.030):
        sunk = replace(layout, object_position=layout.object_position - np.array([0.0, 0.0, depth]))
        with pytest.raises(EmbodiedError, match="In world 0 of the layout, red_cube is in the table"):
            worlds.simulation.reset(sunk)
    # What an estimate is off by, and what has fallen to the floor.
    for depth in (0.004, 0.500):
        worlds.simulation.reset(replace(layout, object_position=layout.object_position - np.array([0.0, 0.0, depth])))
    with pytest.raises(EmbodiedError, match=r"world 0 of the layout, elbow_flex is at 3; it goes from -1\.69 to 1\.69"):
        worlds.simulation.reset(replace(layout, joints=np.array([[0.0, 0.0, 3.0, 0.0, 0.0, 0.0]])))


def test_what_is_no_action_seed_or_option_is_told() -> None:
    worlds = TaskWorlds(TASKS["reach"], 1, threads=1)
    with pytest.raises(EmbodiedError, match="An action 'x' was given; actions are arrays of numbers"):
        worlds.step("x")
    with pytest.raises(EmbodiedError, match=r"Seeds \[-1\] were given; they must not be negative"):
        worlds.reset(seeds=[-1])
    with pytest.raises(EmbodiedError, match="A rate of 0 Hz was given; control needs a positive one"):
        gym.make("envs:SO101Reach-v0", rate=0)
    env = gym.make("envs:SO101Reach-v0", disable_env_checker=True)
    with pytest.raises(EmbodiedError, match=r"Unknown reset option 'variatoin'\. Did you mean 'variation'"):
        env.reset(options={"variatoin": {}})
    with pytest.raises(EmbodiedError, match="allows no distance at all"):
        task("place", goal="near(red_cube, target, 0)")


def test_gymnasium_takes_them() -> None:
    env = gym.make("envs:SO101Place-v0", obstacles=("wall",), distractors=("blue_t",), disable_env_checker=True)
    plain = gym.make("envs:SO101Place-v0", disable_env_checker=True)
    assert env.reset(seed=0)[0]["observation"].shape > plain.reset(seed=0)[0]["observation"].shape
    koch = gym.make("envs:SO101Place-v0", robot="koch", disable_env_checker=True)
    assert koch.action_space.shape == (5,)


def test_settings_and_stored_episodes_say_what_was_on_the_table() -> None:
    env = EnvConfig(obstacles=("wall",), distractors=("blue_t",))
    chosen = chosen_task(replace(Config(), env=env))
    assert chosen.scene.fixtures == ("wall",)
    assert chosen.others == ("blue_t", "wall")
    worlds = TaskWorlds(chosen, 1, threads=1)
    seen = worlds.observation[0]
    episode = Episode(seen, np.zeros((0, 5)), np.zeros(1, bool), chosen.goal, 0, "place", "so101")
    assert scene_of(episode).names == seen.objects.names
    assert task_among("place", TASKS["place"].entities) == TASKS["place"]


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(EmbodiedError, match=r"Unknown obstacle 'wal'\. Did you mean 'wall'\?"):
        task("place", obstacles=("wal",))
    with pytest.raises(EmbodiedError, match=r"takes no obstacles, as what is swept cannot climb; 'post' was given"):
        task("sweep", obstacles=("post",))
    with pytest.raises(EmbodiedError, match="Unknown object 'green_x'"):
        task("place", distractors=("green_x",))
    with pytest.raises(EmbodiedError, match="each may appear once"):
        task("place", distractors=("red_cube",))
    with pytest.raises(EmbodiedError, match=r"9 objects were asked for.*; 8 are allowed"):
        task("sort", distractors=tuple(COMPOUNDS))
    with pytest.raises(EmbodiedError, match=r"found no room for .* use fewer objects and obstacles"):
        replace(
            task("place", distractors=tuple(COMPOUNDS), obstacles=OBSTACLES), area=((0.2, 0.25), (0.0, 0.1))
        ).layout(streams(1))
    assert object_type("green_l").solids != ()


@pytest.mark.parametrize("name", ["drawer", "door"])
def test_no_obstacle_stands_where_a_knob_is_led(name: str) -> None:
    chosen = task(name, obstacles=STANDING)
    base = chosen.scene.fixtures[0]
    knob = {"drawer": DRAWER_KNOB, "door": DOOR_KNOB}[name]
    layout = chosen.layout(streams(60))
    worlds = TaskWorlds(chosen, 60, threads=1)
    worlds.simulation.reset(layout)
    simulation, scene = worlds.simulation, worlds.simulation.scene
    part, posts = scene.index(name), [scene.index(each) for each in STANDING]
    travel = FIXTURES[base].parts[1].joint.travel
    address = simulation.batch.bind("qpos")
    for share in (0.0, 0.5, 1.0):
        address[:, scene.slide[part]] = share * travel
        seen = simulation.observe().objects
        held = seen.position_in_world[:, part] + quat_rotate(
            seen.quaternion_in_world[:, part], np.broadcast_to(np.array(knob), (60, 3))
        )
        for post in posts:
            apart = np.linalg.norm((seen.position_in_world[:, post] - held)[:, :2], axis=-1)
            assert apart.min() > JAWS + 0.009
    assert succeeded(chosen, np.arange(12)).all()
