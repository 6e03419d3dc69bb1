"""What a robot's joints mean to a world model: how they follow commands, and which solids they carry among objects."""

from collections.abc import Iterable, Mapping

from envs.errors import EmbodiedError, unknown
from world_models.embodiment.arm import Arm
from world_models.embodiment.joints import Embodiment
from world_models.embodiment.pusher import Pusher

EMBODIMENTS: Mapping[str, type[Arm] | type[Pusher]] = {kind.name: kind for kind in (Arm, Pusher)}
"""By the name of `SceneConfig.robot`; each is built for a period [s]."""


def embodiment(robot: str, period: float) -> Embodiment:
    """An untrained embodiment that steps `period` [s]; raises `EmbodiedError` for a robot there is none for."""
    if robot not in EMBODIMENTS:
        raise unknown("robot", robot, EMBODIMENTS)
    return EMBODIMENTS[robot](period)


def robot_among(names: Iterable[str]) -> type[Embodiment]:
    """Whose parts are among a scene's entities; raises `EmbodiedError` where there are none of a known robot."""
    there = tuple(names)
    for kind in EMBODIMENTS.values():
        if all(name in there for name in kind.entities):
            return kind
    raise EmbodiedError(f"No robot is among {', '.join(there)}; known are {', '.join(EMBODIMENTS)}.")
