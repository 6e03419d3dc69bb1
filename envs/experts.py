"""Scripted demonstrators: stateless feedback laws over `Observation`, used for data and as the oracle of every task.

Each is a `Policy`: it sees no simulator internals, so the same code drives the real arm. Measured success is printed by
`embodied bench experts`; the workspace and pad facts they rest on are in `envs/kinematics.py`.
"""

from dataclasses import dataclass, field, replace
from importlib import import_module

import numpy as np

from envs.control import CartesianDelta
from envs.detour import over_obstacles
from envs.episode import Policy
from envs.errors import unknown
from envs.geometry import quat_rotate, yaw_of
from envs.goals import Goal
from envs.hand import Hand
from envs.kinematics import SO101, Arm
from envs.robot import default_control
from envs.suite import NAMES
from envs.types import Array, Kind, Observation

OPEN = 0.55
"""[rad] Pads 46 mm apart: room around a 28 mm cube, and the pads still face each other."""
CLOSED = 0.15
"""[rad] Commanded while holding; a 28 mm cube stops the jaw at about 0.31 rad."""
HELD_BELOW = 0.42
"""[rad] A jaw closed further than this with a cube between the pads holds it."""
HOVER = 0.045
"""[m] height of the tool above a cube before descending."""
SIDE = 0.006
"""[m] the fixed pad comes down this far beside the cube's face; closing drags the cube onto it."""
CARRY = 0.025
"""[m] a cube travels this far above where it will be put, so that it neither drags nor tips."""
RETREAT = 0.06
"""[m] how far above a cube the tool withdraws after letting go."""
RIM = 0.035
"""[m] extra height over a bin's walls."""


@dataclass
class PickAndPlace:
    """Picks the subject up and puts it at the goal entity, on it if that is another object; or holds it up."""

    subject: str = "red_cube"
    goal_entity: str | None = "target"
    lift_height: float = 0.06
    """[m] where the cube is held when there is no goal entity."""
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """[m] of where it is put from the goal entity, along world axes."""
    release: bool = True
    """Whether it lets go there; else it holds on."""
    grip: float = 0.0
    """[m] how far above its centre the subject is held: jaws that reach below it strike what it is put on."""
    control: CartesianDelta = field(default_factory=CartesianDelta)

    def reset(self) -> None:
        """Nothing to forget: the law is stateless."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B 5]`."""
        scene = View.of(observation, self.subject, self.control.arm)
        aim, rim = self.aim(observation, scene)
        to = np.where(scene.held[..., None], aim, scene.cube)
        return over_obstacles(observation, self.law(scene, aim, rim), to, self.control)

    def aim(self, observation: Observation, scene: "View") -> tuple[Array, Array]:
        """Where the subject's centre goes `[*B 3]`, and how far above that it travels `[*B]`, beyond `CARRY` [m]."""
        if self.goal_entity is None:
            aim = scene.cube + 0.0
            aim[..., 2] = self.lift_height
            rim = np.zeros(scene.cube.shape[:-1])
        else:
            where = observation.objects.index(self.goal_entity)
            aim = np.array(observation.objects.position_in_world[..., where, :])
            is_bin = observation.objects.kind[where] == Kind.BIN
            rim = np.full(scene.cube.shape[:-1], RIM if is_bin else 0.0)
            if any(self.offset):
                aim += self.offset
            if is_bin:
                aim[..., 2] = scene.cube_half
            elif observation.objects.kind[where] == Kind.BOX:
                aim[..., 2] += observation.objects.half_extents[..., where, 2] + scene.cube_half
        return aim, rim

    def law(self, scene: "View", aim: Array, rim: Array) -> Array:
        """Actions `[*B 5]` that bring what the view is of to `aim`."""
        to_aim = aim - scene.cube
        flat_error = np.linalg.norm(to_aim[..., :2], axis=-1)
        placing = self.goal_entity is not None
        # Letting go may shift the cube by some millimetres: it counts as placed unless that took it out of tolerance.
        close_enough = np.where(scene.held, 0.014, 0.018) + rim * 0.4
        arrived = placing & self.release & (flat_error < close_enough) & (to_aim[..., 2] > -0.008 - rim)

        # Approach: beside the cube along the jaws' closing direction, aligned to its nearest face.
        side = quat_rotate(scene.gripper_quaternion, np.broadcast_to(np.array([1.0, 0.0, 0.0]), scene.cube.shape))
        beside = scene.cube - SIDE * side * np.array([1.0, 1.0, 0.0])
        beside[..., 2] += self.grip
        turn = scene.yaw_error
        reach = beside - scene.command
        beside_error = np.linalg.norm((beside - scene.tool)[..., :2], axis=-1)
        # Down a funnel, not a staircase: who imitates the law should not have to find its edges.
        astray = np.maximum((beside_error - 0.003) / 0.012, (np.abs(turn) - 0.1) / 0.2)
        reach[..., 2] += HOVER * np.clip(astray, 0.0, 1.0) + np.where(beside_error > 0.02, rim, 0.0)
        gripper = np.where(scene.inside, CLOSED, OPEN)
        reach = np.where((scene.inside & ~scene.held)[..., None], 0.0, reach)

        # Carry: high above the table, lower towards the aim, then let go.
        lift = CARRY * np.clip((flat_error - 0.004) / 0.03, 0.0, 1.0) + rim
        carry = 0.7 * to_aim
        carry[..., 2] = to_aim[..., 2] + (lift if placing else 0.0)
        low = placing & (scene.cube[..., 2] < scene.cube_half + 0.012) & (flat_error > 0.03)
        carry[..., :2] = np.where(low[..., None], 0.0, carry[..., :2])
        move = np.where(scene.held[..., None], carry, reach)
        turn = np.where(scene.held, 0.0, turn)
        gripper = np.where(scene.held, CLOSED, gripper)

        # Done: open where we are, then rise.
        release = arrived & scene.inside
        opened = (scene.gripper > HELD_BELOW) & (scene.tool[..., 2] < scene.cube[..., 2] + RETREAT)
        away = beside - scene.command
        # By the command: a tool that something blocks on its way beside would wait there for good.
        clear = np.linalg.norm(away[..., :2], axis=-1) < 0.004
        away[..., 2] = np.where(opened & clear, 0.03, 0.0)
        move = np.where(arrived[..., None], away, move)
        turn = np.where(arrived, 0.0, turn)
        gripper = np.where(arrived | release, OPEN, gripper)
        return cartesian_action(self.control, move, turn, gripper)


