"""The do-operator on a simulation: an `Intervention` carried out on the true state and the true physics of worlds."""

import mujoco
import numpy as np

from envs.errors import EmbodiedError
from envs.interventions import Intervention, apply_to_state
from envs.types import Array, ObjectState
from envs.world_states import WorldStates

DEPTH_ALLOWED = 0.0015
"""[m] A pose edit may leave this much more overlap than there was: contacts are soft, and what an arm presses overlaps
by a millimetre."""


def do(simulation: WorldStates, intervention: Intervention, ids: Array) -> None:
    """Carry out `intervention` in the worlds `ids` `[n]` now; its `step` is the caller's business.

    What an edit does to poses, velocities and sizes is `apply_to_state`'s to say, so that the simulator and a world
    model are told the same thing. Only what differs is written: an edit that changes nothing leaves every bit alone.

    Raises `EmbodiedError`, with all worlds as they were, for an entity that the edit cannot act on, for an edit that
    pushes solids into each other, and for `action`, which edits plans instead.
    """
    if intervention.kind == "action":
        raise EmbodiedError(
            f"{intervention} changes actions, not the state: apply it to the plan with envs.interventions.edit_actions."
        )
    scene, fields = simulation.scene, simulation.fields
    intervention.check(scene.names, scene.kind)
    parameters = fields.of(ids)
    if intervention.kind in ("gravity", "gain"):
        if intervention.kind == "gravity":
            parameters.gravity[:] = intervention.gravity
        else:
            parameters.servo_gain[:] *= intervention.values["factor"]
        fields.write(ids, parameters)
        return
    before = simulation.observe(ids).objects
    k = before.index(str(intervention.entity))
    there = np.flatnonzero(before.present[:, k])
    after, ids, before = apply_to_state(intervention, before)[there], ids[there], before[there]
    parameters, column = parameters[there], k - (len(scene.names) - len(scene.objects))
    if intervention.kind == "remove":
        simulation.present[ids, k] = False
    elif intervention.kind == "mass":
        simulation.mass[ids, k] = parameters.mass[:, column] = after.mass[:, k]
        fields.write(ids, parameters)
    elif intervention.kind == "friction":
        simulation.friction[ids, k] = parameters.friction[:, k] = after.friction[:, k]
        fields.write(ids, parameters)
    elif intervention.kind == "velocity":
        simulation.rows.set_velocity(
            ids,
            k,
            linear=after.linear_velocity_in_world[:, k],
            angular=after.angular_velocity_in_world[:, k],
            quaternion=after.quaternion_in_world[:, k],
        )
    else:
        saved, depths = simulation.save(ids), _depths(simulation, k, ids)
        _place(simulation, before, after, k, ids)
        try:
            if intervention.kind == "size":
                parameters.half_extents[:, column] = after.half_extents[:, k]
                fields.write(ids, parameters)
            _refuse_overlap(simulation, intervention, k, ids, depths)
        except EmbodiedError:
            simulation.restore(saved, ids)
            raise
    simulation.refresh(ids)


def _place(simulation: WorldStates, before: ObjectState, after: ObjectState, k: int, ids: Array) -> None:
    """Write entity `k`'s pose where it differs; a turned body keeps its spin in its own axes, as stored."""
    old, new = before.position_in_world[:, k], after.position_in_world[:, k]
    shifted = (old != new).any(axis=-1)
    simulation.rows.put(ids[shifted], k, position=new[shifted])
    old, new = before.quaternion_in_world[:, k], after.quaternion_in_world[:, k]
    turned = (old != new).any(axis=-1)
    simulation.rows.put(ids[turned], k, quaternion=new[turned])


def _depths(simulation: WorldStates, k: int, ids: Array) -> list[dict[str, float]]:
    """Per world, how deep entity `k` overlaps every solid it touches [m], by the solid's name."""
    model = simulation.scene.model
    mine = set(simulation.scene.geoms[k])
    owner = {geom: name for name, geoms in zip(simulation.scene.names, simulation.scene.geoms, strict=True)
             for geom in geoms}  # fmt: skip
    found: list[dict[str, float]] = []
    own, data = simulation.spare
    for world in ids:
        simulation.model(int(world), own)
        simulation.data(int(world), data)
        mujoco.mj_kinematics(own, data)
        mujoco.mj_comPos(own, data)
        mujoco.mj_collision(own, data)
        deepest: dict[str, float] = {}
        for contact in range(data.ncon):
            pair = [int(geom) for geom in data.contact.geom[contact]]
            if mine.isdisjoint(pair):
                continue
            other = pair[1] if pair[0] in mine else pair[0]
            name = owner.get(other) or model.geom(other).name
            # Rounded solids are smaller ones with a margin around them.
            depth = float(data.contact.includemargin[contact] - data.contact.dist[contact])
            deepest[name] = max(deepest.get(name, 0.0), depth)
        found.append(deepest)
    return found


def _refuse_overlap(
    simulation: WorldStates, intervention: Intervention, k: int, ids: Array, before: list[dict[str, float]]
) -> None:
    for world, was, now in zip(ids, before, _depths(simulation, k, ids), strict=True):
        for name, depth in now.items():
            if depth > was.get(name, 0.0) + DEPTH_ALLOWED:
                raise EmbodiedError(
                    f"{intervention} would push {simulation.scene.names[k]} {1000 * depth:.1f} mm into {name} "
                    f"(world {world}); nothing was changed."
                )
