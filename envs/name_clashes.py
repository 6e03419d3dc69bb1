"""Names that the model of a robot file shares with the scene it is to stand in."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import mujoco

from envs.errors import EmbodiedError


@contextmanager
def clashes_told(spec: mujoco.MjSpec, robot: str, objects: Sequence[str]) -> Iterator[None]:
    """While a scene with those objects is added to a spec of the robot alone.

    Raises `EmbodiedError` for a name of the robot's that the scene has, too.
    """
    try:
        for joint in spec.joints:
            # MuJoCo does not refuse a free joint whose name is taken, but leaves it without one.
            if joint.name in objects:
                raise ValueError(f"repeated name '{joint.name}' in joint")
        yield
    except ValueError as error:
        found = re.search(r"repeated name '(.+)' in (\w+)", str(error))
        if found is None:
            raise
        name, kind = found.groups()
        raise EmbodiedError(
            f"{robot}: its model has a {kind} {name!r}, and so has the scene; give it another name in the model."
        ) from error