@dataclass
class Reach:
    """Moves the tool to the target."""

    control: CartesianDelta = field(default_factory=CartesianDelta)

    def reset(self) -> None:
        """Nothing to forget: the law is stateless."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B 5]`."""
        tool = Hand.of(observation, self.control.arm).command
        actual = observation.objects.position_in_world[..., observation.objects.index("gripper"), :]
        target = observation.objects.position_in_world[..., observation.objects.index("target"), :]
        # The servos droop under the arm's weight: aim past the target by what the tool lacks now.
        move = (target - tool.position) + 0.5 * (tool.position - actual)
        shape = move.shape[:-1]
        action = cartesian_action(self.control, move, np.zeros(shape), np.full(shape, OPEN))
        return over_obstacles(observation, action, target, self.control)


@dataclass
class Push:
    """Pushes the subject over the table to the target with closed jaws."""

    subject: str = "red_cube"
    control: CartesianDelta = field(default_factory=CartesianDelta)

    def reset(self) -> None:
        """Nothing to forget: the law is stateless."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B 5]`."""
        scene = View.of(observation, self.subject, self.control.arm)
        target = observation.objects.position_in_world[..., observation.objects.index("target"), :]
        # Closed, the pads meet beside the tool centre point: what pushes is between them.
        jaws = [observation.objects.index(name) for name in ("fixed_jaw", "moving_jaw")]
        pusher = np.mean(observation.objects.position_in_world[..., jaws, :2], axis=-2)
        command = scene.command[..., :2] + (pusher - scene.tool[..., :2])
        gap = (target - scene.cube)[..., :2]
        distance = np.linalg.norm(gap, axis=-1, keepdims=True)
        heading = gap / np.maximum(distance, 1e-6)
        offset = pusher - scene.cube[..., :2]
        along = np.sum(offset * heading, axis=-1, keepdims=True)
        lateral = np.linalg.norm(offset - along * heading, axis=-1)
        behind = (along[..., 0] < -0.012) & (lateral < 0.012)
        done = distance[..., 0] < 0.012

        start = scene.cube[..., :2] - 0.045 * heading
        travel = np.linalg.norm(start - pusher, axis=-1)
        # By the command, too: a tool that a soft arm flings up for a moment is still on its way along the table.
        low = (scene.tool[..., 2] < 0.035) | (scene.command[..., 2] < 0.02)
        pushing = behind & low
        ahead = along + np.minimum(distance + 0.004, 0.025)
        xy = np.where(pushing[..., None], scene.cube[..., :2] + ahead * heading, start)
        lift = ~pushing & low & (travel >= 0.012)
        xy = np.where(lift[..., None], command, xy)
        z = np.where(pushing | ((travel < 0.012) & ~lift), 0.014, 0.08)
        move = np.concatenate([xy - command, (z - scene.command[..., 2])[..., None]], axis=-1)
        move = np.where(done[..., None], np.array([0.0, 0.0, 0.03]) * low[..., None], move)
        shape = done.shape
        return cartesian_action(self.control, move, np.zeros(shape), np.full(shape, 0.0))


