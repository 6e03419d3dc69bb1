"""The learner on others' goal-conditioned environments: what its replay keeps and relabels, and that it learns."""

import numpy as np
import pytest

from embodied.config import AgentConfig
from embodied.data.goal_replay import GoalObservation, GoalReplay
from embodied.training.goal_conditioned import Exploration, GoalTrainer
from envs.errors import EmbodiedError


def reached(achieved, desired):
    return np.linalg.norm(achieved - desired, axis=-1) < 0.05


def seen(world, step, goal=(9.0, 9.0)):
    """Observations that say where they are from."""
    world = np.atleast_1d(world)
    at = np.stack([world, np.full(len(world), step)], axis=1).astype(np.float32)
    return GoalObservation(np.concatenate([at, at, at[:, :1]], axis=1), at, np.tile(np.float32(goal), (len(world), 1)))


def filled(relabel, episodes=3, horizon=6):
    replay = GoalReplay(4, horizon, seen([0], 0), 1, relabel, reached)
    for episode in range(episodes):
        slots = replay.begin(seen([episode], 0))
        for step in range(horizon):
            replay.extend(slots, np.array([[step]]), seen([episode], step + 1))
    return replay


def goals(replay, batch):
    """What stands in the batch as goal and as way to it, before standardising; the columns of `seen` are known."""
    mean = replay._sum / replay._count
    deviation = np.sqrt(np.maximum(replay._square / replay._count - mean**2, 1e-4))
    raw = batch.state * deviation + mean
    return raw[:, :5], raw[:, 5:7], raw[:, 7:9]


def test_hindsight_goals_are_of_the_same_episode_and_later(monkeypatch):
    monkeypatch.setattr("embodied.data.goal_replay._FARTHEST", np.inf)
    replay = filled(1.0)
    batch = replay.sample(2000, np.random.default_rng(0))
    observation, goal, way = goals(replay, batch)
    np.testing.assert_allclose(goal[:, 0], observation[:, 0], atol=1e-3)
    step, later = observation[:, 1].round(), goal[:, 1].round()
    np.testing.assert_array_equal(batch.action[:, 0], step)
    assert ((later > step) & (later <= 6)).all()
    assert set(later[step == 3]) == {4, 5, 6}
    np.testing.assert_allclose(way, goal - observation[:, :2], atol=1e-3)
    np.testing.assert_array_equal(batch.reward, np.where(later == step + 1, 0.0, -1.0))


def test_goals_are_kept_where_nothing_is_relabelled(monkeypatch):
    monkeypatch.setattr("embodied.data.goal_replay._FARTHEST", np.inf)
    replay = filled(0.0)
    batch = replay.sample(200, np.random.default_rng(0))
    np.testing.assert_allclose(goals(replay, batch)[1], 9.0, atol=1e-3)
    assert (batch.reward == -1.0).all()
    assert (batch.discount == 1.0).all()
    mixed = filled(0.5)
    relabelled = goals(mixed, mixed.sample(4000, np.random.default_rng(0)))[1][:, 1] < 8
    assert 0.45 < relabelled.mean() < 0.55


def test_more_is_drawn_from_episodes_that_moved():
    replay = GoalReplay(8, 6, seen([0], 0), 1, 0.0, reached, moved=0.6)
    for episode in range(4):
        slots = replay.begin(seen([episode], 0))
        for step in range(5):
            # Only the last leaves the place where it began, and only from its third step on.
            replay.extend(slots, np.array([[step]]), seen([episode], max(0, step - 1) if episode == 3 else 0))
            drawn = replay._draw(4000, np.random.default_rng(step))[0]
            if episode < 3 or step < 2:
                assert abs((drawn == episode).mean() - (step + 1) / (5 * episode + step + 1)) < 0.03
    slot, step = replay._draw(8000, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(slot) / 8000, [0.1, 0.1, 0.1, 0.7], atol=0.02)
    np.testing.assert_allclose(np.bincount(step[slot == 3]), 8000 * 0.7 / 5, rtol=0.1)
    for episode in range(8):
        replay.extend(replay.begin(seen([episode], 0)), np.zeros((1, 1)), seen([episode], 0))
    slot = replay._draw(8000, np.random.default_rng(0))[0]
    np.testing.assert_allclose(np.bincount(slot) / 8000, 1 / 8, atol=0.02, err_msg="what moved was overwritten")


def test_ways_are_those_of_whole_episodes_that_moved():
    replay = GoalReplay(8, 3, seen([0], 0), 1, 0.0, reached)
    rng = np.random.default_rng(0)
    assert replay.ways(5, rng).shape == (0, 2)
    for path in ([0, 0, 0], [1, 2, 3], [2, 1, 0], [1, 2]):
        slots = replay.begin(seen([5], 0))
        for step in path:
            replay.extend(slots, np.zeros((1, 1)), seen([5], step))
    np.testing.assert_array_equal(replay.ways(20, rng), np.tile([0.0, 3.0], (20, 1)))


