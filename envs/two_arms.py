"""Two SO-101 facing each other over one table, and how the second one sees the world.

The first stands where a lone arm does. All names of the second have a prefix; its base is turned by half a turn.
"""

from dataclasses import replace

import numpy as np

from envs.geometry import quat_multiply
from envs.types import Array, Observation, proprioception

OTHER = "other_"
"""What names of the second arm's joints, bodies and entities begin with."""
BASE = (0.64, 0.0, 0.0)
"""[m] Where it stands. Tools that point down meet half way; what is near one base is out of the other's reach."""
_PARTS = ("gripper", "fixed_jaw", "moving_jaw")
_SWAPPED = {**{name: OTHER + name for name in _PARTS}, **{OTHER + name: name for name in _PARTS}}
HALF_TURN = (0.0, 0.0, 0.0, 1.0)
"""The quaternion of its base."""


def seen_by_other(observation: Observation) -> Observation:
    """The observation `[*B ...]` as the second arm has it: in its base's frame, and the first arm is the other one.

    Seen so twice, it is itself again.
    """
    objects = observation.objects
    turned = np.array([-1.0, -1.0, 1.0])
    joints = np.asarray(observation.proprioception).shape[-1] // 3
    order = np.concatenate([block + np.roll(np.arange(joints), joints // 2) for block in joints * np.arange(3)])
    seen = replace(
        objects,
        names=tuple(_SWAPPED.get(name, name) for name in objects.names),
        position_in_world=np.asarray(objects.position_in_world) * turned + np.array(BASE),
        quaternion_in_world=quat_multiply(np.array(HALF_TURN) * (1.0, -1.0, -1.0, -1.0), objects.quaternion_in_world),
        linear_velocity_in_world=np.asarray(objects.linear_velocity_in_world) * turned,
        angular_velocity_in_world=np.asarray(objects.angular_velocity_in_world) * turned,
    )
    return replace(observation, proprioception=np.asarray(observation.proprioception)[..., order], objects=seen)


def of_first(observation: Observation) -> Observation:
    """The observation with the first arm's proprioception alone, as laws for one arm read it."""
    both: Array = np.asarray(observation.proprioception)
    layout = proprioception(both.shape[-1])
    own = [both[..., part][..., : (part.stop - part.start) // 2] for part in layout.values()]
    return replace(observation, proprioception=np.concatenate(own, axis=-1))
