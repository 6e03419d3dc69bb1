"""Earlier frames: stacked alike by replay and policy, resumed bit for bit, under sensors that are chosen by name."""

import numpy as np
import pytest
from resuming import check_resumes
from toy_worlds import ToyExpert, ToyWorlds, toy_episodes

from embodied.agents.history import HistoryPolicy
from embodied.cli import compose
from embodied.config import AgentConfig, EnvConfig
from embodied.data.episodes import EpisodeStore
from embodied.data.replay import Replay
from embodied.evaluation.success import success
from embodied.training.collect import collect_demonstrations, task_worlds
from embodied.training.policy import PolicyTrainer
from envs.errors import EmbodiedError
from envs.features import GOAL_SIZE, OBSERVATION_SIZE
from envs.sensing import SENSORS, sensors
from envs.tasks import task
from envs.types import PROPRIOCEPTION

STATE = OBSERVATION_SIZE + GOAL_SIZE
FRAME = OBSERVATION_SIZE + 5
SMALL = AgentConfig(width=16, batch=32, ramp=50, history=3)


class Noting:
    """Acts by a fixed function of what it reads, and keeps that."""

    def __init__(self):
        self.read = []

    def act(self, state):
        self.read.append(np.array(state))
        return np.tanh(state[:, :5] + 0.1 * len(self.read))


def test_replay_and_policy_stack_the_same():
    worlds, actor = ToyWorlds(3, seed=1), Noting()
    policy = HistoryPolicy(actor, 3, 5)
    replay = Replay(6, 20, worlds.task.goal, worlds.observation, 5, history=3)
    for _ in range(2):
        observation = worlds.reset()
        policy.reset()
        actor.read.clear()
        slots = replay.begin(observation)
        for step in range(5):
            action = policy.act(worlds.observation, worlds.task.goal)
            np.testing.assert_allclose(replay.inputs(slots), actor.read[-1], atol=2e-5)
            replay.extend(slots, action, worlds.step(action).next_observation)
            read, before = actor.read[-1], actor.read[max(step - 1, 0)]
            np.testing.assert_array_equal(read[:, STATE : STATE + OBSERVATION_SIZE], before[:, :OBSERVATION_SIZE])
    assert actor.read[0].shape == (3, STATE + 2 * FRAME) == (3, replay.state_size)
    assert not actor.read[0][:, STATE + OBSERVATION_SIZE : STATE + FRAME].any()
    with pytest.raises(EmbodiedError, match=r"remembers \(3,\) worlds, got \(1,\)"):
        policy.act(worlds.observation[:1], worlds.task.goal)


def test_sampled_states_hold_what_was_done_before():
    (episode,) = toy_episodes(1, noise=0.3)
    replay = Replay(1, 20, episode.goal, episode.observation[0:1], 5, relabel=0.0, history=3)
    replay.add(episode)
    rng = np.random.default_rng(0)
    batch = replay.sample(200, rng)
    slot, step = replay.draw(200, np.random.default_rng(0))
    for state, now in ((batch.state, step), (batch.next_state, step + 1)):
        for back in (1, 2):
            start = STATE + (back - 1) * FRAME
            at = np.maximum(now - back, 0)
            action = np.where((now >= back)[:, None], episode.action[at], 0.0)
            np.testing.assert_allclose(
                state[:, start : start + OBSERVATION_SIZE], replay._rows[0, at, :OBSERVATION_SIZE]
            )
            np.testing.assert_allclose(state[:, start + OBSERVATION_SIZE : start + FRAME], action, atol=1e-6)
    assert (slot == 0).all()


def test_training_with_history_resumes_bit_for_bit(tmp_path):
    def trainer() -> PolicyTrainer:
        return PolicyTrainer(ToyWorlds(4, seed=1), SMALL, 0, toy_episodes(4), ToyExpert(), capacity=50)

    resumed = check_resumes(trainer, 14, 13, tmp_path)
    assert isinstance(resumed.policy, HistoryPolicy)
    with pytest.raises(EmbodiedError, match=r"agent\.imagined needs agent\.history=1"):
        PolicyTrainer(ToyWorlds(4), AgentConfig(history=2, imagined=0.5), 0, imagine=lambda *_: None)


def test_sensors_are_chosen_by_name_and_evaluated_with():
    with pytest.raises(EmbodiedError, match=r"Unknown sensors 'lat'\. Did you mean 'late'\?"):
        sensors("lat")
    with pytest.raises(EmbodiedError, match=r"env\.factors and env\.variation both"):
        EnvConfig(variation=2.0, factors="mass")
    late, exact = [], []
    for name, kept in (("late", late), ("exact", exact)):

        class Watching(Noting):
            def reset(self):
                pass

            def act(self, observation, goal, kept=kept):
                kept.append(observation.proprioception[:, PROPRIOCEPTION["joint_position"]].copy())
                return np.full((2, 5), 0.5)

        success(Watching(), task("reach", horizon=4), np.array([5, 6]), threads=1, sensors=SENSORS[name])
    np.testing.assert_array_equal(np.array(late)[1:], np.array(exact)[:-1])
    assert np.abs(np.diff(exact, axis=0)).max() > 1e-3


@pytest.mark.parametrize(
    ("preset", "env"), [("none", "place"), ("mild", "place"), ("wide", "place"), ("wide", "reach")]
)
def test_transfer_presets_make_worlds(preset, env):
    (config,) = compose("train", [f"env={env}", f"transfer={preset}", "env.threads=1"])
    worlds = task_worlds(config, 2, 0)
    assert bool(worlds.factors) == (preset != "none")
    truth, seen = (each.proprioception for each in (worlds.truth, worlds.observation))
    assert np.array_equal(truth, seen) == (preset == "none")


def test_the_expert_sees_what_is_and_what_was_seen_is_recorded(tmp_path):
    words = ["env=reach", "env.sensors=late", "trainer.demonstrations=4", "env.worlds=4", "env.threads=1"]
    (config,) = compose("train", words)
    assert collect_demonstrations(config, tmp_path, lambda done, of: None) == 4
    episode = next(iter(EpisodeStore(tmp_path / "demonstrations")))
    hand = episode.observation.objects.position_in_world[:, episode.observation.objects.index("gripper")]
    np.testing.assert_array_equal(hand[0], hand[2])
    assert not np.array_equal(hand[2], hand[3])
