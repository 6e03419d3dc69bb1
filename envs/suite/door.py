"""Open a door by its knob."""

from envs.episode import Policy
from envs.fixtures import DOOR_KNOB
from envs.goals import Goal
from envs.pulling import Pull
from envs.scene import SceneConfig
from envs.task import Place, Task

TASK = Task(
    name="door",
    # Turned by at least 0.8 rad against the cupboard.
    goal=Goal.parse("~aligned(door, cupboard, 0.8) & static(door)"),
    scene=SceneConfig(objects=(), fixtures=("cupboard",)),
    subject="door",
    horizon=50,
    places={"cupboard": Place(x=(0.29, 0.34), y=(-0.06, 0.06), yaw=(-0.35, 0.35))},
)


def expert() -> Policy:
    """Grips the knob and leads it around the hinge."""
    return Pull("cupboard", "door", DOOR_KNOB, to=0.95)