def pursued(practised, episodes=30):
    """Where episodes began, their goals, those of the worlds, and where they ended `[E 2]` each."""
    config = AgentConfig(width=8, batch=8, updates_per_step=0.0, noise=0.3)
    worlds = Points(3)
    trainer = GoalTrainer(worlds, config, 0, reached, exploration=Exploration(practised=practised))
    own = []
    for step in range(episodes * worlds.horizon):
        trainer.advance()
        if step % worlds.horizon == 0:
            own.append(worlds.goal.astype(np.float32))
    count = episodes * worlds.worlds
    replay = trainer.replay
    np.testing.assert_array_equal(trainer._seen.desired, replay._desired[count - worlds.worlds : count])
    return replay._achieved[:count, 0], replay._desired[:count], np.concatenate(own), replay._achieved[:count, -1]


def test_a_share_of_the_episodes_goes_where_earlier_ones_went():
    start, goal, own, end = pursued(0.6)
    swapped = np.linalg.norm(goal - own, axis=1) > 1e-6
    assert not swapped[: Points.worlds].any(), "nothing was there to be practised"
    assert 0.45 < swapped[Points.worlds :].mean() < 0.65
    for i in np.flatnonzero(swapped):
        group = i - i % Points.worlds
        earlier = (end - start)[:group]
        assert np.linalg.norm(earlier - (goal - start)[i], axis=1).min() < 1e-5
        farthest = np.linalg.norm((own - start)[group : group + Points.worlds], axis=1).max()
        assert np.linalg.norm((goal - start)[i]) <= farthest + 1e-6
    np.testing.assert_array_equal(*pursued(0.0)[1:3])


def test_the_penalty_of_actions_reaches_the_learner():
    size = []
    for penalty in (0.0, 10.0):
        config = AgentConfig(width=16, batch=64, updates_per_step=0.5, squash_penalty=penalty, learning_rate=3e-3)
        trainer = GoalTrainer(Points(0), config, 0, reached)
        for _ in range(60):
            trainer.advance()
        size.append(np.abs(trainer.act(Points(1).reset())).mean())
    assert size[1] < 0.05 < 0.3 < size[0]


def test_what_is_no_share_is_refused():
    with pytest.raises(EmbodiedError, match=r"practised must be between 0 and 1, not 1\.5"):
        Exploration(practised=1.5)


def test_what_is_read_when_acting_is_what_is_learned_from():
    replay = filled(0.0)
    batch = replay.sample(100, np.random.default_rng(0))
    for row in range(100):
        episode = [e for e in range(3) if np.allclose(replay.state(seen([e], batch.action[row, 0])), batch.state[row])]
        assert len(episode) == 1
    assert np.abs(batch.state).max() <= 5.0
    assert abs(np.concatenate([replay.state(seen([e], s)) for e in range(3) for s in range(7)])[:, 1].std() - 1) < 1e-3


def test_the_oldest_episode_makes_room():
    replay = filled(1.0, episodes=6)
    assert len(replay) == 4 * 6
    assert set(replay._observation[:, 0, 0]) == {2.0, 3.0, 4.0, 5.0}


def test_bad_input_is_told():
    replay = GoalReplay(2, 1, seen([0], 0), 1, 0.8, reached)
    with pytest.raises(EmbodiedError, match="no transitions"):
        replay.sample(1, np.random.default_rng(0))
    with pytest.raises(EmbodiedError, match="3 worlds need a replay of at least 3 episodes; it has 2"):
        replay.begin(seen([0, 1, 2], 0))
    slots = replay.begin(seen([0, 1], 0))
    with pytest.raises(EmbodiedError, match="world 1 is not finite"):
        replay.extend(slots, np.zeros((2, 1)), seen([0.0, np.nan], 1))
    replay.extend(slots, np.zeros((2, 1)), seen([0, 1], 1))
    with pytest.raises(EmbodiedError, match="horizon of 1"):
        replay.extend(slots, np.zeros((2, 1)), seen([0, 1], 2))


class Points:
    """Points that go where they are told, and goals farther off than a random walk comes."""

    worlds, horizon, action_size = 8, 12, 2

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def _show(self):
        return GoalObservation(self.at.astype(np.float32), self.at.astype(np.float32), self.goal.astype(np.float32))

    def reset(self):
        self.at, self.goal = self.rng.uniform(-0.3, 0.3, (2, self.worlds, 2))
        return self._show()

    def step(self, action):
        self.at = self.at + 0.08 * np.asarray(action)
        return self._show


def success(act, episodes=10):
    judge, ends = Points(99), []
    for _ in range(episodes):
        now = judge.reset()
        for _ in range(judge.horizon):
            now = judge.step(act(now))()
        ends.append(reached(now.achieved, now.desired))
    return np.mean(ends)


def test_a_policy_is_learned_from_hindsight():
    config = AgentConfig(width=32, batch=64, updates_per_step=1.0, noise=0.3, relabel=0.8, learning_rate=3e-3)
    trainer = GoalTrainer(Points(0), config, 0, reached)
    assert success(trainer.act) < 0.2
    for _ in range(240):
        trainer.advance()
    assert trainer.env_steps == 240 * 8
    assert trainer.metrics()["updates"] == trainer.learner.updates > 1000
    assert success(trainer.act) > 0.8
    again = GoalTrainer(Points(0), config, 0, reached)
    for _ in range(30):
        again.advance()
    twin = GoalTrainer(Points(0), config, 0, reached)
    for _ in range(30):
        twin.advance()
    now = Points(5).reset()
    np.testing.assert_array_equal(again.act(now), twin.act(now))
