"""Who touches whom in the worlds of a simulation, now."""

import mujoco
import numpy as np
from numpy.typing import NDArray

from envs.simulation import Simulation
from envs.types import Array

NEAR = 0.0005
"""[m] Solids this near count as touching: a contact that opens for an instant, or is about to close, is still one."""


def touching(simulation: Simulation, ids: Array) -> NDArray[np.bool_]:
    """`[n K+1 K+1]` which entities touch which in the worlds `ids` `[n]`; symmetric, false on the diagonal.

    The last index stands for every solid that is no entity, e.g. the links of an arm. Contacts are found anew from the
    poses, by MuJoCo's own collision detection: it costs only whoever asks. Absent entities touch nothing.
    """
    scene = simulation.scene
    others = len(scene.names)
    owner = np.full(scene.model.ngeom, others)
    for k, geoms in enumerate(scene.geoms):
        owner[list(geoms)] = k
    found = np.zeros((len(ids), others + 1, others + 1), bool)
    model, data = None, mujoco.MjData(scene.model)
    for row, world in enumerate(ids):
        model = simulation.model(int(world), model)
        # Margins of a pair add up; those of the scene are part of what is solid.
        model.geom_margin[:] = scene.model.geom_margin + NEAR
        simulation.data(int(world), data)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        pairs = owner[data.contact.geom[data.contact.dist <= data.contact.includemargin - NEAR]]
        there = np.append(simulation.present[int(world)], True)
        pairs = pairs[there[pairs].all(axis=1) & (pairs[:, 0] != pairs[:, 1])]
        found[row, pairs[:, 0], pairs[:, 1]] = found[row, pairs[:, 1], pairs[:, 0]] = True
    return found
