"""A scene that is shown what was measured of an arm: to see it as the simulator would, and to look a little ahead."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.errors import EmbodiedError
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.types import Array, Observation

FAR = 0.02
"""[m] Distances are not measured beyond this."""
EVERY = 5
"""Physics steps between two measurements on the way."""
_ARM_BIT = 2
"""Contact type of the arm's solids, see `assets/so101.xml`."""


@dataclass(frozen=True)
class Nearness:
    """The two solids that are nearest to each other."""

    distance: float
    """[m]; negative where they overlap, `FAR` where nothing is near."""
    pair: tuple[str, str]
    """Names of the geoms; empty where nothing is near."""


class Mirror:
    """One world that holds what it was last shown."""

    def __init__(self, config: SceneConfig) -> None:
        self.simulation = Simulation(build_scene(config), worlds=1, threads=1)
        scene = self.simulation.scene
        self._model, self._data = scene.model, mujoco.MjData(scene.model)
        self._arrays = {name: self.simulation.batch.bind(name) for name in ("qpos", "qvel", "ctrl")}
        self._pairs = np.array(_pairs(self._model))
        # Of planes there is none among them, whose radius is 0.
        self._reach = self._model.geom_rbound[self._pairs].sum(axis=1) + FAR
        self._whole = self.simulation.save()

    def show(
        self, position: Array, velocity: Array, command: Array, objects: Mapping[str, Array] | None = None
    ) -> None:
        """Take over joints `[6]` [rad], their speeds [rad/s] and commands [rad].

        `objects`, if given, are by name the pose and velocity `[13]` of those that are there: position [m], quaternion,
        linear [m/s] and angular velocity [rad/s] in the world's axes. Raises `EmbodiedError` for one the scene lacks.
        """
        simulation, scene = self.simulation, self.simulation.scene
        one = np.zeros(1, np.int64)
        if objects is not None:
            for name in objects:
                scene.index(name)
            simulation.present[0] = [
                name in objects or (scene.qpos[k] < 0 and scene.mocap[k] < 0) for k, name in enumerate(scene.names)
            ]
            for name, state in objects.items():
                k, row = scene.index(name), np.asarray(state, np.float64)[None]
                simulation.rows.put(one, k, row[:, :3], row[:, 3:7])
                if scene.qpos[k] >= 0:
                    simulation.rows.set_velocity(one, k, row[:, 7:10], row[:, 10:13], row[:, 3:7])
            simulation.refresh()
        self._arrays["qpos"][0, scene.joint_qpos] = position
        self._arrays["qvel"][0, scene.joint_dof] = velocity
        self._arrays["ctrl"][0, scene.actuator] = command

    def observe(self) -> Observation:
        """What was shown, as the simulator would tell it; arrays without a batch."""
        return self.simulation.observe()[0]

    def nearest(self) -> Nearness:
        """The arm's solid that is nearest to another link, the table or a bin, in the world as it is now."""
        self._data.qpos[:] = self._arrays["qpos"][0]
        mocap = self.simulation.batch
        if self._model.nmocap:
            self._data.mocap_pos[:] = mocap.bind("mocap_pos")[0]
            self._data.mocap_quat[:] = mocap.bind("mocap_quat")[0]
        mujoco.mj_kinematics(self._model, self._data)
        distance, pair = FAR, ("", "")
        centre = self._data.geom_xpos[self._pairs]
        # Most pairs are told to be far by the spheres around them.
        near = ((centre[:, 0] - centre[:, 1]) ** 2).sum(axis=1) < self._reach**2
        for a, b in self._pairs[near].tolist():
            apart = mujoco.mj_geomDistance(self._model, self._data, a, b, FAR, None)
            if apart < distance:
                distance, pair = apart, (self._model.geom(a).name, self._model.geom(b).name)
        return Nearness(distance, pair)

    def ahead(self, command: Array, seconds: float) -> Nearness:
        """The least `nearest` while the arm goes to `command` `[6]` [rad] for `seconds`; the world goes with it.

        Solids pass through nothing but each other's links, as the scene lets an arm pass through itself.
        """
        steps = max(1, round(seconds / self._model.opt.timestep))
        found = Nearness(FAR, ("", ""))
        for done in range(0, steps, EVERY):
            try:
                self.simulation.run(np.asarray(command, np.float64)[None], min(EVERY, steps - done))
            except EmbodiedError:
                # What makes physics diverge is not to be tried on an arm.
                self.simulation.restore(self._whole)
                return Nearness(-FAR, ("", ""))
            now = self.nearest()
            found = now if now.distance < found.distance else found
        return found


def _pairs(model: mujoco.MjModel) -> tuple[tuple[int, int], ...]:
    """Solids of the arm with each other, unless a joint links them, and with the table and a bin.

    The base stands on the table. Objects are not among them: an arm is there to touch them.
    """
    arm = [g for g in range(model.ngeom) if model.geom_contype[g] == _ARM_BIT]
    body, parent = model.geom_bodyid, model.body_parentid
    around = [g for g in range(model.ngeom) if (n := model.geom(g).name) == "table" or n.startswith("bin_")]

    def linked(a: int, b: int) -> bool:
        return bool(body[a] == body[b] or parent[body[a]] == body[b] or parent[body[b]] == body[a])

    own = [(a, b) for a, b in itertools.combinations(arm, 2) if not linked(a, b)]
    return (*own, *((a, b) for a in arm if parent[body[a]] != 0 for b in around))
