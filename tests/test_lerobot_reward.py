"""The reward model behind LeRobot's interface, and each habit of LeRobot 0.6 that it is built around.

Where a test here fails after an upgrade of LeRobot, a workaround in `robots/lerobot_plugin` may be due for removal.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lerobot.configs import parser
from lerobot.configs.rewards import RewardModelConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.rewards.factory import make_reward_model, make_reward_model_config, make_reward_pre_post_processors
from lerobot.rewards.sarm.rabc import RABCWeights
from lerobot.utils import import_utils
from safetensors.torch import save_file
from tabletop import NAMES, random_tabletop
from test_learned_reward import NETWORK, sharpened
from test_reward import way_into_the_bin

from embodied.checkpoint import save
from envs.errors import EmbodiedError
from envs.goals import Goal
from robots.lerobot_plugin.configuration_spatial import SpatialConfig
from robots.lerobot_plugin.modeling_spatial import SpatialRewardModel
from robots.lerobot_plugin.progress import main, write_progress
from robots.lerobot_plugin.states import COLUMNS, KEY, entities_of, feature, kinds_of, rows_of, state_of
from world_models.reward.learned import LearnedReward

GOAL = "in(red_cube, bin) & released(red_cube)"
PLUGIN = "robots.lerobot_plugin"
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "reward.safetensors"
    save(path, sharpened(NETWORK).state_dict())
    return str(path)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two episodes into the bin, one of them with a goal in words of another kind."""
    root = tmp_path_factory.mktemp("data") / "bin"
    features = {
        KEY: feature(NAMES),
        "action": {"dtype": "float32", "shape": (6,), "names": None},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
    }
    made = LeRobotDataset.create("bin", 10, features, root=root, use_videos=False)
    states = way_into_the_bin()
    for task in (GOAL, "on(red_cube, bin)"):
        done = np.asarray(Goal.parse(task).satisfied(states))
        for row, held in zip(rows_of(states), done, strict=True):
            reward = np.array([float(held)], np.float32)
            made.add_frame({KEY: row, "action": np.zeros(6, np.float32), "next.reward": reward, "task": task})
        made.save_episode()
    made.finalize()
    return LeRobotDataset("bin", root=root)


def config(weights=None, **more):
    return SpatialConfig(device="cpu", network=weights, members=3, width=16, **more)


def model(dataset, weights, **more):
    return make_reward_model(config(weights, **more), dataset_stats=dataset.meta.stats, dataset_meta=dataset.meta)


def batch_of(dataset):
    loader = torch.utils.data.DataLoader(dataset, batch_size=len(dataset))
    return next(iter(loader))


def test_states_survive_their_vectors():
    states = random_tabletop(np.random.default_rng(0), 5, 2)
    rows = rows_of(states)
    assert rows.shape == (5, 2, len(NAMES) * len(COLUMNS))
    back = state_of(rows.astype(np.float64), NAMES, kinds_of(rows.reshape(10, -1), len(NAMES)))
    assert back.names == NAMES
    np.testing.assert_array_equal(back.kind, states.kind)
    for name in ("position_in_world", "quaternion_in_world", "angular_velocity_in_world", "half_extents", "present"):
        np.testing.assert_allclose(getattr(back, name), getattr(states, name), atol=1e-6)
    assert entities_of(feature(NAMES)["names"]) == list(NAMES)
    with pytest.raises(EmbodiedError, match="it has x, y"):
        entities_of(["x", "y"])
    with pytest.raises(EmbodiedError, match="numbers"):
        state_of(rows[..., 1:], NAMES, states.kind)


def test_lerobot_finds_class_and_processors_by_name(dataset, weights):
    assert isinstance(make_reward_model_config("spatial", device="cpu"), SpatialConfig)
    made = model(dataset, weights)
    assert isinstance(made, SpatialRewardModel)
    assert made.is_trainable
    before, after = make_reward_pre_post_processors(made.config, dataset_stats=dataset.meta.stats)
    batch = batch_of(dataset)
    seen = before(batch)
    # Physical units come through, with or without statistics.
    torch.testing.assert_close(seen[KEY], batch[KEY])
    assert after(torch.zeros(2)).shape == (2,)


def test_input_features_are_empty_unless_the_model_fills_them(dataset, weights):
    empty = config(weights)
    assert not empty.input_features
    made = make_reward_model(empty, dataset_stats=None, dataset_meta=dataset.meta)
    assert made.config is empty
    assert empty.input_features[KEY].shape == (len(NAMES) * len(COLUMNS),)
    assert empty.entities == list(NAMES)
    other = SimpleNamespace(features={"observation.state": {}})
    with pytest.raises(EmbodiedError, match=f"needs {KEY}"):
        SpatialRewardModel(config(weights), dataset_meta=other)


def test_it_says_what_the_learned_reward_says_of_every_goal(dataset, weights):
    made, batch = model(dataset, weights), batch_of(dataset)
    states = way_into_the_bin()
    reward = LearnedReward(sharpened(NETWORK))
    expected = np.concatenate([reward.score(states, Goal.parse(t)).progress for t in (GOAL, "on(red_cube, bin)")])
    np.testing.assert_allclose(made.compute_reward(batch), expected, atol=2e-3)
    assert made.compute_reward(batch).shape == made.success(batch).shape == made.uncertainty(batch).shape == (20,)
    told = made.predict_predicates(batch)
    assert set(told[0]) == {"in(red_cube, bin)", "released(red_cube)"}
    assert set(told[-1]) == {"on(red_cube, bin)"}
    fixed = model(dataset, weights, goal="on(red_cube, bin)")
    assert set(fixed.predict_predicates(batch)[0]) == {"on(red_cube, bin)"}
    np.testing.assert_allclose(fixed.compute_reward(batch)[10:], made.compute_reward(batch)[10:], atol=1e-6)
    batch.pop("task")
    with pytest.raises(EmbodiedError, match="A goal is needed"):
        made.compute_reward(batch)


