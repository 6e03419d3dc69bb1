"""Hand a rod from one arm to another."""

from envs.episode import Policy
from envs.goals import Goal
from envs.handing import HandOver
from envs.scene import SceneConfig
from envs.task import Place, Task

TASK = Task(
    name="handover",
    # In the second arm's hand and in the air, and no longer in the first one's.
    goal=Goal.parse("near(blue_rod, other_gripper, 0.07) & lifted(blue_rod, 0.04) & released(blue_rod)"),
    scene=SceneConfig(objects=("blue_rod",), robot="two_so101"),
    subject="blue_rod",
    horizon=50,
    # Out of the second arm's reach.
    places={"blue_rod": Place(x=(0.15, 0.20), y=(-0.06, 0.06), yaw=(-0.5, 0.5))},
)


def expert() -> Policy:
    """The first arm lifts one end, the second one takes the other."""
    return HandOver("blue_rod")
