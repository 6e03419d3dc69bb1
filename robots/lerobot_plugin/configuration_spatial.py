"""`--reward_model.type=spatial`: settings of the spatial reward model in LeRobot's commands."""

from dataclasses import dataclass, field

from lerobot.configs.rewards import RewardModelConfig
from lerobot.optim.optimizers import AdamWConfig, OptimizerConfig


@RewardModelConfig.register_subclass("spatial")
@dataclass
class SpatialConfig(RewardModelConfig):
    """Which goal is judged, by which network."""

    goal: str | None = None
    """A goal as text, `on(red_cube, bin) & released(red_cube)`; None reads each frame's `task` as one."""
    network: str | None = None
    """File of weights that `embodied reward` saved (`reward.safetensors`); None starts with random ones."""
    entities: list[str] = field(default_factory=list)
    """Who is in `observation.environment_state`; read from the data set."""
    members: int = 5
    width: int = 64
    pessimism: float = 1.0
    """Standard deviations over members by which progress and success are lowered."""
    learning_rate: float = 1e-4
    """Of AdamW."""

    def get_optimizer_preset(self) -> OptimizerConfig:
        """AdamW as `embodied reward` uses it, slower: this is fine-tuning."""
        return AdamWConfig(lr=self.learning_rate, weight_decay=1e-4, grad_clip_norm=5.0)
