"""The world model: a C-JEPA encoder of history and plan, and a contact model that moves the objects in small steps.

The encoder runs once per chunk of `future` control steps; what it says about every entity at every coming step enters
the contact model as an embedding. A control step is gone through in `parts`, as the robot's driver ramps its command:
within one, a jaw strikes, a cube turns and comes free, and small steps of that are nearly linear. The commands of a
plan are known exactly beforehand (controllers are open loop), so the joints are predicted from their targets and the
solids that they carry follow by forward kinematics.
"""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from world_models.cjepa import contact_fast
from world_models.cjepa.contact import ContactModel
from world_models.cjepa.context import Context, ContextEncoder
from world_models.cjepa.masking import Mask
from world_models.embodiment import embodiment
from world_models.embodiment.joints import Joints
from world_models.slots.bodies import Bodies, labels_of
from world_models.slots.slots import encode

PERIOD = 0.1
"""[s] a control step."""


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the model and its ablations."""

    robot: str = "so101"
    """Whose solids move among the objects, see `EMBODIMENTS`."""
    parts: int = 5
    """Small steps in a control step."""
    history: int = 3
    """Frames it sees, at least 2, a control step apart."""
    future: int = 3
    """Control steps the encoder looks ahead at once."""
    width: int = 32
    """Of the encoder's tokens."""
    layers: int = 1
    """Of the encoder; 0 leaves it out (the contact model alone)."""
    heads: int = 4
    reach: float = 0.10
    """[m] entities further apart do not attend to one another."""
    embedding: int = 48
    """Of an object in the contact model."""
    hidden: int = 64
    """Of its MLPs."""
    rounds: int = 2
    """Of contact messages per small step: the longest chain within one."""
    between_bodies: bool = True
    """False is the no-interaction ablation: objects feel the robot and not each other."""
    mask: Mask = "object"
    """What the encoder is trained to fill in."""
    mask_budget: float = 0.34
    """Largest share of a history that is hidden in training."""


@dataclass(frozen=True)
class History:
    """The last T frames of B scenes and where the robot is."""

    bodies: Bodies
    """`[B T N ...]`."""
    proprioception: Float[Tensor, "B T P"]
    """Layout of `Observation.proprioception`."""


@dataclass(frozen=True)
class Prediction:
    """F steps ahead of the last frame."""

    bodies: Bodies
    """`[B F N ...]`."""
    proprioception: Float[Tensor, "B F P"]
    context: Context | None = None


