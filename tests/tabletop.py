"""Tabletop states for tests, built by hand or drawn at random."""

import numpy as np

from envs.types import Kind, ObjectState

NAMES = ("table", "gripper", "fixed_jaw", "moving_jaw", "target", "bin", "red_cube", "blue_cube")
KINDS = np.array([Kind.TABLE, Kind.GRIPPER, Kind.JAW, Kind.JAW, Kind.TARGET, Kind.BIN, Kind.BOX, Kind.BOX])
HALF = np.array(
    [
        [0.4, 0.45, 0.02],
        [0.002, 0.002, 0.002],
        [0.002, 0.008, 0.01],
        [0.002, 0.008, 0.01],
        [0.025, 0.025, 0.0008],
        [0.055, 0.055, 0.022],
        [0.014, 0.014, 0.014],
        [0.014, 0.014, 0.014],
    ]
)
HOME = np.array(
    [
        [0.15, 0.0, -0.02],
        [0.2, 0.0, 0.15],
        [0.17, 0.0, 0.15],
        [0.23, 0.0, 0.15],
        [0.3, 0.1, 0.014],
        [0.22, 0.2, 0.022],
        [0.2, 0.0, 0.014],
        [0.25, -0.1, 0.014],
    ]
)


def tabletop(**positions):
    """One state `[K ...]` at rest, jaws 60 mm apart over the table; entities named in `positions` are put there."""
    position = HOME.copy()
    for name, value in positions.items():
        position[NAMES.index(name)] = value
    count = len(NAMES)
    return ObjectState(
        names=NAMES,
        position_in_world=position,
        quaternion_in_world=np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
        linear_velocity_in_world=np.zeros((count, 3)),
        angular_velocity_in_world=np.zeros((count, 3)),
        half_extents=HALF.copy(),
        kind=KINDS,
        colour=np.full((count, 3), 0.5),
        mass=np.full(count, 0.025),
        friction=np.full(count, 0.4),
        present=np.ones(count, dtype=bool),
        confidence=np.ones(count),
    )


def held(height=0.15, **positions):
    """The red cube between the jaws, its centre at `height` above (0.2, 0)."""
    at = {"gripper": (0.2, 0, height), "red_cube": (0.2, 0, height)}
    at |= {"fixed_jaw": (0.184, 0, height), "moving_jaw": (0.216, 0, height)}
    return tabletop(**(at | positions))


def random_tabletop(rng, *batch):
    """States `[*batch K ...]` crowded enough that predicates hold now and then; one entity in ten is absent."""
    count = len(NAMES)
    q = rng.normal(size=(*batch, count, 4)) * rng.choice([1.0, 1e-3], size=(*batch, count, 1)) * [0, 1, 1, 1]
    q[..., 0] = 1.0
    return ObjectState(
        names=NAMES,
        position_in_world=HOME + rng.normal(size=(*batch, count, 3)) * 0.06,
        quaternion_in_world=q / np.linalg.norm(q, axis=-1, keepdims=True),
        linear_velocity_in_world=rng.normal(size=(*batch, count, 3)) * 0.03,
        angular_velocity_in_world=rng.normal(size=(*batch, count, 3)) * 0.3,
        half_extents=HALF * rng.uniform(0.5, 2.0, size=(*batch, count, 3)),
        kind=KINDS,
        colour=rng.uniform(size=(*batch, count, 3)),
        mass=rng.uniform(0.01, 0.1, size=(*batch, count)),
        friction=rng.uniform(0.1, 1.0, size=(*batch, count)),
        present=rng.uniform(size=(*batch, count)) > 0.1,
        confidence=rng.uniform(size=(*batch, count)),
    )
