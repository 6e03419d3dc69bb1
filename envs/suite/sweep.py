"""Sweep many small things, cubes and balls, into a dustpan."""

from envs.episode import Policy
from envs.goals import Goal
from envs.objects import SHAPES
from envs.scene import SceneConfig
from envs.sweeping import Sweep
from envs.task import Place, Task

THINGS = tuple(name for name in SHAPES if name.startswith("small_"))
PAN = Place(x=(0.315, 0.325), y=(-0.015, 0.015), yaw=(-0.1, 0.1), clearance=0.07)
ANYWHERE = Place(x=(0.175, 0.25), y=(-0.08, 0.08), clearance=0.028)

TASK = Task(
    name="sweep",
    goal=Goal.parse(" & ".join(f"in({thing}, dustpan)" for thing in THINGS)),
    scene=SceneConfig(objects=THINGS, fixtures=("dustpan",)),
    subject=THINGS[0],
    horizon=150,
    obstacles=False,
    places={"dustpan": PAN} | dict.fromkeys(THINGS, ANYWHERE),
)


def expert() -> Policy:
    """Pushes them into the dustpan, the nearest to it first, with closed jaws."""
    return Sweep(THINGS, "dustpan")
