"""A run behind LeRobot's interface: exported, checked, and as good there as here."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.envs.factory import make_env
from reacher import reacher

from embodied import onnx
from embodied.agents.policies import NumpyActor
from embodied.arguments import ExportArguments
from embodied.config import Config
from embodied.console import Console
from embodied.evaluation.success import held_out_seeds, success
from embodied.export import difference, evaluation_words, export, lerobot_policy
from embodied.run import Run
from embodied.schema import from_dict
from embodied.training.collect import chosen_control, chosen_task
from embodied.training.policies import load_policy
from envs.errors import EmbodiedError
from envs.tasks import TASKS
from envs.worlds import TaskWorlds
from robots.lerobot_plugin.env_embodied import EmbodiedEnv, EmbodiedEnvConfig
from robots.lerobot_plugin.modeling_embodied import EmbodiedPolicy
from robots.lerobot_plugin.observations import COMMAND, STATE, VELOCITY, from_lerobot, to_lerobot
from robots.lerobot_plugin.states import KEY

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run and what `embodied export` said of it."""
    folder, said = reacher(tmp_path_factory.mktemp("run") / "reach"), io.StringIO()
    assert export(ExportArguments(run=str(folder)), Console(said)) == 0
    return folder, said.getvalue()


@pytest.fixture(scope="module")
def config(exported):
    return from_dict(Config, Run.load(exported[0]).config)


@pytest.fixture(scope="module")
def seen(config):
    """Observations `[B]` of a few beginnings, arms moving."""
    worlds = TaskWorlds(chosen_task(config), 4, threads=1)
    worlds.reset(seeds=held_out_seeds(0, 4))
    return worlds.step(np.full((4, 5), 0.5)).next_observation


def batch_of(seen, *without):
    return {name: torch.tensor(value) for name, value in to_lerobot(seen).items() if name not in without}


def test_the_folder_is_json_and_safetensors(exported):
    folder, said = exported
    names = {path.name for path in (folder / "lerobot").iterdir()}
    assert names == {"config.json", "model.safetensors", "policy_preprocessor.json", "policy_postprocessor.json",
                     "actor.onnx"}  # fmt: skip
    told = PreTrainedConfig.from_pretrained(folder / "lerobot")
    assert (told.type, told.task, told.action, told.width) == ("embodied", "reach", "cartesian_delta", 6)
    assert told.output_features["action"].shape == (6,)
    assert "lerobot-eval --discover_packages_path=robots.lerobot_plugin" in said
    assert "--env.task=reach --env.horizon=4" in said.replace("\n", " ")


def test_a_run_with_distractors_is_exported_with_them(tmp_path):
    folder, said = reacher(tmp_path / "reach", distractors=("green_l",)), io.StringIO()
    assert export(ExportArguments(run=str(folder), episodes=2), Console(said)) == 0
    assert "--env.distractors=[green_l]" in said.getvalue().replace("\n", " ").replace("'", "")
    assert "lerobot-eval" in said.getvalue()
    assert PreTrainedConfig.from_pretrained(folder / "lerobot").distractors == ["green_l"]


def test_a_run_among_obstacles_is_not_exported(tmp_path):
    folder = reacher(tmp_path / "reach", obstacles=("wall",))
    with pytest.raises(EmbodiedError, match=r"was trained among obstacles \(wall\), which nothing sees beside an arm"):
        export(ExportArguments(run=str(folder)), Console(io.StringIO()))


def test_a_folder_that_is_a_file_is_said(exported, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbodiedError, match=r"file cannot be made \(a file is there\); choose another"):
        export(ExportArguments(run=str(exported[0]), folder=str(tmp_path / "file")), Console(io.StringIO()))


def test_observations_survive_lerobots_units(seen):
    again = from_lerobot(to_lerobot(seen), seen.objects.names)
    np.testing.assert_allclose(again.proprioception, seen.proprioception, atol=1e-5)
    np.testing.assert_allclose(again.objects.position_in_world, seen.objects.position_in_world, atol=1e-6)
    with pytest.raises(EmbodiedError, match=f"{STATE} has shape \\(4, 5\\)"):
        from_lerobot({**to_lerobot(seen), STATE: np.zeros((4, 5))}, seen.objects.names)
    with pytest.raises(EmbodiedError, match=f"{STATE} is missing"):
        from_lerobot({}, seen.objects.names)


