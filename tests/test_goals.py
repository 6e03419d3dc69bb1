"""Goals: their text, their margins on cases worked out by hand, and one meaning on every back end."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tabletop import NAMES, held, random_tabletop, tabletop

from envs import predicates, scene
from envs.errors import EmbodiedError
from envs.geometry import quat_from_yaw
from envs.goals import ABSENT_MARGIN, Goal, Literal
from envs.predicates import PREDICATES
from envs.robot import ROBOTS

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "goals.md"
FLIPPED = (0.5**0.5, 0.5**0.5, 0.0, 0.0)
numbers = st.floats(0, 10, allow_subnormal=False)


@st.composite
def literals(draw, names=("gripper", "red_cube", "blue_cube", "bin", "target"), framed=("world", "robot", "red_cube")):
    word = draw(st.sampled_from(sorted(PREDICATES)))
    meaning = PREDICATES[word]
    arguments = tuple(draw(st.permutations(names))[: len(meaning.arguments)])
    count = draw(st.integers(len(meaning.required), len(meaning.required) + len(meaning.optional)))
    parameters = tuple(draw(numbers) for _ in range(count))
    frame = draw(st.sampled_from(framed)) if meaning.framed else "world"
    return Literal(word, arguments, parameters, frame, draw(st.booleans()))


goals = st.lists(literals(), min_size=1, max_size=4).map(Goal)


@settings(max_examples=200, deadline=None)
@given(goals)
def test_text_comes_back(goal):
    assert Goal.parse(str(goal)) == goal
    assert str(Goal.parse(str(goal))) == str(goal)


@pytest.mark.parametrize(
    "text",
    [
        "on(red_cube, bin) & ~touching(gripper, red_cube)",
        "near(red_cube, target, 0.02)",
        "left_of(red_cube, blue_cube, frame=robot)",
        "at(red_cube, 0.2, 0, 0.014, tolerance=0.03)",
        "at(red_cube, -0.2, 1e-05, 0.014)",
        "lifted(red_cube, 0.05)",
    ],
)
def test_canonical_text_is_kept(text):
    assert str(Goal.parse(text)) == text


def test_spaces_keywords_and_defaults_do_not_matter():
    assert Goal.parse(" near( red_cube,target , distance = 0.02 )&~ on(red_cube,bin)") == Goal.parse(
        "near(red_cube, target, 0.02) & ~on(red_cube, bin, 0.005)"
    )
    assert Literal("lifted", ("red_cube",)) == Literal("lifted", ("red_cube",), (0.03,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nea(red_cube, bin)", "Unknown predicate 'nea'. Did you mean 'near'?"),
        ("near(red_cube)", "write near(a, b, distance=0.05)"),
        ("near(red_cube, bin, 0.1, 0.2)", "write near(a, b, distance=0.05)"),
        ("near(red_cube, bin, wide)", "'distance' must be a number, got 'wide' in 'near(red_cube, bin, wide)'"),
        ("near(red_cube, bin, nan)", "'distance' must be finite"),
        ("near(red_cube, bin, -1)", "'distance' of 'near' must not be negative, got -1"),
        ("near(red_cube, bin, dist=1)", "Did you mean 'distance'?"),
        ("near(red_cube, bin, 1, distance=1)", "'distance' is given twice"),
        ("near(red_cube, bin, distance=1, distance=1)", "'distance' is given twice"),
        ("near(red_cube, bin", "a `)` is missing in 'near(red_cube, bin'"),
        ("near(red_cube, bin))", "`)` at character 20 of 'near(red_cube, bin))' closes nothing"),
        ("near(red_cube, (bin))", "Expected one call"),
        ("near red_cube", "Expected a call"),
        ("near", "Expected a call with parentheses after 'near'"),
        ("near(red_cube,, bin)", "An argument is empty"),
        ("near(red_cube, 3cubes)", "write near(a, b, distance=0.05)"),
        ("at(red_cube, 0.1, 0.2)", "lacks z: write at(a, x, y, z, tolerance=0.02, frame=world)"),
        ("lifted(red_cube, frame=bin)", "'lifted' takes no frame"),
        ("", "Expected a call"),
        ("near(red_cube, bin) &", "Expected a call"),
    ],
)
def test_bad_text_is_told_off_in_one_sentence(text, message):
    with pytest.raises(EmbodiedError) as error:
        Goal.parse(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_check_names_objects_and_frames():
    goal = Goal.parse("near(red_cube, bin) & left_of(red_cube, bin, frame=wrist)")
    with pytest.raises(EmbodiedError, match=r"Unknown object 'red_cube'\. Did you mean 'red_cub'"):
        goal.check(("red_cub", "bin"))
    with pytest.raises(EmbodiedError, match="Unknown frame 'wrist'"):
        goal.check(("red_cube", "bin"))
    goal.check(("red_cube", "bin"), frames=("wrist",))
    assert goal.entities == ("red_cube", "bin")
    with pytest.raises(EmbodiedError, match="Unknown frame 'wrist'"):
        goal.margins(tabletop())
    with pytest.raises(EmbodiedError, match="Unknown object 'green_cube'"):
        Goal.parse("lifted(green_cube)").margins(tabletop())
    with pytest.raises(EmbodiedError, match="at least one literal"):
        Goal(())
    with pytest.raises(EmbodiedError, match="Wrong number of arguments"):
        Literal("near", ("red_cube",))


def put(state, name, **fields):
    index = NAMES.index(name)
    for field, value in fields.items():
        array = getattr(state, field).copy()
        array[index] = value
        state = replace(state, **{field: array})
    return state


STACKED = {"blue_cube": (0.25, 0, 0.014), "red_cube": (0.26, 0, 0.042)}
IN_BIN = {"red_cube": (0.24, 0.2, 0.018)}
RED = (0.2, 0, 0.014)
CASES = [
    ("at(red_cube, 0.23, 0, 0.014)", tabletop(), 0.02 - 0.03),
    ("at(red_cube, -0.05, 0.1, 0, 0.02, frame=blue_cube)", tabletop(), 0.02),
    ("near(red_cube, target, 0.2)", tabletop(), 0.2 - 0.02**0.5),
    ("on(red_cube, blue_cube)", tabletop(**STACKED), 0.014 - 0.01),
    ("on(red_cube, blue_cube)", tabletop(blue_cube=(0.25, 0, 0.014), red_cube=(0.25, 0, 0.045)), 0.002),
    ("on(red_cube, table)", tabletop(), 0.005),
    ("on(red_cube, bin)", tabletop(**IN_BIN), 0.005),
    ("in(red_cube, bin)", tabletop(**IN_BIN), 0.014),
    ("in(red_cube, bin)", tabletop(red_cube=(0.24, 0.2, 0.05)), 0.044 - 0.05),
    ("in(red_cube, bin)", tabletop(red_cube=(0.28, 0.2, 0.02)), 0.055 - 0.004 - 0.06),
    ("above(red_cube, bin)", tabletop(red_cube=(0.24, 0.2, 0.024)), 0.01 - 0.004 + 0.002),
    ("above(red_cube, bin)", tabletop(red_cube=(0.265, 0.2, 0.1)), 0.055 - 0.004 - 0.045),
    ("above(red_cube, blue_cube)", tabletop(**STACKED), 0.002),
    ("below(blue_cube, red_cube)", tabletop(**STACKED), 0.002),
    ("above(blue_cube, red_cube)", tabletop(**STACKED), -0.056 + 0.002),
    ("left_of(red_cube, blue_cube)", tabletop(), 0.1 - 0.028),
    ("right_of(blue_cube, red_cube)", tabletop(), 0.1 - 0.028),
    ("right_of(red_cube, blue_cube)", tabletop(), -0.1 - 0.028),
    ("in_front_of(blue_cube, red_cube, frame=robot)", tabletop(), 0.05 - 0.028),
    ("behind(red_cube, blue_cube)", tabletop(), 0.05 - 0.028),
    ("touching(red_cube, blue_cube)", tabletop(blue_cube=(0.23, 0, 0.014)), 0.001 - 0.002),
    ("touching(gripper, red_cube)", tabletop(), 0.001 - (0.112**2 + 0.014**2) ** 0.5),
    ("touching(red_cube, gripper)", held(), 0.001),
    ("~touching(gripper, red_cube)", held(), -0.001),
    ("grasped(red_cube)", held(), 0.002),
    ("grasped(red_cube)", held(moving_jaw=(0.226, 0, 0.15)), 0.002 - 0.01),
    ("released(red_cube)", held(), -0.003),
    ("released(red_cube)", held(fixed_jaw=(0.174, 0, 0.15), moving_jaw=(0.226, 0, 0.15)), 0.01 - 0.003),
    ("lifted(red_cube)", held(0.05), 0.05 - 0.014 - 0.03),
    ("lifted(red_cube, 0)", tabletop(), 0.0),
    ("upright(red_cube)", put(tabletop(), "red_cube", quaternion_in_world=FLIPPED), 0.15 - np.pi / 2),
    ("upright(red_cube, 0.2)", tabletop(), 0.2),
    ("static(red_cube)", put(tabletop(), "red_cube", linear_velocity_in_world=(0, 0.03, 0)), 0.002 - 0.003),
    ("static(red_cube)", put(tabletop(), "red_cube", angular_velocity_in_world=(0, 0, 1)), 0.002 - 0.0014 * 3**0.5),
    ("aligned(red_cube, blue_cube)", put(tabletop(), "red_cube", quaternion_in_world=quat_from_yaw(np.array(1.5))),
     0.15 - (np.pi / 2 - 1.5)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "state", "margin"), CASES, ids=[case[0] for case in CASES])
def test_margins_worked_out_by_hand(text, state, margin):
    goal = Goal.parse(text)
    assert goal.margin(state) == pytest.approx(margin, abs=1e-12)
    assert bool(goal.satisfied(state)) == (margin > 0)


def test_every_predicate_has_a_case():
    assert {Goal.parse(text).literals[0].predicate for text, _, _ in CASES} == set(PREDICATES)


def test_grasped_needs_the_object_to_follow():
    still = put(held(), "gripper", linear_velocity_in_world=(0, 0, 0.1))
    assert not Goal.parse("grasped(red_cube)").satisfied(still)
    carried = put(still, "red_cube", linear_velocity_in_world=(0, 0, 0.1))
    assert Goal.parse("grasped(red_cube)").satisfied(carried)
    turning = put(held(gripper=(0.1, 0, 0.15)), "gripper", angular_velocity_in_world=(0, 0, 1.0))
    assert not Goal.parse("grasped(red_cube)").satisfied(turning)
    swung = put(turning, "red_cube", linear_velocity_in_world=(0, 0.1, 0))
    assert Goal.parse("grasped(red_cube)").satisfied(swung)


def test_long_boxes_align_only_after_half_a_turn():
    turned = put(tabletop(), "red_cube", quaternion_in_world=quat_from_yaw(np.array(np.pi / 2)))
    for name in ("red_cube", "blue_cube"):
        turned = put(turned, name, half_extents=(0.03, 0.01, 0.01))
    assert Goal.parse("aligned(red_cube, blue_cube)").margin(turned) == pytest.approx(0.15 - np.pi / 2)


def test_on_a_tumbled_cube_counts_its_upper_face():
    stacked = tabletop(blue_cube=(0.25, 0, 0.014), red_cube=(0.25, 0.01, 0.042))
    tumbled = put(stacked, "blue_cube", quaternion_in_world=FLIPPED)
    assert Goal.parse("on(red_cube, blue_cube)").margin(tumbled) == pytest.approx(0.004)


def test_directions_turn_with_their_frame():
    half_turn = np.array([0.0, 0, 0, 0, 0, 0, 1.0])
    goal = Goal.parse("right_of(red_cube, blue_cube, frame=camera)")
    assert goal.margin(tabletop(), {"camera": half_turn}) == pytest.approx(0.1 - 0.028)
    seen = put(tabletop(), "target", quaternion_in_world=(0, 0, 0, 1.0))
    assert Goal.parse("right_of(red_cube, blue_cube, frame=target)").satisfied(seen)


def test_nothing_holds_of_an_absent_object():
    gone = put(tabletop(), "red_cube", present=False)
    for text in ("touching(gripper, red_cube)", "~touching(gripper, red_cube)", "near(red_cube, bin, 9)"):
        assert Goal.parse(text).margin(gone) == ABSENT_MARGIN
    assert not Goal.parse("left_of(blue_cube, bin, frame=red_cube)").satisfied(gone)


@settings(max_examples=40, deadline=None)
@given(goals, st.integers(0, 2**32 - 1))
def test_batches_torch_and_negation_agree(goal, seed):
    states = random_tabletop(np.random.default_rng(seed), 2, 3)
    margins = goal.margins(states)
    assert margins.shape == (2, 3, len(goal.literals))
    one_by_one = [[goal.margins(states[i, j]) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(margins, one_by_one, atol=1e-12)
    as_torch = goal.margins(states.map(torch.as_tensor))
    np.testing.assert_allclose(as_torch.numpy(), margins, atol=1e-9)
    denied = Goal(tuple(replace(one, negated=not one.negated) for one in goal.literals)).margins(states)
    np.testing.assert_array_equal(denied, np.where(margins == ABSENT_MARGIN, ABSENT_MARGIN, -margins))
    np.testing.assert_array_equal(goal.satisfied(states), (margins > 0).all(axis=-1))


def test_one_bin_wall_for_goals_and_scene():
    assert predicates.BIN_WALL == scene.BIN_WALL
    assert set(predicates.JAWS) <= {part.name for part in ROBOTS["so101"].parts}


def test_the_guide_lists_every_literal_as_it_is_written():
    rows = re.findall(r"^\| `(.+?)` \| .+ \| (\w+) \|$", GUIDE.read_text(), re.MULTILINE)
    assert rows == [(predicate.signature(name), predicate.unit) for name, predicate in PREDICATES.items()]


def test_the_guide_writes_goals_that_parse():
    for text in re.findall(r'env.goal="(.+?)"', GUIDE.read_text()):
        Goal.parse(text)
