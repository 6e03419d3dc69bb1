"""Pull a drawer open by its knob."""

from envs.episode import Policy
from envs.fixtures import DRAWER_KNOB
from envs.goals import Goal
from envs.pulling import Pull
from envs.scene import SceneConfig
from envs.task import Place, Task

TASK = Task(
    name="drawer",
    # The drawer's centre in the cabinet's frame: out by 46 to 66 mm.
    goal=Goal.parse("at(drawer, -0.056, 0, -0.006, 0.01, frame=cabinet) & static(drawer)"),
    scene=SceneConfig(objects=(), fixtures=("cabinet",)),
    subject="drawer",
    horizon=50,
    places={"cabinet": Place(x=(0.30, 0.34), y=(-0.06, 0.06), yaw=(-0.35, 0.35))},
)


def expert() -> Policy:
    """Grips the knob and pulls along the cabinet's own axis."""
    return Pull("cabinet", "drawer", DRAWER_KNOB, to=0.058)
