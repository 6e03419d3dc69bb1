"""What happens in time: transitions, episodes, rollouts, and who chooses the actions of them.

Letters and units as in `envs.types`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from envs.goals import Goal
from envs.interventions import Intervention
from envs.types import Array, Observation


@dataclass(frozen=True)
class Transition:
    """One control step of `*B` worlds."""

    observation: Observation
    action: Array
    """`[*B A]`."""
    next_observation: Observation
    success: Array
    """`[*B]` bool, the goal holds in `next_observation`."""
    terminated: Array
    """`[*B]` bool."""
    truncated: Array
    """`[*B]` bool."""


OTHER = "other"
"""In an `Origin`: what has no name of its own."""


@dataclass(frozen=True)
class Origin:
    """Whence a simulated episode came: with its actions, all that is needed to live it again to the bit."""

    beginning: tuple[int, ...]
    """What seeded the world, as `TaskWorlds.reset` takes it."""
    control: str
    """What its actions meant: a name in `envs.control.CONTROLLERS`."""
    rate: float
    """Control steps per second [Hz]."""
    servo: str = "firm"
    """A name in `envs.servo.SERVOS`, or `own`: the robot's; or `OTHER`."""
    variation: str = ""
    """What its factors were drawn from, in the words of `envs.variation.Variation`."""
    factors: Mapping[str, Array] = field(default_factory=dict)
    """What was drawn, `[many numbers]` by name; a factor that is not there was nominal."""
    sensors: str = "exact"
    """A name in `envs.sensing.SENSORS`, or `OTHER`."""
    engine: str = "batch"
    """A name in `envs.engine.ENGINES`; of `warp`, the bits are those of its device."""


@dataclass(frozen=True)
class Episode:
    """One episode, time-major."""

    observation: Observation
    """Arrays `[T+1 ...]`."""
    action: Array
    """`[T A]`."""
    success: Array
    """`[T+1]` bool, the goal holds at that time."""
    goal: Goal
    seed: int
    task: str
    robot: str
    interventions: tuple[Intervention, ...] = ()
    """Interventions made, each at its own step."""
    simulator_state: Array | None = None
    """`[T+1 S]` float64 rows of exact simulator state, where the episode comes from a simulator."""
    versions: Mapping[str, str] = field(default_factory=dict)
    origin: Origin | None = None
    """Where the episode comes from a simulator that can begin it again."""

    @property
    def length(self) -> int:
        """T, the number of actions."""
        return int(self.action.shape[0])


@dataclass(frozen=True)
class Rollout:
    """What happened, or what a model says would happen, from one instant on."""

    source: Literal["simulator", "model", "robot"]
    observation: Observation
    """Arrays `[*B H+1 ...]`, the first entry is the start."""
    action: Array
    """`[*B H A]`."""
    reward: Array | None = None
    """`[*B H]`."""
    uncertainty: Array | None = None
    """`[*B H+1 K]` standard deviation of position over ensemble members [m]; zero for a simulator."""


@runtime_checkable
class Policy(Protocol):
    """Chooses actions from observations alone."""

    def reset(self) -> None:
        """Forget everything about past episodes."""
        ...

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B A]` for observations `[*B ...]`, within the bounds of the policy's `ActionSpec`."""
        ...
