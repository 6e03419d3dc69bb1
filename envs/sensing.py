"""Named faults of what is observed, for training policies that are to live with them."""

from collections.abc import Mapping

from envs.errors import EmbodiedError, unknown
from envs.sensors import JointSensor, ObjectSensor, SensorConfig

_JOINTS = JointSensor(position_noise=0.002, velocity_noise=0.02)

SENSORS: Mapping[str, SensorConfig | None] = {
    "exact": None,
    "noisy": SensorConfig(
        joints=_JOINTS, objects=ObjectSensor(position_noise=0.002, rotation_noise=0.03, velocity_noise=0.01)
    ),
    "late": SensorConfig(joints=JointSensor(delay=0.1), objects=ObjectSensor(delay=0.2)),
    "occluded": SensorConfig(objects=ObjectSensor(occlusion="front", dropout=0.2)),
    "camera": SensorConfig(
        joints=_JOINTS,
        objects=ObjectSensor(
            position_noise=0.002, rotation_noise=0.03, velocity_noise=0.01, dropout=0.05, occlusion="front", delay=0.1
        ),
    ),
}
"""By name: the truth; standard deviations of a calibrated camera with markers; joints 0.1 s and objects 0.2 s late;
objects behind the arm, and one in five others, not found; and all that a camera does. Delays fit control at 10 Hz."""


def sensors(given: SensorConfig | str | None) -> SensorConfig | None:
    """The sensors of that name, or those given, None for the truth; raises `EmbodiedError` for what is neither."""
    if isinstance(given, str):
        if given not in SENSORS:
            raise unknown("sensors", given, SENSORS)
        return SENSORS[given]
    if not isinstance(given, SensorConfig | None):
        raise EmbodiedError(f"sensors={given!r} was given; give a SensorConfig, or one of {', '.join(SENSORS)}.")
    return given