@dataclass(frozen=True)
class View:
    """What the laws look at, for one subject; arrays `[*B ...]`."""

    command: Array
    tool: Array
    gripper_quaternion: Array
    gripper: Array
    cube: Array
    cube_half: Array
    yaw_error: Array
    inside: Array
    held: Array

    @classmethod
    def of(cls, observation: Observation, subject: str, arm: Arm = SO101) -> "View":
        """The view of a cube or the like, whose faces are all as good to grip."""
        objects = observation.objects
        hand, cube = Hand.of(observation, arm), objects.index(subject)
        position = np.asarray(objects.position_in_world, dtype=np.float64)
        quaternion = np.asarray(objects.quaternion_in_world, dtype=np.float64)
        inside = hand.around(position[..., cube, :], (0.016, 0.014, 0.014))
        error = yaw_of(quaternion[..., cube, :]) - hand.command.yaw
        folded = np.remainder(error + np.pi / 4, np.pi / 2) - np.pi / 4
        return cls(
            command=np.asarray(hand.command.position),
            tool=hand.tool,
            gripper_quaternion=hand.quaternion,
            gripper=hand.opening,
            cube=position[..., cube, :],
            cube_half=np.asarray(objects.half_extents[..., cube, 2], dtype=np.float64),
            yaw_error=folded,
            inside=inside,
            held=inside & hand.gripping(HELD_BELOW),
        )


def cartesian_action(control: CartesianDelta, move: Array, turn: Array, gripper: Array) -> Array:
    """Actions `[*B 5]` for a displacement `[*B 3]` [m], a turn and an opening of the jaws `[*B]` [rad]."""
    low, high = control.opening
    return np.concatenate(
        [
            np.clip(move / control.step, -1.0, 1.0),
            np.clip(turn / control.turn, -1.0, 1.0)[..., None],
            (2.0 * (gripper - low) / (high - low) - 1.0)[..., None],
        ],
        axis=-1,
    )


def expert(task: str, robot: str = "so101") -> Policy:
    """The scripted demonstrator of a task, for another robot than its own if told so.

    Raises `EmbodiedError` for a task that has none.
    """
    law = _law(task)
    if robot in ("so101", "two_so101"):
        return law
    return replace(law, control=default_control(robot))  # type: ignore[type-var]


def _law(task: str) -> Policy:
    if task in NAMES:
        made: Policy = import_module(f"envs.suite.{task}").expert()
        return made
    makers: dict[str, Policy] = {
        "reach": Reach(),
        "push": Push(),
        "lift": PickAndPlace(goal_entity=None),
        "place": PickAndPlace(),
        "place_air": PickAndPlace(release=False),
        "place_bin": PickAndPlace(goal_entity="bin"),
        "place_clutter": PickAndPlace(),
        "stack": PickAndPlace(goal_entity="blue_cube", grip=0.006),
    }
    if task not in makers:
        raise unknown("task", task, [*makers, *NAMES])
    return makers[task]
