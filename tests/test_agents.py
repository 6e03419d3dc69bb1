"""The learner's two implementations agree, features mean what they say, and what is saved continues bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_worlds import NAMES, SPEC, ToyWorlds, toy_episodes, toy_observation

from embodied.agents.batch import Batch
from embodied.agents.fused import FusedLosses
from embodied.agents.losses import AutogradLosses, LearnerConfig
from embodied.agents.networks import Stack
from embodied.agents.policies import ActorPolicy, NumpyActor, RandomPolicy
from embodied.agents.td3 import Learner
from embodied.machine import device_of
from envs.errors import EmbodiedError
from envs.features import goal_point, observation_features, policy_input, roles
from envs.geometry import quat_from_yaw, quat_multiply
from envs.goals import Goal
from envs.types import PROPRIOCEPTION, Observation

STATE, ACTION, ROWS = 9, 3, 32
CPU = torch.device("cpu")


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stacks() -> tuple[Stack, Stack, Stack]:
    generator = torch.Generator().manual_seed(0)
    actor = Stack(1, (STATE, 16, 16, ACTION), CPU)
    critics, targets = (Stack(2, (STATE + ACTION, 16, 16, 1), CPU) for _ in range(2))
    for stack in (actor, critics, targets):
        stack.randomise(generator)
        stack.flat += 0.1 * torch.randn(stack.flat.shape, generator=generator)
    return actor, critics, targets


def batch(seed: int = 0, rows: int = ROWS) -> Batch:
    rng = np.random.default_rng(seed)
    state, following = rng.normal(size=(2, rows, STATE))
    action, label = rng.uniform(-1, 1, (2, rows, ACTION))
    clone = (rng.random(rows) < 0.4).astype(float)
    return Batch(state, action, following, -np.ones(rows), np.ones(rows), label, clone)


def test_gradients_by_hand_equal_autograd():
    actor, critics, targets = stacks()
    config = LearnerConfig(width=16, target_noise=0.1)
    slow, fast = AutogradLosses(config), FusedLosses(config, STATE, ACTION)
    state, following = draw(1, ROWS, STATE), draw(2, ROWS, STATE)
    action, label, noise = draw(3, ROWS, ACTION).tanh(), draw(4, ROWS, ACTION).tanh(), 0.1 * draw(5, ROWS, ACTION)
    clone, ones = (draw(6, ROWS) > 0).float(), torch.ones(ROWS)
    calls = {
        "target": lambda rule: (rule.target(actor, targets, following, noise, -ones, ones), None),
        "critic": lambda rule: (rule.critic(critics, state, action, draw(7, ROWS)), critics),
        "actor": lambda rule: (rule.actor(actor, critics, state, label, clone, 0.7, 0.5), actor),
        "clone": lambda rule: (rule.clone(actor, state, label, clone), actor),
    }
    for name, call in calls.items():
        results = []
        for rule in (slow, fast):
            critics.gradient.fill_(9.0)
            actor.gradient.fill_(9.0)
            value, stack = call(rule)
            results.append((value.clone(), torch.zeros(1) if stack is None else stack.gradient.clone()))
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=name)


def test_targets_stay_within_what_rewards_allow():
    config = LearnerConfig(width=16, value_low=-5.0)
    actor, _, targets = stacks()
    targets.flat *= 100.0
    for rule in (AutogradLosses(config), FusedLosses(config, STATE, ACTION)):
        target = rule.target(
            actor, targets, draw(0, 64, STATE), torch.zeros(64, ACTION), torch.zeros(64), torch.ones(64)
        )
        assert target.min() == -5.0
        assert target.max() == 0.0


def test_learner_finds_the_best_action_of_a_bandit():
    """One step, reward -(a - s)^2: the actor must learn a = s."""
    config = LearnerConfig(
        width=16, q_ramp=50, learning_rate=3e-3, average_rate=0.05, value_low=-10.0, target_noise=0.0
    )
    learner, rng = Learner(1, 1, config, seed=0), np.random.default_rng(0)
    for _ in range(500):
        state, action = rng.uniform(-0.8, 0.8, (64, 1)), rng.uniform(-1, 1, (64, 1))
        reward = -((state - action)[:, 0] ** 2)
        learner.update(Batch(state, action, state, reward, np.zeros(64), action, np.zeros(64)))
    probe = np.linspace(-0.7, 0.7, 15)[:, None]
    chosen = learner.act(probe)
    assert np.abs(chosen - probe).mean() < 0.15
    assert np.corrcoef(chosen[:, 0], probe[:, 0])[0, 1] > 0.95


def test_a_saved_learner_continues_bit_for_bit():
    whole, half = (Learner(STATE, ACTION, LearnerConfig(width=16), seed=1) for _ in range(2))
    for seed in range(20):
        whole.update(batch(seed))
    for seed in range(10):
        half.update(batch(seed))
    other = Learner(STATE, ACTION, LearnerConfig(width=16), seed=99)
    other.load_state_dict(half.state_dict())
    for seed in range(10, 20):
        other.update(batch(seed))
    first, second = whole.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_learner_errors():
    learner = Learner(STATE, ACTION, LearnerConfig(width=16), seed=0)
    with pytest.raises(EmbodiedError, match=r"layers of 9 16 16 3; this configuration needs 9 8 8 3"):
        Learner(STATE, ACTION, LearnerConfig(width=8), seed=0).load_state_dict(learner.state_dict())
    learner.update(replace(batch(), reward=np.full(ROWS, np.nan)))
    with pytest.raises(EmbodiedError, match="critic_loss became nan at update 1"):
        learner.metrics()
    with pytest.raises(EmbodiedError, match="Unknown device 'tpu'"):
        device_of("tpu")


def test_packing_keeps_every_field_apart():
    learner, given = Learner(STATE, ACTION, LearnerConfig(width=16), seed=0), batch()
    names = ("state", "next_state", "action", "label", "reward", "discount", "clone")
    for name, tensor in zip(names, learner._unpack(given), strict=True):
        np.testing.assert_array_equal(tensor.numpy(), getattr(given, name).astype(np.float32), err_msg=name)
    assert (given + batch(1)).state.shape == (2 * ROWS, STATE)


def test_numpy_actor_equals_the_learner():
    learner = Learner(STATE, ACTION, LearnerConfig(width=16), seed=0)
    state = batch().state
    actor = NumpyActor(learner.state_dict())
    np.testing.assert_allclose(actor.act(state), learner.act(state), atol=1e-6)
    with pytest.raises(EmbodiedError, match="reads 9 numbers, this scene gives 4"):
        actor.act(np.zeros((2, 4)))
    with pytest.raises(EmbodiedError, match="holds no actor"):
        NumpyActor({})


def scene(count: int = 5, seed: int = 0) -> Observation:
    return ToyWorlds(count, seed).observation


def turned(observation: Observation, angle: float) -> Observation:
    """The cube turned about the vertical."""
    objects = observation.objects
    quaternion = np.array(objects.quaternion_in_world)
    turn = np.broadcast_to(quat_from_yaw(np.array(angle)), quaternion[:, 5].shape)
    quaternion[:, 5] = quat_multiply(turn, quaternion[:, 5])
    return replace(observation, objects=replace(objects, quaternion_in_world=quaternion))


def test_features_fold_the_symmetry_of_a_cube():
    plain = observation_features(scene(), "red_cube")
    np.testing.assert_allclose(observation_features(turned(scene(), np.pi / 2), "red_cube"), plain, atol=1e-9)
    assert np.abs(observation_features(turned(scene(), 0.3), "red_cube") - plain).max() > 0.1


def test_features_agree_between_numpy_and_torch_and_batch_and_loop():
    observation = turned(scene(), 0.4)
    batched = observation_features(observation, "red_cube", ("target",))
    tensors = observation.map(lambda array: torch.from_numpy(np.array(array)))
    np.testing.assert_allclose(observation_features(tensors, "red_cube", ("target",)).numpy(), batched, atol=1e-9)
    for i in range(5):
        np.testing.assert_allclose(
            observation_features(observation[i], "red_cube", ("target",)), batched[i], atol=1e-12
        )


def test_distractors_are_sorted_by_distance_and_masked():
    observation = scene(3)
    one = observation_features(observation, "red_cube", ("target", "table"))
    other = observation_features(observation, "red_cube", ("table", "target"))
    np.testing.assert_array_equal(one, other)
    present = np.array(observation.objects.present)
    present[:, NAMES.index("target")] = False
    gone = replace(observation, objects=replace(observation.objects, present=present))
    features = observation_features(gone, "red_cube", ("target",))
    assert not features[:, -5:].any()
    assert observation_features(observation, "red_cube", ("target",))[:, -1].all()


def test_roles_and_goal_points():
    objects = scene(1).objects
    cube, target = objects.position_in_world[0, 5], objects.position_in_world[0, 4]
    cases = {
        "near(red_cube, target, 0.02) & released(red_cube)": target,
        "released(red_cube) & at(red_cube, 0.2, 0.1, 0.03)": cube,
        "at(red_cube, 0.2, 0.1, 0.03)": np.array([0.2, 0.1, 0.03]),
        "lifted(red_cube, 0.05)": np.array([cube[0], cube[1], 0.014 + 0.05]),
        "on(red_cube, target)": target + np.array([0.0, 0.0, 0.028]),
    }
    for text, point in cases.items():
        np.testing.assert_allclose(goal_point(objects, Goal.parse(text))[0], point, atol=1e-12, err_msg=text)
    about = roles(Goal.parse("released(red_cube) & ~touching(gripper, target) & near(red_cube, target, 0.02)"))
    assert (about.subject, about.anchor, about.literal) == ("red_cube", "target", 2)
    with pytest.raises(EmbodiedError, match="not negated"):
        roles(Goal.parse("~touching(gripper, red_cube)"))


def test_command_minus_measured_is_zero_only_when_the_arm_is_there():
    observation = scene(1)
    proprioception = np.array(observation.proprioception)
    proprioception[..., PROPRIOCEPTION["joint_target"]][..., 5] += 0.1
    moved = observation_features(replace(observation, proprioception=proprioception), "red_cube")
    plain = observation_features(observation, "red_cube")
    assert np.flatnonzero(~np.isclose(moved, plain)[0]).tolist() == [plain.shape[1] - 1]


def test_policies_keep_the_batch_shape():
    goal = Goal.parse("near(red_cube, target, 0.02)")
    flat = scene(6)
    grid = flat.map(lambda array: array.reshape(2, 3, *array.shape[1:]))
    size = policy_input(flat, goal).shape[-1]
    learner = Learner(size, 5, LearnerConfig(width=8), seed=0)
    actor, random = ActorPolicy(learner), RandomPolicy(SPEC, np.random.default_rng(0))
    np.testing.assert_array_equal(actor.act(grid, goal).reshape(6, 5), actor.act(flat, goal))
    assert random.act(grid, goal).shape == (2, 3, 5)
    assert random.act(flat[0], goal).shape == (5,)
    learner.average.flat.fill_(float("nan"))
    with pytest.raises(EmbodiedError, match="not finite"):
        actor.act(flat, goal)


def test_episode_observations_are_policy_inputs():
    episode = toy_episodes(1)[0]
    assert policy_input(episode.observation, episode.goal).shape == (21, 39)
    assert toy_observation(*(np.zeros((2, 3)) for _ in range(1)), np.zeros(2), *np.zeros((2, 2, 3))).objects.shape == (
        2,
    )
