"""What `test_large_scale` does in processes of its own: with a folder, one policy learner on all of `torchrun`'s.

Without, Ray's workers step worlds, beside one process that steps them all.
"""

import sys
from pathlib import Path

import numpy as np
from toy_worlds import ToyExpert, ToyWorlds, toy_episodes

from embodied import checkpoint
from embodied.cli import compose
from embodied.config import AgentConfig
from embodied.training import ranks
from embodied.training.collect import spread_worlds, task_worlds
from embodied.training.members import help_train
from embodied.training.policy import PolicyTrainer
from embodied.training.shared import dismiss


def trainer(**changes: object) -> PolicyTrainer:
    config = AgentConfig(**{"width": 16, "batch": 32, "ramp": 10, "updates_per_step": 0.5, **changes})
    return PolicyTrainer(ToyWorlds(4, seed=1), config, 0, toy_episodes(4), ToyExpert(), capacity=50)


def learn(folder: Path) -> None:
    with ranks.joined():
        if ranks.rank() > 0:
            help_train()
            return
        half = trainer()
        half.clone(5)
        half.advance(4)
        state = half.state_dict()
        dismiss(half.learner)
        whole = trainer()
        whole.load_state_dict(state)
        whole.advance(4)
        checkpoint.save(folder / "shared.safetensors", whole.state_dict()["learner"], whole.metrics())
        dismiss(whole.learner)
        ranks.send(None)


def collect() -> None:
    words = ["env=reach", "transfer=wide", "env.worlds=5", "env.threads=1", "seed=3"]
    (config,) = compose("train", [*words, "env.workers=2"])
    spread, own = spread_worlds(config, 5, 3), task_worlds(config, 5, 3)
    rng = np.random.default_rng(0)
    saved = None
    for step in range(6):
        if step == 3:
            saved = spread.state_dict()
            spread.reset(), own.reset()
        action = rng.uniform(-1, 1, (5, 5))
        one, other = spread.step(action), own.step(action)
        np.testing.assert_array_equal(one.success, other.success)
        np.testing.assert_array_equal(one.next_observation.proprioception, other.next_observation.proprioception)
        for a, b in ((spread.observation, own.observation), (spread.truth, own.truth)):
            np.testing.assert_array_equal(a.objects.position_in_world, b.objects.position_in_world)
        assert [spread.origin(i).beginning for i in range(5)] == [own.origin(i).beginning for i in range(5)]
    spread.load_state_dict(saved)
    np.testing.assert_array_equal(spread.episode, np.ones(5))
    sys.stdout.write("alike\n")


if __name__ == "__main__":
    learn(Path(sys.argv[1])) if sys.argv[1:] else collect()
