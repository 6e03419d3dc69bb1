"""Our actor behind LeRobot's interface: joints and objects in, joint positions out."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import ACTION
from torch import Tensor, nn

from envs.control import controller
from envs.errors import EmbodiedError
from envs.features import DISTRACTOR_SIZE, GOAL_SIZE, OBSERVATION_SIZE, policy_input
from envs.scene import build_scene
from envs.tasks import task
from envs.types import PROPRIOCEPTION, Array, Observation
from robots.lerobot_plugin.configuration_embodied import EmbodiedConfig
from robots.lerobot_plugin.observations import STATE, UNITS, from_lerobot, joints
from robots.lerobot_plugin.states import KEY
from robots.perception.truth import TruthSenses
from robots.twin.process import tell

_TARGET = PROPRIOCEPTION["joint_target"]


class EmbodiedPolicy(PreTrainedPolicy):
    """An actor of `embodied train`. What LeRobot's robots do not tell it, it remembers: what it commanded last."""

    config_class = EmbodiedConfig
    name = "embodied"

    def __init__(self, config: EmbodiedConfig, **_: Any) -> None:
        """LeRobot gives statistics of data sets too, which are not used: features are in units already.

        Raises `EmbodiedError` for an unknown task, goal or action mode, and for actions of another robot.
        """
        super().__init__(config)
        config.validate_features()
        own = task(config.task).entities
        self._task = task(
            config.task, config.goal, distractors=[name for name in config.distractors if name not in own]
        )
        self._entities = build_scene(self._task.scene).names
        self._control = controller(config.action, config.rate)
        self._distractors = tuple(config.distractors)
        size = OBSERVATION_SIZE + DISTRACTOR_SIZE * len(self._distractors) + GOAL_SIZE
        sizes = (size, config.width, config.width, self._control.spec.size)
        first, second, last = (nn.Linear(a, b) for a, b in pairwise(sizes))
        self.network = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last, nn.Tanh())
        self._truth: TruthSenses | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the last command, at the beginning of an episode."""
        self._position: Array | None = None
        self._command: Array | None = None

    def get_optim_params(self) -> Any:
        """All of them."""
        return self.parameters()

    def select_action(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """Joint positions `[B 6]` in LeRobot's units.

        Raises `EmbodiedError` for a batch without joints or without objects (unless a twin tells of them), and where
        the network's output is not finite.
        """
        observation = self._observed(batch)
        action = self._network(observation).detach().cpu().double().numpy()
        if not np.isfinite(action).all():
            raise EmbodiedError("The policy's action is not finite: its weights or the observation contain NaN.")
        self._command = self._control.target(observation.proprioception[..., _TARGET], action)
        return torch.as_tensor(UNITS.to_lerobot(self._command)).float().to(batch[STATE].device)

    def predict_action_chunk(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """A chunk of one: `[B 1 6]`."""
        return self.select_action(batch)[:, None]

    def forward(self, batch: dict[str, Tensor], reduction: str = "mean") -> tuple[Tensor, dict[str, Any]]:
        """Squared distance `[B]`, or its mean, from the actions that the commands in `batch` stand for."""
        observation = from_lerobot(batch, self._entities)
        given = self._control.action(observation.proprioception[..., _TARGET], joints(batch, ACTION))
        made = self._network(observation)
        loss = ((made - torch.as_tensor(given).to(made)) ** 2).mean(dim=-1)
        return (loss.mean() if reduction == "mean" else loss), {"worst": loss.detach().max().item()}

    def _network(self, observation: Observation) -> Tensor:
        state = policy_input(observation, self._task.goal, self._distractors)
        action: Tensor = self.network(torch.as_tensor(state).to(next(self.network.parameters())))
        return action

    def _observed(self, batch: dict[str, Tensor]) -> Observation:
        position = joints(batch, STATE)
        velocity = None if self._position is None else (position - self._position) * self.config.rate
        self._position = position
        if KEY in batch:
            return from_lerobot(batch, self._entities, velocity, self._command)
        if self.config.twin is None or len(position) != 1:
            raise EmbodiedError(
                f"The robot does not tell where objects are ({KEY}). An embodied twin knows: name its folder, "
                "--policy.twin=runs/twin. Nothing perceives them before a real arm here yet."
            )
        folder = Path(self.config.twin)
        if self._truth is None:
            self._truth = TruthSenses(self._task.scene, lambda text: tell(folder, text))
        command = position if self._command is None else self._command
        speed = np.zeros(len(position[0])) if velocity is None else velocity[0]
        seen = self._truth.see(position[0], speed, command[0], 0.0)
        return seen.map(lambda array: np.asarray(array)[None])
