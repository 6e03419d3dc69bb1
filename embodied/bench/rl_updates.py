"""Updates per CPU-second: ours with its sampling, Stable-Baselines3's with its own, and SAC as it is usually written.

All have two hidden layers of one width, batches of 256 and one thread, and are timed in turn within one run: the speed
of a shared machine drifts. The plain SAC draws from no replay, which favours it.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, figure, over_seeds

WIDTH = 128
ROWS = 256


def measure(updates: int, repeats: int) -> Mapping[str, Any]:
    """CPU seconds per update `[repeats]` of each."""
    import torch

    from embodied.bench import rl_peer

    torch.set_num_threads(1)
    trainer = _trainer()
    contestants: dict[str, Callable[[int], None]] = {
        "ours": trainer.learn,
        "plain": _plain_sac(trainer.replay.state_size, trainer.worlds.spec.size),
    }
    if rl_peer.importable():
        contestants["sb3"] = rl_peer.updater(WIDTH, ROWS)
    for run in contestants.values():
        run(8)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            began = time.process_time()
            run(updates)
            seconds[name].append((time.process_time() - began) / updates)
    return seconds


def summarise(samples: Sequence[Mapping[str, Any]]) -> Mapping[str, Figure]:
    """Our rate, and how many times that of the others it is, in the median repeat."""
    if not samples:
        return {}
    rate = [1.0 / float(np.median(sample["ours"])) for sample in samples]
    figures = {"updates_per_cpu_second": over_seeds(rate, "1/s")}
    for name, key in (("sb3", "updates_ratio_to_sb3"), ("plain", "updates_ratio_to_plain_sac")):
        ratios = [float(np.median(np.divide(sample[name], sample["ours"]))) for sample in samples if name in sample]
        figures[key] = over_seeds(ratios, "x") if ratios else figure(float("nan"), "x", 0)
    return figures


def _trainer() -> Any:
    """Our learner with one episode of every world and as many demonstrations as the bench has."""
    from embodied.config import AgentConfig
    from embodied.training.policy import PolicyTrainer
    from envs.tasks import task
    from envs.worlds import TaskWorlds

    worlds = TaskWorlds(task("place_air"), 32, threads=1)
    trainer = PolicyTrainer(worlds, AgentConfig(width=WIDTH, batch=ROWS, updates_per_step=1 / 32), 0)
    trainer.advance(worlds.task.horizon)
    return trainer


def _plain_sac(states: int, actions: int) -> Callable[[int], None]:
    """Soft actor-critic (Haarnoja et al. 2018) on modules, autograd and `torch.optim`."""
    import torch
    from torch import nn
    from torch.nn import functional

    def network(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, outputs)
        )

    actor = network(states, 2 * actions)
    critics = nn.ModuleList(network(states + actions, 1) for _ in range(2))
    targets = copy.deepcopy(critics)
    log_temperature = torch.zeros(1, requires_grad=True)
    optimisers = [torch.optim.Adam(each) for each in (actor.parameters(), critics.parameters(), [log_temperature])]
    state, following = torch.randn(2, ROWS, states)
    action, reward = torch.rand(ROWS, actions) * 2 - 1, -torch.ones(ROWS, 1)

    def act(seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, deviation = actor(seen).chunk(2, dim=1)
        normal = torch.distributions.Normal(mean, deviation.clamp(-20, 2).exp())
        raw = normal.rsample()
        chosen = torch.tanh(raw)
        return chosen, (normal.log_prob(raw) - torch.log(1 - chosen**2 + 1e-6)).sum(1, keepdim=True)

    def values(of: nn.ModuleList, seen: torch.Tensor, done: torch.Tensor) -> list[torch.Tensor]:
        inputs = torch.cat([seen, done], dim=1)
        return [critic(inputs) for critic in of]

    def descend(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def update(count: int) -> None:
        for _ in range(count):
            chosen, log_probability = act(state)
            descend(optimisers[2], -(log_temperature * (log_probability.detach() - actions)).mean())
            temperature = log_temperature.exp().detach()
            with torch.no_grad():
                next_action, next_log = act(following)
                least = torch.minimum(*values(targets, following, next_action))
                target = reward + 0.97 * (least - temperature * next_log)
            losses = [functional.mse_loss(value, target) for value in values(critics, state, action)]
            descend(optimisers[1], 0.5 * torch.stack(losses).sum())
            least = torch.minimum(*values(critics, state, chosen))
            descend(optimisers[0], (temperature * log_probability - least).mean())
            with torch.no_grad():
                for one, other in zip(targets.parameters(), critics.parameters(), strict=True):
                    one.lerp_(other, 0.005)

    return update
