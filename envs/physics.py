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

    The `discrete` integrator stays stable with stiff servos at 10 ms, too, where `implicitfast` loses grasps. Elliptic
    cones with impratio 10 stop creep in the grasp without noslip iterations. Solver iterations are left at MuJoCo's
    default: a cap of 3 or 4 shoots cubes away.

    A world about which what-ifs are asked must not be chaos. Of cubes that move in play, 25 % end more than 5 mm off
    1.2 s after a nudge of 0.1 mm at 10 ms with MuJoCo's default contacts, 14 % with contacts that are soft at first
    touch, 8 % with 5 ms as well, and 2 % with contacts that are hard at depth, too.
    """

    timestep: float = 0.005
    """[s]."""
    integrator: str = "discrete"
    """One of `discrete`, `implicitfast`, `implicit`, `euler`."""
    impratio: float = 10.0
    gravity: float = 9.81
    """[m/s^2] downwards."""
    object_friction: float = 0.2
    """Sliding friction of objects on the table and on each other; low, to keep the world predictable."""
    table_friction: float = 0.1
    """Contacts take the larger of two frictions: below the objects' one, theirs decides, and can be varied."""
    pad_friction: float = 1.0
    """Sliding friction of the jaw pads, or of a pusher; they have priority, so it holds whatever the object's is."""
    solimp: tuple[float, float, float] = (0.3, 0.999, 0.002)
    """How contacts give way: MuJoCo's impedance at first touch, at most, and the depth [m] at which it is nearly that.
    What slides over hard ground, at MuJoCo's default of 0.9, chatters: its velocity jumps by 16 mm/s between frames
    that are 20 ms apart. On felt, in which a box rests 0.6 to 1 mm deep, it jumps by 3 mm/s. But where the felt is soft
    all the way, at most 0.95, an arm presses a cube of 25 g 10 mm into the table, from where it is flung: in play three
    times as many tumble."""
    pad_solimp: tuple[float, float, float] = (0.5, 0.999, 0.002)
    """The same of the jaw pads, or of a pusher."""
    firm_solimp: tuple[float, float, float] = (0.4, 0.999, 0.001)
    """The same of firm parts of fixtures: on felt, the demonstrator of `insert` presses four in five pegs of 22 mm into
    a hole of 21 mm, here one in five; at 0.9 it loses one in five of those that fit."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for an unknown integrator."""
        if self.integrator not in INTEGRATORS:
            raise unknown("integrator", self.integrator, INTEGRATORS)

    def apply(self, spec: mujoco.MjSpec) -> None:
        """Set the solver's options, and how the geoms there are give way; those with priority are pads."""
        option = spec.option
        option.timestep = self.timestep
        option.integrator = INTEGRATORS[self.integrator]
        option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
        option.impratio = self.impratio
        option.gravity = (0.0, 0.0, -self.gravity)
        for geom in spec.geoms:
            own = self.pad_solimp if geom.priority else self.firm_solimp if geom.solmix > 1.0 else self.solimp
            geom.solimp = (*own, 0.5, 2.0)


PUSHING = Physics(timestep=0.005, integrator="implicitfast", impratio=1.0, object_friction=0.3, pad_friction=0.05,
                  solimp=(0.2, 0.95, 0.001), pad_solimp=(0.2, 0.95, 0.001))  # fmt: skip
"""Of worlds with a pusher; the choice is measured by how far moving objects end off 1.2 s after all are shifted by
0.1 mm, in play: 0.4 mm in the mean, 1.3 mm with MuJoCo's default contacts. A slippery pusher does not turn what it
pushes; at a friction of 0.3 twice as many end more than 5 mm off."""
