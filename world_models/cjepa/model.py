"""The world model: a C-JEPA encoder of history and plan, and a contact model that moves the boxes step by step.

The encoder runs once per chunk of `future` steps; what it says about every entity at every coming step enters the
contact model as an embedding. The commands of a plan are known exactly beforehand (controllers are open loop), so the
arm is predicted from joint targets and the hand's boxes follow by forward kinematics.
"""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from envs.kinematics import body_poses
from world_models.cjepa.contact import ContactModel
from world_models.cjepa.context import Context, ContextEncoder
from world_models.cjepa.hand import GRIPPER, Hand, Joints, ServoModel, hand_of
from world_models.cjepa.masking import Mask
from world_models.slots.bodies import Bodies, nearest_labels
from world_models.slots.slots import encode


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the model and its ablations."""

    history: int = 3
    """Frames it sees, at least 2."""
    future: int = 5
    """Steps the encoder looks ahead at once."""
    width: int = 32
    """Of the encoder's tokens."""
    layers: int = 1
    """Of the encoder; 0 leaves it out (the contact model alone)."""
    heads: int = 4
    reach: float = 0.10
    """[m] entities further apart do not attend to one another."""
    embedding: int = 48
    """Of a box in the contact model."""
    hidden: int = 64
    """Of its MLPs."""
    rounds: int = 2
    """Of contact messages per step: the longest chain within one."""
    between_bodies: bool = True
    """False is the no-interaction ablation: boxes feel the hand and not each other."""
    mask: Mask = "object"
    """What the encoder is trained to fill in."""
    mask_budget: float = 0.34
    """Largest share of a history that is hidden in training."""


