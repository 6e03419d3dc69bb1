"""The spatial reward model behind LeRobot's interface: states in, progress out, success labels to fine-tune on."""

from typing import Any

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.rewards.pretrained import PreTrainedRewardModel
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from envs.errors import EmbodiedError
from envs.goals import Goal
from robots.lerobot_plugin.configuration_spatial import SpatialConfig
from robots.lerobot_plugin.states import KEY, entities_of, kinds_of, state_of
from world_models.reward.learned import LearnedConfig, LearnedReward, LearnedScore
from world_models.reward.network import NetworkConfig, RelationNetwork
from world_models.reward.relations import Pairs, features

REWARD = "next.reward"


class SpatialRewardModel(PreTrainedRewardModel):
    """Judges `observation.environment_state` against goals; `compute_reward` is progress in 0..1."""

    config_class = SpatialConfig
    name = "spatial"

    def __init__(self, config: SpatialConfig, dataset_stats: Any = None, dataset_meta: Any = None, **_: Any) -> None:
        """LeRobot gives `dataset_meta`; it leaves `input_features` empty, so they are filled in here.

        Raises `EmbodiedError` for a data set without object states, and weights of another network.
        """
        super().__init__(config)
        if dataset_meta is not None:
            told = dataset_meta.features.get(KEY)
            if told is None:
                raise EmbodiedError(
                    f"The spatial reward model needs {KEY}; there is {', '.join(dataset_meta.features)}."
                )
            config.entities = entities_of(told["names"])
            config.input_features = {KEY: PolicyFeature(type=FeatureType.ENV, shape=tuple(told["shape"]))}
        self.network = RelationNetwork(NetworkConfig(members=config.members, width=config.width))
        if config.network is not None:
            self.load_network(config.network)

    def load_network(self, path: str) -> None:
        """Weights that `embodied reward` saved; raises `EmbodiedError` where they are of another network."""
        weights = {name.removeprefix("/"): value for name, value in load_file(path).items()}
        expected = {name: value.shape for name, value in self.network.state_dict().items()}
        if {name: value.shape for name, value in weights.items()} != expected:
            raise EmbodiedError(
                f"{path} does not hold a reward network of {self.config.members} members and width {self.config.width}."
            )
        self.network.load_state_dict(weights)

    def goals(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        """Goals as text, each with the rows of the batch it is for."""
        count = len(batch[KEY])
        texts = [self.config.goal] * count if self.config.goal else batch.get("task", [])
        if isinstance(texts, str):
            texts = [texts] * count
        if len(texts) != count:
            raise EmbodiedError("A goal is needed: --reward_model.goal='on(red_cube, bin)', or tasks that are goals.")
        rows: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            rows.setdefault(str(text), []).append(row)
        return rows

    def scores(self, batch: dict[str, Any]) -> list[tuple[list[int], LearnedScore]]:
        """Per goal its rows and what is said of them."""
        reward = LearnedReward(self.network, LearnedConfig(pessimism=self.config.pessimism))
        states = batch[KEY].detach().cpu().double().numpy()
        kinds = kinds_of(states, len(self.config.entities))
        return [
            (rows, reward.score(state_of(states[rows], self.config.entities, kinds), Goal.parse(text)))
            for text, rows in self.goals(batch).items()
        ]

    def _told(self, batch: dict[str, Any], field: str) -> Tensor:
        answer = torch.zeros(len(batch[KEY]))
        for rows, score in self.scores(batch):
            answer[rows] = torch.as_tensor(getattr(score, field)).float()
        return answer.to(batch[KEY].device)

    def compute_reward(self, batch: dict[str, Any]) -> Tensor:
        """Progress `[B]` in 0..1."""
        return self._told(batch, "progress")

    def success(self, batch: dict[str, Any]) -> Tensor:
        """`[B]` 1 where the goal is taken to hold, all guards of a single frame passed."""
        return self._told(batch, "success")

    def predict_predicates(self, batch: dict[str, Any]) -> list[dict[str, float]]:
        """Per row the probability of each literal of its goal."""
        answers: list[dict[str, float]] = [{} for _ in range(len(batch[KEY]))]
        for (text, _), (rows, score) in zip(self.goals(batch).items(), self.scores(batch), strict=True):
            words = [str(literal) for literal in Goal.parse(text).literals]
            for row, each in zip(rows, score.probability.tolist(), strict=True):
                answers[row] = dict(zip(words, each, strict=True))
        return answers

    def uncertainty(self, batch: dict[str, Any]) -> Tensor:
        """`[B]` standard deviation over members of the least certain literal."""
        answer = torch.zeros(len(batch[KEY]))
        for rows, score in self.scores(batch):
            answer[rows] = torch.as_tensor(score.uncertainty).amax(dim=-1).float()
        return answer.to(batch[KEY].device)

    def forward(self, batch: dict[str, Any], reduction: str = "mean") -> tuple[Tensor, dict[str, Any]]:
        """Cross-entropy of the goal's probability against success (`next.reward` above a half) `[B]`, or its mean.

        For labels of people, who judge goals and not literals: the probability is the product over literals.
        """
        states, label = batch[KEY], (batch[REWARD].reshape(-1) > 0.5).float()
        kinds = kinds_of(states.detach().cpu(), len(self.config.entities))
        loss = torch.zeros_like(label)
        chance = torch.zeros_like(label)
        for text, rows in self.goals(batch).items():
            literals = Goal.parse(text).literals
            seen = state_of(states[rows].double(), self.config.entities, kinds)
            pairs = Pairs.of(literals, seen)
            read = features(seen, pairs).float().reshape(-1, self.network.first.shape[1])
            kind = torch.as_tensor(pairs.predicate, device=read.device).repeat(len(rows))
            members = self.network.config.members
            logit = self.network(read.expand(members, -1, -1), kind.expand(members, -1))[..., 0]
            sign = torch.as_tensor(pairs.sign, device=read.device).float().repeat(len(rows))
            tempered = sign * logit / self.network.temperature[kind]
            held = functional.logsigmoid(tempered).reshape(members, len(rows), -1).sum(-1)
            failed = torch.log(-torch.expm1(held.clamp(max=-1e-6)))
            loss[rows] = -(label[rows] * held + (1.0 - label[rows]) * failed).mean(0)
            chance[rows] = held.detach().exp().mean(0)
        right = ((chance > 0.5) == (label > 0.5)).float().mean()
        return (loss.mean() if reduction == "mean" else loss), {"accuracy": float(right)}

    def push_model_to_hub(self, cfg: Any, **_: Any) -> None:
        """As LeRobot does; 0.6.1's trainer gives its reward models an argument that they refuse."""
        super().push_model_to_hub(cfg)
