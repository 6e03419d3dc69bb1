"""`--policy.type=embodied`: settings of our actor in LeRobot's commands. `embodied export` writes them for a run."""

from dataclasses import dataclass, field
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import NormalizationMode
from lerobot.optim.optimizers import AdamConfig, OptimizerConfig
from lerobot.utils.constants import ACTION

from envs.errors import EmbodiedError
from robots.units import JOINTS


@PreTrainedConfig.register_subclass("embodied")
@dataclass
class EmbodiedConfig(PreTrainedConfig):
    """What the actor is to do, in what actions, and of what size it is."""

    task: str = "place"
    """A name from `envs.tasks.TASKS`: which entities there are."""
    goal: str | None = None
    """A goal as text in place of the task's own."""
    action: str = "cartesian_delta"
    """A name from `envs.control.CONTROLLERS`: what the network's actions mean. LeRobot gets joint positions."""
    rate: float = 10.0
    """Decisions per second [Hz]: `--fps` of `lerobot-rollout`."""
    distractors: list[str] = field(default_factory=list)
    """The other objects that it was trained to see."""
    width: int = 128
    """Units in each of two hidden layers."""
    twin: str | None = None
    """Folder of a running `embodied twin` that tells where objects are, for robots that do not see them."""
    learning_rate: float = 1e-4
    """Of Adam, in `lerobot-train`."""
    normalization_mapping: dict[str, NormalizationMode] = field(default_factory=dict)
    """Nothing is normalised: the network's features are scaled already. LeRobot wants to be told."""
    push_to_hub: bool = False

    def get_optimizer_preset(self) -> OptimizerConfig:
        """Adam, as the actor was trained with, slower: this is fine-tuning."""
        return AdamConfig(lr=self.learning_rate, weight_decay=0.0, grad_clip_norm=10.0)

    def get_scheduler_preset(self) -> None:
        """None."""

    def validate_features(self) -> None:
        """Raise `EmbodiedError` where actions are anything but an SO-101's joint positions."""
        wanted = (self.output_features or {}).get(ACTION)
        if wanted is not None and tuple(wanted.shape) != (len(JOINTS),):
            raise EmbodiedError(
                f"Actions have shape {tuple(wanted.shape)}; this policy commands {', '.join(JOINTS)} of an SO-101."
            )

    @property
    def observation_delta_indices(self) -> Any:
        """The present alone."""
        return None

    @property
    def action_delta_indices(self) -> Any:
        """The present alone."""
        return None

    @property
    def reward_delta_indices(self) -> Any:
        """The present alone."""
        return None
