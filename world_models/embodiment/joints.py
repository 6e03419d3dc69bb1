"""What every embodiment has: joints that follow commands, and solids that push and feel nothing."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.errors import EmbodiedError
from envs.types import Array
from world_models.slots.bodies import Bodies


@dataclass(frozen=True)
class Joints:
    """A robot's state; J joints."""

    position: Float[Tensor, "*B J"]
    """[rad] or, of a slide, [m]."""
    velocity: Float[Tensor, "*B J"]
    """[rad/s] or [m/s]."""
    target: Float[Tensor, "*B J"]
    """Last command, like the position."""

    @classmethod
    def of(cls, proprioception: Float[Tensor, "*B P"]) -> "Joints":
        """Split `Observation.proprioception`: P = 3 J."""
        return cls(*proprioception.unflatten(-1, (3, -1)).unbind(-2))

    @property
    def proprioception(self) -> Float[Tensor, "*B P"]:
        """The layout of `Observation.proprioception`."""
        return torch.cat([self.position, self.velocity, self.target], -1)


@dataclass(frozen=True)
class Effector:
    """The S solids of a robot that can touch things, at one instant."""

    position: Float[Tensor, "*B S 3"]
    """In the world [m]."""
    rotation: Float[Tensor, "*B S 3 3"]
    half: Float[Tensor, "*B S 3"]
    """Half sides of the box at the core [m], see `Bodies.core`."""
    radius: Float[Tensor, "*B S"]
    """Around the core [m]."""
    linear_velocity: Float[Tensor, "*B S 3"]
    """[m/s] of the solids' centres."""

    def __getitem__(self, key: Any) -> "Effector":
        """Index the leading dimensions."""
        return Effector(**{f.name: getattr(self, f.name)[key] for f in fields(self)})


@dataclass(frozen=True)
class Heard:
    """What the objects near the robots of some scenes tell their servos; numpy."""

    scene: Array
    """`[R]` of each row, in order."""
    nearness: Array
    """`[R]` 0..1, the weight of what is said."""
    inputs: Array
    """`[R I]` of `Embodiment.listener`."""


class Embodiment(nn.Module, ABC):
    """How joints follow commands, learned; and where the solids they carry are, known.

    A linear path carries the servo's own law. Both last layers start at zero, so that an untrained model says the
    joints stay where they are.
    """

    name: ClassVar[str]
    """As in `SceneConfig.robot`."""
    joints: ClassVar[int]
    """J."""
    solids: ClassVar[int]
    """S."""
    rates: ClassVar[float]
    """[rad/s] or [m/s] one unit of joint velocity in the network."""
    gain: ClassVar[float]
    """Units of the network per rad or m that a command leads the joints."""
    tolerance: ClassVar[float]
    """[rad] or [m] one unit of error in the loss."""
    mirror: ClassVar[tuple[float, ...] | None] = None
    """Signs `[J]` of the joints in a world reflected in y; None for a robot that is not its own mirror image."""
    feels: ClassVar[bool] = False
    """Whether objects matter to its servos, see `feel`."""
    entities: ClassVar[tuple[str, ...]]
    """The E entities that follow the joints."""

    def __init__(self, period: float, width: int, message: int = 0) -> None:
        super().__init__()
        self.period = period
        size = 4 * self.joints
        self.linear = nn.Linear(size, 2 * self.joints)
        last = nn.Linear(width, 2 * self.joints)
        self.mlp = nn.Sequential(nn.Linear(size + message, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last)
        for layer in (self.linear, last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, joints: Joints, target: Float[Tensor, "B J"], message: Float[Tensor, "B M"] | None = None
    ) -> Joints:
        """The joints one period later under a command; `message` is from `feel`."""
        lead, led = target - joints.position, joints.target - joints.position
        inputs = torch.cat([joints.position, joints.velocity / self.rates, self.gain * lead, self.gain * led], -1)
        felt = inputs if message is None else torch.cat([inputs, message], -1)
        moved, faster = (self.linear(inputs) + self.mlp(felt)).chunk(2, -1)
        scale = self.rates / 3.0
        return Joints(joints.position + self.period * scale * moved, joints.velocity + scale * faster, target)

    def feel(self, joints: Joints, target: Float[Tensor, "*B J"], bodies: Bodies) -> Float[Tensor, "*B M"] | None:
        """What the objects near the robot tell its servos; None where they do not matter."""
        return None

    @abstractmethod
    def effector(self, joints: Joints) -> Effector:
        """Forward kinematics."""

    @staticmethod
    @abstractmethod
    def places(position: Float[Tensor, "*B J"]) -> tuple[Float[Tensor, "*B E 3"], Float[Tensor, "*B E 4"]]:
        """Where `entities` are at joints: positions [m] and quaternions."""

    @abstractmethod
    def pose(self, position: Float[Tensor, "*B J"]) -> Float[Tensor, "*B 7"]:
        """The tool's place [m] and orientation at joints, scaled to about one: what tokens of the encoder hold."""

    @staticmethod
    @abstractmethod
    def lay_out(position: Array, velocity: Array, pose: Array, speed: Array, tool: Array) -> None:
        """The compiled twin of `effector`: numpy float32 `[R ...]` in and out.

        Fills the solids' poses `[R S 12]` (position, rotation row by row), their centres' velocities `[R S 3]`, and the
        pose `[R 12]` of the tool that `overhear` listens at.
        """

    @staticmethod
    @abstractmethod
    def entity_poses(position: Array) -> Array:
        """The compiled twin of `places`: poses `[*B E 12]`, float64."""

    @staticmethod
    def overhear(tool: Array, position: Array, command: Array, state: Array, fixed: Array) -> Heard | None:
        """The compiled first half of `feel`, for objects `[R N 18]` as rows; None where objects do not matter."""
        return None

    @property
    def listener(self) -> nn.Sequential:
        """The learned second half of `feel`, from `Heard.inputs` to what is weighted and summed per scene."""
        raise EmbodiedError(f"A {self.name} does not feel what it touches.")