@dataclass(frozen=True)
class History:
    """The last T frames of B scenes and where the arm is."""

    bodies: Bodies
    """`[B T N ...]`."""
    proprioception: Float[Tensor, "B T P"]
    """Layout of `Observation.proprioception`."""

    @property
    def joints(self) -> Joints:
        """The arm in every frame."""
        return Joints.of(self.proprioception)


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
        self.encoder = (
            ContextEncoder(config.width, config.layers, config.heads, config.history, config.future, config.reach)
            if config.layers
            else None
        )
        context = config.width if config.layers else 0
        self.contact = ContactModel(context, config.embedding, config.hidden, config.rounds)
        self.servo = ServoModel()

    def forward(
        self,
        history: History,
        targets: Float[Tensor, "B F 6"],
        hidden: Bool[Tensor, "B T N"] | None = None,
        teacher: Float[Tensor, "B F P"] | None = None,
    ) -> Prediction:
        """Up to `config.future` steps under joint `targets` [rad].

        Body axes are as given; call `canonical` on the history first.

        Args:
            history: exactly `config.history` frames.
            targets: the command that is followed in each step.
            hidden: history tokens hidden from the encoder (training).
            teacher: arm that the boxes meet, instead of the predicted one (training: all at once, no gradient).
        """
        bodies, before = history.bodies[:, -1], history.bodies[:, -2]
        context = self._context(history, targets, hidden)
        joints = Joints.of(history.proprioception[:, -1])
        if teacher is not None:
            return self._taught(history, teacher, context)
        hand = hand_of(joints)
        moved, arms = [], []
        for step in range(targets.shape[1]):
            joints = self._servo_step(joints, targets[:, step], hand, bodies)
            hand_after = hand_of(joints)
            embedding = context.embedding[:, step] if context is not None else None
            after = self.contact(
                bodies, before, hand, hand_after, embedding,
                between_bodies=self.config.between_bodies, sparse=bodies.position.device.type == "cpu",
            )  # fmt: skip
            before, bodies, hand = bodies, after, hand_after
            moved.append(bodies)
            arms.append(joints.proprioception)
        return Prediction(_stack(moved), torch.stack(arms, 1), context)

    def roll_arm(
        self, seen: Float[Tensor, "B F P"], targets: Float[Tensor, "B F 6"], bodies: Bodies
    ) -> Float[Tensor, "B F P"]:
        """The arm alone under joint targets, open loop from the first frame of `seen`; for training.

        What the gripper feels is taken from the arm as `seen` at the beginning of each step and boxes `[B F N ...]` at
        that time, so that it can be computed for all steps at once.
        """
        with torch.no_grad(), torch.autocast(seen.device.type, enabled=False):
            truth = Joints.of(seen)
            hand = hand_of(truth)
            gripper = torch.stack([truth.position[..., GRIPPER], targets[..., GRIPPER]], -1)
        messages = self.servo.feel(hand, bodies, gripper)
        joints = Joints.of(seen[:, 0])
        arms = []
        for step in range(targets.shape[1]):
            joints = self.servo(joints, targets[:, step], messages[:, step])
            arms.append(joints.proprioception)
        return torch.stack(arms, 1)

    def _servo_step(self, joints: Joints, target: Tensor, hand: Hand, bodies: Bodies) -> Joints:
        gripper = torch.stack([joints.position[:, GRIPPER], target[:, GRIPPER]], -1)
        message = self.servo.feel(hand, bodies, gripper)
        after: Joints = self.servo(joints, target, message)
        return after

    def _taught(self, history: History, teacher: Tensor, context: Context | None) -> Prediction:
        joints = torch.cat([history.proprioception[:, -1:], teacher], 1)
        with torch.no_grad():
            hands = hand_of(Joints.of(joints))
        bodies, before = history.bodies[:, -1], history.bodies[:, -2]
        moved = []
        for step in range(teacher.shape[1]):
            embedding = context.embedding[:, step] if context is not None else None
            after = self.contact(
                bodies, before, _at(hands, step), _at(hands, step + 1), embedding,
                between_bodies=self.config.between_bodies, sparse=bodies.position.device.type == "cpu",
            )  # fmt: skip
            before, bodies = bodies, after
            moved.append(bodies)
        return Prediction(_stack(moved), teacher, context)

    def _context(self, history: History, targets: Tensor, hidden: Tensor | None) -> Context | None:
        if self.encoder is None:
            return None
        bodies = history.bodies
        if hidden is None:
            hidden = torch.zeros(bodies.present.shape, dtype=torch.bool, device=targets.device)
        with torch.no_grad():
            robot, command = _robot_tokens(history.proprioception, targets)
        context: Context = self.encoder(
            encode(bodies), bodies.position[:, -1], bodies.present[:, -1], robot, command, hidden
        )
        return context


def canonical(history: History) -> tuple[History, Float[Tensor, "B N 3 3"]]:
    """The history with body axes relabelled by the last frame's orientation, and the labels to undo it."""
    axes = nearest_labels(history.bodies.rotation[:, -1])
    return replace(history, bodies=history.bodies.relabelled(axes[:, None])), axes


def _robot_tokens(proprioception: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What the robot and command tokens hold; commands stand at the step whose motion they cause."""
    joints = Joints.of(proprioception)
    commands = torch.cat([joints.target, targets], 1)
    previous = torch.cat([commands[:, :1], commands[:, :-1]], 1)
    robot = torch.cat(
        [joints.position, joints.velocity / 3.0, _tool(joints.position), 10.0 * (joints.target - joints.position)], -1
    )
    return robot, torch.cat([_tool(commands), 10.0 * (commands - previous)], -1)


def _tool(joints: Float[Tensor, "*B 6"]) -> Float[Tensor, "*B 7"]:
    position, quaternion = body_poses(joints)
    centre = joints.new_tensor([0.24, 0.0, 0.05])
    return torch.cat([(position[..., 0, :] - centre) / 0.1, quaternion[..., 0, :]], -1)


def _at(hands: Hand, step: int) -> Hand:
    return Hand(**{f.name: getattr(hands, f.name)[:, step] for f in fields(Hand)})


def _stack(steps: list[Bodies]) -> Bodies:
    return Bodies(**{f.name: torch.stack([getattr(step, f.name) for step in steps], 1) for f in fields(Bodies)})
