"""The servo behind each joint: a position controller with limited torque, as a named set of parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco


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
    delay: int = 0
    """Physics steps from command to servo (bus and driver)."""
    memory: int = 0
    """Physics steps for which commands are remembered at least: the longest delay that a world can be given."""

    def apply(self, spec: mujoco.MjSpec, joints: Sequence[str], timestep: float) -> None:
        """Set the passive parameters of `joints` and add one actuator each, of the same name; `gripper` is the last."""
        for name in joints:
            joint = spec.joint(name)
            joint.damping[0] = self.damping
            joint.frictionloss = self.frictionloss
            joint.armature = self.armature
            limit = self.gripper_force_limit if name == "gripper" else self.force_limit
            actuator = spec.add_actuator(
                name=name,
                target=name,
                trntype=mujoco.mjtTrn.mjTRN_JOINT,
                ctrlrange=joint.range,
                forcerange=(-limit, limit),
            )
            actuator.set_to_position(kp=self.kp, kv=self.kv)
            if memory := max(self.delay, self.memory):
                actuator.delay = self.delay * timestep
                actuator.nsample = memory + 1


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