def test_training_as_lerobot_does_it_lowers_the_loss(dataset, weights):
    made, batch = model(dataset, weights), batch_of(dataset)
    before, _ = make_reward_pre_post_processors(made.config, dataset_stats=dataset.meta.stats)
    batch = before(batch)
    each, told = made.forward(batch, reduction="none")
    assert each.shape == (20,)
    torch.testing.assert_close(each.mean(), made.forward(batch)[0])
    assert 0 <= told["accuracy"] <= 1
    optimizer = made.config.get_optimizer_preset().build(made.get_optim_params())
    losses = []
    for _ in range(30):
        loss, _ = made.forward(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0], losses


def test_checkpoints_load_without_the_first_weights_and_without_a_dataset(dataset, weights, tmp_path):
    made, batch = model(dataset, weights), batch_of(dataset)
    made.save_pretrained(tmp_path / "ckpt")
    # A resumed model is given no statistics and no processors that were saved; all it needs is in its own files.
    again = SpatialRewardModel.from_pretrained(tmp_path / "ckpt")
    torch.testing.assert_close(again.compute_reward(batch), made.compute_reward(batch))
    assert RewardModelConfig.from_pretrained(tmp_path / "ckpt").entities == list(NAMES)
    with pytest.raises(EmbodiedError, match="3 members"):
        made.load_network(str(_saved(tmp_path / "other.safetensors")))


def _saved(path: Path) -> Path:
    save_file({"first": torch.zeros(1)}, path)
    return path


@pytest.mark.parametrize("key", ["discover_packages_path", "reward_model.discover_packages_path"])
def test_the_type_is_known_once_the_package_is_named(key, dataset, monkeypatch):
    words = [f"--{key}={PLUGIN}", "--reward_model.type=spatial", "--reward_model.device=cpu", "--dataset.repo_id=bin",
             f"--dataset.root={dataset.root}", "--reward_model.members=2"]  # fmt: skip
    parsed = _parsed(words, monkeypatch)
    assert isinstance(parsed.reward_model, SpatialConfig)
    assert parsed.reward_model.members == 2


def test_a_checkpoint_is_named_with_the_package_elsewhere(dataset, weights, tmp_path, monkeypatch):
    model(dataset, weights).save_pretrained(tmp_path / "ckpt")
    words = [f"--reward_model.path={tmp_path / 'ckpt'}", "--dataset.repo_id=bin", f"--dataset.root={dataset.root}",
             f"--output_dir={tmp_path / 'out'}"]  # fmt: skip
    parsed = _parsed([f"--discover_packages_path={PLUGIN}", *words], monkeypatch)
    parsed.validate()
    assert parsed.reward_model.entities == list(NAMES)
    # LeRobot takes the option under reward_model for a setting of the checkpoint.
    parsed = _parsed([f"--reward_model.discover_packages_path={PLUGIN}", *words], monkeypatch)
    with pytest.raises(SystemExit):
        parsed.validate()


def _parsed(words, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lerobot-train", *words])

    @parser.wrap()
    def parse(cfg: TrainPipelineConfig) -> TrainPipelineConfig:
        return cfg

    return parse()


def test_reward_packages_are_not_found_by_their_names():
    source = Path(import_utils.__file__).read_text()
    prefixes = source[source.index("def register_third_party_plugins") :]
    assert "lerobot_policy_" in prefixes
    assert "lerobot_reward_" not in prefixes


def test_the_hub_is_given_what_lerobot_refuses(dataset, weights, monkeypatch):
    from lerobot.rewards.pretrained import PreTrainedRewardModel

    pushed = []
    monkeypatch.setattr(PreTrainedRewardModel, "push_model_to_hub", lambda self, cfg: pushed.append(cfg))
    model(dataset, weights).push_model_to_hub("cfg", state_dict={})
    assert pushed == ["cfg"]


def test_progress_weighs_samples(dataset, weights, tmp_path):
    made = model(dataset, weights)
    path = write_progress(dataset, made)
    assert path == Path(dataset.root) / "sarm_progress.parquet"
    weigher = RABCWeights(path, chunk_size=3, device=torch.device("cpu"))
    progress = made.compute_reward(batch_of(dataset)).numpy()
    assert weigher.progress_lookup == pytest.approx(dict(enumerate(progress.tolist())))
    assert {index: bounds["end"] for index, bounds in weigher.episode_boundaries.items()} == {0: 10, 1: 20}
    weight, _ = weigher.compute_batch_weights({"index": torch.arange(20)})
    delta = progress[np.minimum(np.arange(10) + 3, 9)] - progress[:10]
    assert (weight[:10][delta < 0] == 0).all()
    assert weight.sum() == pytest.approx(20, rel=1e-3)
    made.save_pretrained(tmp_path / "ckpt")
    path.unlink()
    main(["--root", str(dataset.root), "--model", str(tmp_path / "ckpt"), "--goal", "on(red_cube, bin)"])
    again = RABCWeights(path, chunk_size=3, device=torch.device("cpu"))
    assert again.progress_lookup[0] == pytest.approx(again.progress_lookup[10])
