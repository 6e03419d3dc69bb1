"""Solver and contact parameters of the simulated world."""

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco

from envs.errors import unknown

INTEGRATORS: Mapping[str, mujoco.mjtIntegrator] = {
    "discrete": mujoco.mjtIntegrator.mjINT_DISCRETE,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
    "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
    "euler": mujoco.mjtIntegrator.mjINT_EULER,
}


@dataclass(frozen=True)
class Physics:
    """Solver and contact parameters; the choice is measured by `embodied bench grasp`; `PUSHING` is a pusher's.

    The `discrete` integrator stays stable with stiff servos at 10 ms, where `implicitfast` loses grasps. Elliptic
    cones with impratio 10 stop creep in the grasp without noslip iterations. Solver iterations are left at MuJoCo's
    default: a cap of 3 or 4 shoots cubes away.
    """

    timestep: float = 0.01
    """[s]."""
    integrator: str = "discrete"
    """One of `discrete`, `implicitfast`, `implicit`, `euler`."""
    impratio: float = 10.0
    gravity: float = 9.81
    """[m/s^2] downwards."""
    object_friction: float = 0.2
    """Sliding friction of objects on the table and on each other. Low, to keep the world predictable: after a nudge of
    0.1 mm, 26 % of moving cubes end more than 5 mm off 1.2 s later, and 35 % at a friction of 0.4."""
    table_friction: float = 0.1
    """Contacts take the larger of two frictions: below the objects' one, theirs decides, and can be varied."""
    pad_friction: float = 1.0
    """Sliding friction of the jaw pads, or of a pusher; they have priority, so it holds whatever the object's is."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for an unknown integrator."""
        if self.integrator not in INTEGRATORS:
            raise unknown("integrator", self.integrator, INTEGRATORS)

    def apply(self, spec: mujoco.MjSpec) -> None:
        """Set the solver's options."""
        option = spec.option
        option.timestep = self.timestep
        option.integrator = INTEGRATORS[self.integrator]
        option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
        option.impratio = self.impratio
        option.gravity = (0.0, 0.0, -self.gravity)


PUSHING = Physics(timestep=0.005, integrator="implicitfast", impratio=1.0, object_friction=0.3, pad_friction=0.05)
"""Of worlds with a pusher; the choice is measured by how many objects end more than 5 mm off 1.2 s after one of them
is shifted by 0.1 mm, in play. A slippery pusher halves them (1.2 % against 2.4 % at friction 0.3 and 2.9 % at 1), as
it does not turn what it pushes. Half the timestep of a gripper's world, for contacts between objects."""
