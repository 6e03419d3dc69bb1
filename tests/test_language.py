"""Every goal has a sentence, made of the characters that the observation space allows."""

import pytest

from envs.goals import Goal
from envs.language import CHARACTERS, PHRASES, sentence
from envs.predicates import PREDICATES
from envs.tasks import TASKS


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        ("in(red_cube, bin) & released(red_cube)", "Put the red cube in the bin and let go of it."),
        (
            "on(red_cube, blue_cube) & static(red_cube) & ~touching(gripper, red_cube)",
            "Put the red cube on the blue cube, leave it at rest and do not touch the red cube with the gripper.",
        ),
        (
            "left_of(red_cube, target, frame=bin)",
            "Put the red cube to the left of the target as seen from the bin.",
        ),
        ("at(red_cube, 0.25, -0.1, 0.014)", "Bring the red cube to 0.25, -0.1, 0.014."),
    ],
)
def test_goals_read_as_instructions(goal: str, text: str) -> None:
    assert sentence(Goal.parse(goal)) == text


def test_every_predicate_and_every_task_has_one() -> None:
    assert set(PHRASES) == set(PREDICATES)
    sentences = {sentence(task.goal) for task in TASKS.values()}
    assert len(sentences) >= len(TASKS) - 2
    assert all(set(text) <= set(CHARACTERS) for text in sentences)
