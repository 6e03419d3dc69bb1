"""The servo behind each joint: a position controller with limited torque, as a named set of parameters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import mujoco

from envs.errors import EmbodiedError


@dataclass(frozen=True)
class Servo:
    """Torque = clip(kp (target - q) - kv dq, +-force_limit), against passive damping, dry friction and armature.

    The published gains of the STS3215 disagree by 56x, and none should be trusted without identification on the arm
    itself. BAM's bench identification of a 7.4 V unit gives kp = 0.166 P V kt / R = 17.8 N m/rad at firmware P = 32,
    half of that at P = 16, which LeRobot writes at connect. Menagerie's data-sheet algebra (R = 1 ohm, P as volts
    per degree) gives 998 N m/rad with kv 2.73; the passive damping 0.60 already contains the back-EMF that this kv
    counts again, and a real arm droops 0.05 rad under 0.5 N m, ten to hundred times more than kp 998 allows.
    """

    kp: float
    """[N m/rad]."""
    kv: float = 0.0
    """[N m s/rad] active damping, on top of the passive one."""
    damping: float = 0.60
    """[N m s/rad] passive, back-EMF included (BAM)."""
    frictionloss: float = 0.052
    """[N m] dry friction (BAM). Six permanently active constraints: 14 % of a physics step."""
    armature: float = 0.028
    """[kg m^2] rotor inertia seen at the joint (BAM)."""
    force_limit: float = 3.35
    """[N m] of the five arm joints: stall torque."""
    gripper_force_limit: float = 1.5
    """[N m] LeRobot halves the gripper's torque. At 3.35 (40 N at the pads) it squeezes cubes out of the grasp."""
    delay: float = 0.0
    """[s] from command to servo (bus and driver); in the simulation, the nearest number of physics steps."""
    backlash: float = 0.0
    """[rad] of play between motor and joint. The twin has it, the simulation has not."""
    memory: float = 0.0
    """[s] for which commands are remembered at least: the longest delay that a world can be given."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for values that no servo has."""
        for name, value in vars(self).items():
            # To MuJoCo a limit of zero is none.
            limit = name.endswith("force_limit")
            if not 0.0 <= value < math.inf or (limit and value == 0.0):
                least = "above zero" if limit else "not negative"
                raise EmbodiedError(f"Servo {name} = {value}: it must be finite and {least}.")

    def limit(self, joint: str) -> float:
        """[N m] at a joint of that name."""
        return self.gripper_force_limit if joint.endswith("gripper") else self.force_limit

    def apply(self, spec: mujoco.MjSpec, name: str, timestep: float) -> None:
        """Set the passive parameters of the joint `name` and add an actuator of the same name."""
        joint = spec.joint(name)
        joint.damping[0] = self.damping
        joint.frictionloss = self.frictionloss
        joint.armature = self.armature
        limit = self.limit(name)
        actuator = spec.add_actuator(
            name=name,
            target=name,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            ctrlrange=joint.range,
            forcerange=(-limit, limit),
        )
        actuator.set_to_position(kp=self.kp, kv=self.kv)
        steps = round(self.delay / timestep)
        if memory := max(steps, math.ceil(self.memory / timestep - 1e-9)):
            actuator.delay = steps * timestep
            actuator.nsample = memory + 1


Servos = Servo | tuple[Servo, ...]
"""One for all joints, or one per joint."""


def remembering(servos: Servos, seconds: float) -> Servos:
    """The same, with commands remembered for so long."""
    if isinstance(servos, Servo):
        return replace(servos, memory=seconds)
    return tuple(replace(servo, memory=seconds) for servo in servos)


def per_joint(servos: Servos, joints: Sequence[str]) -> tuple[Servo, ...]:
    """One servo per joint; raises `EmbodiedError` where there are as many as joints neither way."""
    each = (servos,) * len(joints) if isinstance(servos, Servo) else servos
    if len(each) != len(joints):
        raise EmbodiedError(f"{len(each)} servos were given; {', '.join(joints)} need one each, or one for all.")
    return each


SERVOS: Mapping[str, Servo] = {
    # Default for learning. LeRobot's own gains leave centimetres of droop at the tool, which an open-loop command would
    # carry into every grasp.
    "firm": Servo(kp=200.0, kv=6.0, frictionloss=0.0),
    "lerobot": Servo(kp=8.9),
    "open_duck": Servo(kp=17.8),
    "menagerie": Servo(kp=998.22, kv=2.731, force_limit=2.94),
}
"""`lerobot`: BAM at P = 16, as LeRobot configures the arm. `open_duck`: BAM at P = 32. `menagerie`: data-sheet gains.
`firm`: tracks a 10 Hz command to about a millimetre and is cheap to simulate; for learning and planning."""


PUSHER_SERVO = Servo(kp=20000.0, kv=800.0, damping=0.0, frictionloss=0.0, armature=8.0, force_limit=400.0)
"""Of the pusher's slides, in [N/m], [N s/m], [kg] and [N]: geared axes, critically damped, which smooth the steps of
the command and run 0.04 s behind it. A sliding box weighs on them with 0.3 N: 0.015 mm."""
