"""Where our words mean something else than those of LIBERO, robosuite and ManiSkill, case by case.

The suites' success tests are written here from their sources, over our states and with our cubes' sizes; a contact is a
gap of at most nothing, as their engines report it.
"""

import numpy as np
import pytest
from tabletop import NAMES, held, tabletop

from envs.goals import Goal
from envs.predicates import View

STACK = "on(red_cube, blue_cube) & released(red_cube) & static(red_cube)"
A, B, BIN = (NAMES.index(name) for name in ("red_cube", "blue_cube", "bin"))
ON, AWAY = (0.25, 0, 0.042), (0.5, 0.3, 0.1)
OPEN = {"fixed_jaw": AWAY, "moving_jaw": AWAY, "gripper": AWAY, "blue_cube": (0.25, 0, 0.014)}


def contact(state, a, b):
    return bool(View(state).gaps((a,), b)[0] <= 1e-9)


def offset(state):
    return state.position_in_world[A] - state.position_in_world[B]


def grasped(state):
    return contact(state, "fixed_jaw", "red_cube") and contact(state, "moving_jaw", "red_cube")


def libero_on(state):
    x, y, z = offset(state)
    return bool(z >= 0 and np.hypot(x, y) < 0.03 and contact(state, "red_cube", "blue_cube"))


def libero_in(state):
    inside = np.abs(state.position_in_world[A] - state.position_in_world[BIN]) < state.half_extents[BIN]
    # Their contact is with any part of the container; the floor is what a cube in the middle can touch.
    bottom = state.position_in_world[A, 2] - state.half_extents[A, 2]
    return bool(inside.all() and bottom <= 0.004 + 1e-9)


def robosuite_stack(state):
    lifted = state.position_in_world[A, 2] > 2 * state.half_extents[A, 2]
    return bool(contact(state, "red_cube", "blue_cube") and lifted and not grasped(state))


def maniskill_stack(state):
    x, y, z = offset(state)
    half = state.half_extents[A]
    on = np.hypot(x, y) <= np.linalg.norm(half[:2]) + 0.005 and abs(z - 2 * half[2]) <= 0.005
    still = np.linalg.norm(state.linear_velocity_in_world[A]) <= 1e-2
    return bool(on and still and not grasped(state))


def moving(state, speed):
    state.linear_velocity_in_world[A] = speed
    return state


def wide(state):
    state.half_extents[B, :2] = 0.06
    return state


# What each calls success: LIBERO, robosuite, ManiSkill, ours.
CASES = {
    "stacked, released, at rest": (tabletop(**OPEN, red_cube=ON), True, True, True, True),
    "apart": (tabletop(**OPEN, red_cube=(0.2, 0, 0.014)), False, False, False, False),
    "side by side": (tabletop(**OPEN, red_cube=(0.278, 0, 0.014)), True, False, False, False),
    "leaning, its centre beyond the edge": (tabletop(**OPEN, red_cube=(0.277, 0, 0.042)), True, True, False, False),
    "overhanging by 4 mm": (tabletop(**OPEN, red_cube=(0.268, 0, 0.042)), True, True, True, False),
    "hovering 4 mm over it": (tabletop(**OPEN, red_cube=(0.25, 0, 0.046)), False, False, True, True),
    "at the rim of a wide board": (wide(tabletop(**OPEN, red_cube=(0.3, 0, 0.042))), False, True, False, True),
    "sliding at 30 mm/s": (moving(tabletop(**OPEN, red_cube=ON), (0.03, 0, 0)), True, True, False, False),
    "held in place": (held(0.042, blue_cube=(0.2, 0, 0.014)), True, False, False, False),
    "touched by one jaw": (
        tabletop(**(OPEN | {"fixed_jaw": (0.234, 0, 0.042)}), red_cube=ON), True, True, True, False),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_stacking(case):
    state, *expected = CASES[case]
    ours = bool(Goal.parse(STACK).satisfied(state))
    assert [libero_on(state), robosuite_stack(state), maniskill_stack(state), ours] == expected


@pytest.mark.parametrize(
    ("place", "theirs", "ours"),
    [((0.22, 0.2, 0.018), True, True), ((0.22, 0.2, 0.03), False, True), ((0.22, 0.2, 0.06), False, False)],
    ids=["lying in the bin", "held in the bin", "over the bin"],
)
def test_inside(place, theirs, ours):
    state = tabletop(red_cube=place)
    assert libero_in(state) is theirs
    assert bool(Goal.parse("in(red_cube, bin)").satisfied(state)) is ours
