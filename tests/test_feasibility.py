"""Goals that nothing can meet are told apart, those that hold somewhere never are; unseen compositions are unseen."""

from dataclasses import replace

import numpy as np
import pytest

from embodied.data.arrangements import arrange
from embodied.data.compositions import composition, draw_goals, held_out
from embodied.data.goals import goals_that_hold
from envs.errors import EmbodiedError
from envs.experts import expert
from envs.feasibility import why_impossible
from envs.goals import Goal
from envs.robot import arm_of, joint_range
from envs.tasks import TASKS, task
from envs.worlds import TaskWorlds

IMPOSSIBLE = [
    ("on(red_cube, red_cube)", "nothing is on itself"),
    ("on(red_cube, blue_cube) & on(blue_cube, red_cube)", "would be above itself"),
    ("on(red_cube, blue_cube) & above(green_cube, red_cube) & below(green_cube, blue_cube)", "would be above itself"),
    ("left_of(red_cube, blue_cube) & right_of(red_cube, blue_cube)", "would be beyond itself"),
    ("in(red_cube, blue_cube) & in(blue_cube, red_cube)", "would be inside itself"),
    ("grasped(red_cube) & grasped(blue_cube)", "one hand holds one thing, not blue_cube and red_cube"),
    ("grasped(red_cube) & released(red_cube)", "cannot be grasped and released at once"),
    ("lifted(red_cube, 0.03) & ~lifted(red_cube, 0.03)", "it asks for .* and denies it"),
    (
        "near(red_cube, blue_cube, 0.02) & ~near(blue_cube, red_cube, 0.05)",
        r"\(blue_cube, red_cube\) holds, too",
    ),
    ("lifted(red_cube, 0.05) & ~lifted(red_cube, 0.03)", "which it denies"),
    ("lifted(red_cube, 0.9)", "nothing is lifted by more than 0.3 m"),
    ("at(red_cube, 2, 0, 0.014)", r"\(2, 0\) is more than 0.45 m from the arm"),
    ("at(red_cube, 0.2, 0, -0.4)", "z = -0.4 is under the table"),
    ("at(red_cube, 0.2, 0, 0.8)", "z = 0.8 is higher than the arm gets"),
    ("at(red_cube, 0.2, 0, 0.014) & at(red_cube, 0.3, 0, 0.014)", "red_cube cannot be in two places"),
    ("lifted(red_cube, 0.1) & on(red_cube, table)", "red_cube cannot be lifted and on the table at once"),
    ("on(table, red_cube)", "red_cube is never under the table"),
    ("below(red_cube, table)", "red_cube is never under the table"),
    ("in(table, red_cube)", "the table is not in red_cube"),
]


@pytest.mark.parametrize(("text", "reason"), IMPOSSIBLE)
def test_the_reason_is_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(EmbodiedError, match=rf"^The goal '.*' is impossible: .*{reason}.*\.$"):
        task("place_clutter", goal=text)


def test_how_far_is_too_far_is_the_robot_s_own() -> None:
    far = "at(blue_rod, 0.48, 0, 0.05)"
    assert str(task("handover", goal=far).goal) == str(Goal.parse(far))
    with pytest.raises(EmbodiedError, match="more than an arm's length from either arm"):
        task("handover", goal="at(blue_rod, 1.2, 0, 0.05)")
    task("place", goal="at(red_cube, 0.4, 0, 0.014)")
    x, y, radius = arm_of("koch").reach
    rng, low, high = np.random.default_rng(0), *joint_range("koch").T
    tools = arm_of("koch").forward(rng.uniform(low, high, (4000, 6))).position
    far_off = np.hypot(tools[:, 0] - x, tools[:, 1] - y).max()
    assert 0.7 * radius < far_off < radius
    with pytest.raises(EmbodiedError, match=rf"\(0.5, 0\) is more than {radius:.3g} m from the arm"):
        task("place", goal="at(red_cube, 0.5, 0, 0.014)", robot="koch")


def test_what_nothing_moves_is_not_lifted() -> None:
    with pytest.raises(EmbodiedError, match="nothing moves target"):
        task("place", goal="lifted(target, 0.05)")


@pytest.mark.parametrize(
    "text",
    [
        "left_of(red_cube, blue_cube) & left_of(blue_cube, red_cube, frame=blue_cube)",
        "on(red_cube, blue_cube) & on(blue_cube, table) & ~on(blue_cube, red_cube)",
        "near(red_cube, blue_cube, 0.1) & ~near(red_cube, blue_cube, 0.05)",
        "lifted(red_cube, 0.03) & ~lifted(red_cube, 0.05)",
        "grasped(red_cube) & released(blue_cube)",
        "at(red_cube, 0.2, 0, 0.014) & at(red_cube, 0.21, 0, 0.014)",
        "at(red_cube, 0.2, 0, 0.014) & at(red_cube, 0.05, 0, 0.014, frame=blue_cube)",
        "lifted(red_cube, 0.004) & on(red_cube, table)",
        "below(table, red_cube)",
    ],
)
def test_what_only_looks_alike_is_possible(text: str) -> None:
    assert why_impossible(Goal.parse(text)) is None


def test_goals_of_all_tasks_are_possible() -> None:
    for one in TASKS.values():
        assert why_impossible(one.goal) is None


@pytest.mark.parametrize("name", ["stack", "place_bin"])
def test_what_holds_somewhere_is_never_called_impossible(name: str) -> None:
    worlds, law = TaskWorlds(TASKS[name], 12, seed=5, threads=1), expert(name)
    for step in range(36):
        worlds.step(law.act(worlds.observation, worlds.task.goal))
        if step % 6 == 5:
            goals, _ = goals_that_hold(np.random.default_rng(step), worlds.observation.objects, 3)
            assert len(goals) > 6
            assert [why_impossible(goal) for goal in goals] == [None] * len(goals)


def test_unseen_compositions_hold_and_are_never_among_the_seen() -> None:
    rng, state = np.random.default_rng(0), arrange(np.random.default_rng(1), 64, 4)
    sets = {}
    for unseen in (True, False):
        goals, worlds = draw_goals(rng, state, 2, unseen)
        assert len(goals) > 20
        for goal, world in zip(goals, worlds, strict=True):
            assert goal.satisfied(state[int(world)])
            assert held_out(goal, state) == unseen
        sets[unseen] = {composition(goal, state) for goal in goals}
    assert not sets[True] & sets[False]
    single, _ = goals_that_hold(rng, state, 1)
    assert not any(held_out(goal, state) for goal in single)


def test_a_composition_knows_neither_names_nor_numbers_nor_order() -> None:
    state = arrange(np.random.default_rng(1), 1, 3)
    one = Goal.parse("on(box_0, bin) & near(box_1, box_0, 0.1)")
    same = Goal.parse("near(box_0, box_2, 0.05) & on(box_2, bin)")
    apart = Goal.parse("on(box_0, bin) & near(box_1, box_2, 0.1)")
    assert composition(one, state) == composition(same, state)
    assert composition(one, state) != composition(apart, state)
    denied = Goal((one.literals[0], replace(one.literals[1], negated=True)))
    assert composition(one, state) != composition(denied, state)
