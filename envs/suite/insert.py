"""Put a peg upright into a hole that leaves it 1 mm."""

from envs.episode import Policy
from envs.goals import Goal
from envs.inserting import Insert
from envs.scene import SceneConfig
from envs.task import Place, Task

TASK = Task(
    name="insert",
    # The peg, 56 mm high, stands on the table in the socket, 20 mm high.
    goal=Goal.parse("at(red_peg, 0, 0, 0.018, 0.005, frame=socket) & upright(red_peg) & released(red_peg)"),
    scene=SceneConfig(objects=("red_peg",), fixtures=("socket",)),
    subject="red_peg",
    horizon=50,
    places={
        "socket": Place(x=(0.18, 0.26), y=(-0.07, 0.07), yaw=(-0.7, 0.7), clearance=0.075),
        "red_peg": Place(x=(0.17, 0.28), y=(-0.09, 0.09)),
    },
)


def expert() -> Policy:
    """Grips the peg near its top, carries it over the hole, turns it to fit, and feels its way down."""
    return Insert("red_peg", "socket")