def test_a_folder_that_acts_otherwise_is_noticed(exported, config, seen):
    policy = load_policy(Run.load(exported[0]), config)
    again = EmbodiedPolicy.from_pretrained(exported[0] / "lerobot")
    assert difference(again, policy, seen, config) < 1e-3
    with torch.no_grad():
        again.network[0].weight += 0.01
    assert difference(again, policy, seen, config) > 0.1


def test_without_memory_a_robot_tells_less_and_is_remembered(exported, seen):
    policy = EmbodiedPolicy.from_pretrained(exported[0] / "lerobot")
    told = policy.select_action(batch_of(seen))
    # At first the command is taken to be where the joints are; then it is the policy's own.
    bare = batch_of(seen, VELOCITY, COMMAND)
    policy.reset()
    first = policy.select_action(bare)
    assert not torch.allclose(first, told, atol=1e-3)
    second = policy.select_action(bare)
    expected = policy.select_action({**batch_of(seen), COMMAND: first, VELOCITY: torch.zeros(4, 6)})
    torch.testing.assert_close(second, expected, atol=1e-3, rtol=0)
    policy.reset()
    torch.testing.assert_close(policy.select_action(bare), first)
    with pytest.raises(EmbodiedError, match=r"--policy\.twin=runs/twin"):
        policy.select_action(batch_of(seen, KEY))


def test_training_recovers_the_actor(exported, seen):
    """Commands of the exported actor as labels: its own loss is none, and another's goes down."""
    policy = EmbodiedPolicy.from_pretrained(exported[0] / "lerobot")
    batch = {**batch_of(seen), "action": policy.select_action(batch_of(seen))}
    assert policy.forward(batch)[0] < 1e-3
    with torch.no_grad():
        policy.network[4].bias += 0.5
    optimizer = policy.config.get_optimizer_preset().build(policy.get_optim_params())
    losses = []
    for _ in range(20):
        loss, _ = policy.forward(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    each, _ = policy.forward(batch, reduction="none")
    torch.testing.assert_close(each.mean(), policy.forward(batch)[0])


def test_actions_of_another_robot_are_refused(exported):
    told = PreTrainedConfig.from_pretrained(exported[0] / "lerobot")
    told.output_features["action"] = replace(told.output_features["action"], shape=(14,))
    with pytest.raises(EmbodiedError, match=r"shape \(14,\); this policy commands shoulder_pan"):
        EmbodiedPolicy(told)


def test_the_environment_begins_where_evaluation_does(config):
    task = chosen_task(config)
    env, worlds = EmbodiedEnv(task), TaskWorlds(task, 1, threads=1)
    observation, _ = env.reset(seed=3)
    worlds.reset(seeds=held_out_seeds(0, 4)[3:])
    for name, value in to_lerobot(worlds.observation).items():
        np.testing.assert_array_equal(observation[name], value[0], err_msg=name)
    assert env.observation_space.contains(observation)
    told = np.asarray(env.reset(seed=3)[0][STATE])
    np.testing.assert_array_equal(told, observation[STATE])
    assert not np.array_equal(env.reset()[0][KEY], env.reset()[0][KEY])
    assert env.render().shape == (240, 320, 3)


def test_joint_positions_act_as_the_actions_they_stand_for(config):
    task, control = chosen_task(config), chosen_control(config)
    env, worlds = EmbodiedEnv(task), TaskWorlds(task, 1, threads=1)
    env.reset(seed=0)
    observation = worlds.reset(seeds=held_out_seeds(0, 1))
    rng = np.random.default_rng(0)
    for _ in range(task.horizon):
        action = rng.uniform(-1, 1, (1, 5))
        target = control.target(observation.proprioception[..., 12:], action)
        told = to_lerobot(replace(observation, proprioception=np.tile(target, 3)))[STATE]
        observation = worlds.step(action).next_observation
        found, _, ended, truncated, _ = env.step(told[0])
        np.testing.assert_allclose(found[STATE], to_lerobot(observation)[STATE][0], atol=1e-2)
        assert not ended
        assert truncated == (env._worlds.elapsed[0] == task.horizon)


def test_success_is_being_there_at_the_end(exported, config):
    """LeRobot takes an episode for a success if one step of it says so."""
    env = EmbodiedEnv(replace(chosen_task(config), horizon=9))
    policy = EmbodiedPolicy.from_pretrained(exported[0] / "lerobot")
    seen, _ = env.reset(seed=0)
    steps = []
    for _ in range(9):
        action = policy.select_action({name: torch.tensor(value[None]) for name, value in seen.items()})
        seen, *told = env.step(action[0].numpy())
        steps.append(told)
    assert [reward for reward, *_ in steps][-2:] == [1.0, 1.0]
    assert [info["is_success"] for *_, info in steps] == [False] * 8 + [True]
    assert [truncated for _, _, truncated, _ in steps] == [False] * 8 + [True]


def test_lerobot_makes_the_environment(config):
    chosen = EmbodiedEnvConfig(task="reach", horizon=4)
    made = make_env(chosen, n_envs=2)["embodied"][0]
    observation, _ = made.reset(seed=[0, 1])
    assert set(observation) == set(chosen.features) - {"action"}
    assert {name: value.shape[1:] for name, value in observation.items()} == {
        name: feature.shape for name, feature in chosen.features.items() if name != "action"
    }
    assert made.call("_max_episode_steps") == (4, 4)
    made.close()


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.scene.robot == "so101"])
def test_every_task_of_one_arm_is_an_environment(name):
    chosen = EmbodiedEnvConfig(task=name)
    env = EmbodiedEnv(chosen.chosen)
    observation, _ = env.reset(seed=0)
    assert observation[KEY].shape == chosen.features[KEY].shape
    after, *_ = env.step(observation[COMMAND])
    np.testing.assert_allclose(after[COMMAND], observation[COMMAND], atol=1e-3)


