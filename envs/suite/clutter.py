"""Retrieve a cube from a pile of all shapes, and put it into a bin."""

from envs.clearing import Retrieve
from envs.episode import Policy
from envs.goals import Goal
from envs.scene import SceneConfig
from envs.task import Place, Task

PILE = ("blue_cube", "green_bar", "orange_capsule", "yellow_ball", "white_cylinder")
"""What falls on and around the cube, one after the other."""
PILED = tuple(0.050 + 0.036 * i for i in range(len(PILE)))
"""[m] The heights from which they fall."""

TASK = Task(
    name="clutter",
    goal=Goal.parse("in(red_cube, red_bin) & released(red_cube)"),
    scene=SceneConfig(objects=("red_cube", *PILE), fixtures=("red_bin",)),
    subject="red_cube",
    horizon=160,
    start=((0.13, 0.15), (-0.02, 0.02), (0.08, 0.10)),
    settle=1.0,
    distractor_probability=0.8,
    places={"red_bin": Place(x=(0.20, 0.24), y=(0.175, 0.185), yaw=(-0.2, 0.2), clearance=0.10, either_side=True)}
    | {"red_cube": Place(x=(0.21, 0.25), y=(-0.02, 0.02), clearance=0.0)}
    | {
        name: Place(x=(0.20, 0.26), y=(-0.03, 0.03), height=(z, z), clearance=0.0)
        for name, z in zip(PILE, PILED, strict=True)
    },
)


def expert() -> Policy:
    """Puts aside what lies around the cube, topmost first, then takes the cube."""
    return Retrieve("red_cube", PILE, "red_bin")