class WorldModel(nn.Module):
    """One member of the ensemble."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        period = PERIOD / config.parts
        self.robot = embodiment(config.robot, period)
        self.encoder = (
            ContextEncoder(
                config.width, config.layers, config.heads, config.history, config.future, config.reach,
                self.robot.joints,
            )
            if config.layers
            else None
        )  # fmt: skip
        context = config.width if config.layers else 0
        self.contact = ContactModel(period, self.robot.solids, context, config.embedding, config.hidden, config.rounds)

    def forward(self, history: History, targets: Float[Tensor, "B F J"]) -> Prediction:
        """Up to `config.future` control steps under `targets`, seen at their ends.

        Body axes are as given; call `canonical` on the history first.

        Args:
            history: exactly `config.history` frames.
            targets: the command that is reached at the end of each control step [rad] or [m].
        """
        bodies, joints = history.bodies[:, -1], Joints.of(history.proprioception[:, -1])
        context = self.context(history, targets)
        said = None if context is None else context.embedding
        parts = self.config.parts
        commands = ramped(joints.target, targets, parts).flatten(1, 2).unbind(1)
        arms, moved = [joints.proprioception], []
        for step, command in enumerate(commands):
            joints = self.robot(joints, command, self.robot.feel(joints, command, bodies))
            arms.append(joints.proprioception)
            if self.robot.feels:
                # What the servos feel depends on where the objects have come to: step by step.
                now = None if said is None else said[:, step // parts, None]
                bodies = self.follow(bodies, torch.stack(arms[-2:], 1), now)[:, 0]
                moved.append(bodies)
        arm = torch.stack(arms, 1)
        path = stacked(moved) if moved else self.follow(bodies, arm, said)
        return Prediction(path[:, parts - 1 :: parts], arm[:, parts::parts], context)

    def follow(
        self, bodies: Bodies, proprioception: Float[Tensor, "B K1 P"], said: Float[Tensor, "B F N W"] | None
    ) -> Bodies:
        """The objects `[B K N ...]` in K small steps of a robot that moves as told.

        Args:
            bodies: `[B N ...]` at first.
            proprioception: K + 1 states of the robot, the first as the objects are at first. No gradient reaches it.
            said: by the encoder about the F control steps that the K steps are parts of.
        """
        config = self.config
        with torch.no_grad():
            effectors = self.robot.effector(Joints.of(proprioception))
        if self.compiled(bodies.position):
            return contact_fast.follow(
                self.contact, bodies, effectors, said, config.parts, between_bodies=config.between_bodies
            )
        moved = []
        for step in range(proprioception.shape[1] - 1):
            now = None if said is None else said[:, step // config.parts]
            bodies = self.contact(
                bodies, effectors[:, step], effectors[:, step + 1], now,
                between_bodies=config.between_bodies, sparse=False,
            )  # fmt: skip
            moved.append(bodies)
        return stacked(moved)

    @staticmethod
    def compiled(where: Tensor) -> bool:
        """Whether objects are moved by compiled code: on a CPU. It cannot be traced, nor mapped over members."""
        return where.device.type == "cpu"

    def roll_robot(
        self, seen: Float[Tensor, "B K P"], targets: Float[Tensor, "B K J"], bodies: Bodies
    ) -> Float[Tensor, "B K P"]:
        """The robot alone in K small steps under `targets`, open loop from the first frame of `seen`; for training.

        What its servos feel is taken from the robot as `seen` at the beginning of each step and objects `[B K N ...]`
        at that time, so that it can be computed for all steps at once.
        """
        messages = self.robot.feel(Joints.of(seen), targets, bodies)
        joints = Joints.of(seen[:, 0])
        arms = []
        for step in range(targets.shape[1]):
            joints = self.robot(joints, targets[:, step], None if messages is None else messages[:, step])
            arms.append(joints.proprioception)
        return torch.stack(arms, 1)

    def context(
        self, history: History, targets: Float[Tensor, "B F J"], hidden: Bool[Tensor, "B T N"] | None = None
    ) -> Context | None:
        """What the encoder says; history tokens `hidden` from it in training."""
        if self.encoder is None:
            return None
        bodies = history.bodies
        if hidden is None:
            hidden = torch.zeros(bodies.present.shape, dtype=torch.bool, device=targets.device)
        with torch.no_grad():
            robot, command = self._robot_tokens(history.proprioception, targets)
        context: Context = self.encoder(
            encode(bodies), bodies.position[:, -1], bodies.present[:, -1], robot, command, hidden
        )
        return context

    def _robot_tokens(self, proprioception: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What the robot and command tokens hold; commands stand at the step whose motion they cause."""
        joints, robot = Joints.of(proprioception), self.robot
        commands = torch.cat([joints.target, targets], 1)
        previous = torch.cat([commands[:, :1], commands[:, :-1]], 1)
        lead = robot.gain * (joints.target - joints.position)
        state = torch.cat([joints.position, joints.velocity / robot.rates, robot.pose(joints.position), lead], -1)
        return state, torch.cat([robot.pose(commands), robot.gain * (commands - previous)], -1)


def ramped(before: Float[Tensor, "B J"], targets: Float[Tensor, "B F J"], parts: int) -> Float[Tensor, "B F S J"]:
    """The command in each part of each control step: a straight way from one target to the next."""
    start = torch.cat([before[:, None], targets[:, :-1]], 1)[:, :, None]
    share = torch.arange(1, parts + 1, device=targets.device, dtype=targets.dtype)[:, None] / parts
    return start + share * (targets[:, :, None] - start)


def canonical(history: History) -> tuple[History, Float[Tensor, "B N 3 3"]]:
    """The history with body axes relabelled by the last frame's orientation, and the labels to undo it."""
    axes = labels_of(history.bodies[:, -1])
    return replace(history, bodies=history.bodies.relabelled(axes[:, None])), axes


def stacked(steps: list[Bodies]) -> Bodies:
    """Objects `[B N ...]` at several instants as `[B F N ...]`."""
    return Bodies(**{f.name: torch.stack([getattr(step, f.name) for step in steps], 1) for f in fields(Bodies)})