def test_an_environment_that_there_is_not_is_refused():
    with pytest.raises(EmbodiedError, match="plaice"):
        EmbodiedEnvConfig(task="plaice")
    with pytest.raises(EmbodiedError, match="Task 'handover' is of two_so101; LeRobot drives one SO-101"):
        EmbodiedEnvConfig(task="handover")
    with pytest.raises(EmbodiedError, match="servo"):
        EmbodiedEnvConfig(servo="soft")


def test_onnx_is_refused_where_outputs_differ(exported, tmp_path):
    state, _ = Run.load(exported[0]).restore("policy")
    actor = NumpyActor(state)
    inputs = np.random.default_rng(0).normal(size=(7, 39)).astype(np.float32)
    path = tmp_path / "actor.onnx"
    assert onnx.write(path, actor, inputs) < 1e-5
    # The same file in the name of another actor.
    other = NumpyActor({**state, "average": state["average"] + np.float32(0.05)})
    with pytest.raises(EmbodiedError, match="other than the actor"):
        onnx.check(path, other, inputs)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(EmbodiedError, match="cannot be run"):
        onnx.check(path, actor, inputs)
    broken = NumpyActor({**state, "average": np.full_like(state["average"], np.nan)})
    with pytest.raises(EmbodiedError, match="other than the actor"):
        onnx.write(path, broken, inputs)
    assert not path.exists()


def test_onnxruntime_says_the_same(exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = exported[0] / "lerobot" / "actor.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = np.random.default_rng(0).normal(size=(7, 39)).astype(np.float32)
    (found,) = session.run([onnx.OUTPUT], {onnx.INPUT: inputs})
    np.testing.assert_allclose(found, onnx.outputs(path, inputs), atol=1e-6)


def test_rates_that_lerobot_cannot_count_are_refused(exported, config):
    slow = replace(config, env=replace(config.env, rate=12.5))
    policy = load_policy(Run.load(exported[0]), config)
    with pytest.raises(EmbodiedError, match=r"whole frames per second; env.rate is 12.5"):
        lerobot_policy(slow, policy, policy.actor)


def test_words_name_what_is_not_the_environments_own(config, tmp_path):
    changed = replace(config, env=replace(config.env, horizon=None), robot=replace(config.robot, servo="lerobot"))
    words = evaluation_words(changed, tmp_path, 50, seed=2)
    assert "--env.servo=lerobot" in words
    assert not any(word.startswith(("--env.horizon", "--env.goal")) for word in words)
    assert f"--seed={held_out_seeds(2, 1)[0] - held_out_seeds(0, 1)[0]}" in words


def test_the_beginnings_are_hard_enough_to_tell_policies_apart(exported, config):
    """What the comparison of `lerobot-eval` and `embodied evaluate` stands on."""
    policy = load_policy(Run.load(exported[0]), config)
    found = success(policy, chosen_task(config), held_out_seeds(0, 20), chosen_control(config), 1).succeeded
    assert 0.2 < found.mean() < 0.95, found
