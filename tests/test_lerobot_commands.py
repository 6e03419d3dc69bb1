"""LeRobot's own commands with our plug-in: evaluated, trained, recorded with a twin's camera, and run on a twin.

In this process, as each would spend ten seconds on imports in one of its own; `test_twin_commands` has them so.
"""

import io
import json
import sys

import numpy as np
import pytest
from lerobot.motors.feetech import feetech
from lerobot.scripts import lerobot_eval, lerobot_record, lerobot_rollout, lerobot_train
from reacher import reacher
from safetensors.numpy import load_file
from twins import PATIENCE, start

from embodied.arguments import ExportArguments
from embodied.config import Config
from embodied.console import Console
from embodied.evaluation.success import held_out_seeds, success
from embodied.export import evaluation_words, export
from embodied.run import Run
from embodied.schema import from_dict
from embodied.training.collect import chosen_control, chosen_task
from embodied.training.policies import load_policy
from envs.cameras import CameraConfig, Cameras
from envs.errors import EmbodiedError
from envs.scene import build_scene
from envs.simulation import Simulation
from envs.tasks import task
from robots.lerobot_plugin import TwinCamera, TwinCameraConfig
from robots.rollouts import rolled_out
from robots.units import JOINTS

PLUGIN = "--discover_packages_path=robots.lerobot_plugin"
EPISODES = 6
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def lerobot(tmp_path, monkeypatch):
    """Runs one of LeRobot's commands here, without a network, and patient with a twin on a busy machine."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    own = feetech.patch_setPacketTimeout

    def patient(handler, length):
        own(handler, length)
        handler.packet_timeout += PATIENCE

    monkeypatch.setattr(feetech, "patch_setPacketTimeout", patient)

    def run(module, *words):
        monkeypatch.setattr(sys, "argv", [module.__name__, PLUGIN, *words])
        module.main()

    return run


@pytest.fixture(scope="module")
def reach(tmp_path_factory):
    """A run that reaches some targets in time and others not, exported."""
    folder = reacher(tmp_path_factory.mktemp("run") / "reach")
    export(ExportArguments(run=str(folder)), Console(io.StringIO()))
    return folder


def on(twin, kind="follower"):
    role = "teleop" if kind == "leader" else "robot"
    return (f"--{role}.type=so101_{kind}", f"--{role}.port={twin.port}", f"--{role}.id=twin",
            f"--{role}.calibration_dir={twin.folder}")  # fmt: skip


def camera(twin, view="front"):
    told = {view: {"type": "twin", "folder": str(twin.folder), "view": view, "width": 64, "height": 48, "fps": 30}}
    return f"--robot.cameras={json.dumps(told)}"


def test_lerobot_eval_finds_what_evaluate_finds(reach, lerobot, tmp_path):
    config = from_dict(Config, Run.load(reach).config)
    policy, seeds = load_policy(Run.load(reach), config), held_out_seeds(0, EPISODES)
    ours = success(policy, chosen_task(config), seeds, chosen_control(config), 1).succeeded
    assert set(ours) == {False, True}
    words = evaluation_words(config, reach / "lerobot", EPISODES, 0)
    lerobot(lerobot_eval, *words[1:], f"--output_dir={tmp_path}", "--eval.recording=true")
    told = json.loads((tmp_path / "eval_info.json").read_text())
    assert told["per_task"][0]["metrics"]["successes"] == ours.tolist()
    assert told["overall"]["pc_success"] == pytest.approx(100 * ours.mean())


def test_an_exported_policy_reaches_on_the_twin(reach, lerobot, tmp_path):
    with start(tmp_path / "twin", task="reach", seed=1) as twin:
        # More ticks per second than a machine has: it is the packets that time on the twin passes with.
        lerobot(
            lerobot_rollout, *on(twin), f"--policy.path={reach / 'lerobot'}", f"--policy.twin={twin.folder}",
            "--policy.device=cpu", "--device=cpu", "--fps=1000", "--interpolation_multiplier=5", "--duration=6",
            "--return_to_initial_position=false", "--robot.disable_torque_on_disconnect=false", "--play_sounds=false",
        )  # fmt: skip
        simulation = Simulation(build_scene(task("reach").scene), 1, threads=1)
        told = twin.tell("truth()")
        joints = np.array([told["joints"][name] for name in JOINTS])
        simulation.run(joints[None], 200)
        objects = simulation.observe()[0].objects
        gripper = objects.position_in_world[objects.index("gripper")]
        assert told["time"] > 2.0
        assert np.linalg.norm(gripper - told["objects"]["target"][:3]) < 0.03


def test_export_says_all_side_by_side(reach, tmp_path):
    """On the twin two beginnings alone, one of which the policy is too slow for."""
    config = from_dict(Config, Run.load(reach).config)
    policy, seeds = load_policy(Run.load(reach), config), held_out_seeds(0, EPISODES)
    ours = success(policy, chosen_task(config), seeds, chosen_control(config), 1).succeeded
    few = int(np.flatnonzero(np.diff(ours))[0]) + 2
    assert set(ours[:few]) == {False, True}
    said = io.StringIO()
    given = ExportArguments(run=str(reach), folder=str(tmp_path), episodes=EPISODES, rollouts=few)
    assert export(given, Console(said)) == 0
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in said.getvalue().splitlines()]
    names = ["embodied evaluate", "lerobot-eval", "lerobot-rollout, on a twin"]
    evaluated, stock, twin = (next(row for row in rows if row and row[0] == name) for name in names)
    assert evaluated[1:] == stock[1:]
    assert evaluated[1::2] == [str(EPISODES)] * 2
    assert twin[1::2] == [str(few), str(few)]
    assert twin[2].startswith(f"{100 * ours[:few].mean():.1f} %")


def test_a_rollout_that_fails_is_said_in_a_sentence(tmp_path):
    with pytest.raises(EmbodiedError, match="lerobot-rollout failed: "):
        rolled_out(tmp_path / "nothing", "reach", None, 4, 10, "firm", [0])


def test_an_actor_goes_on_learning_from_what_lerobot_eval_recorded(reach, lerobot, tmp_path):
    pytest.importorskip("accelerate", reason="lerobot-train needs it")
    words = evaluation_words(from_dict(Config, Run.load(reach).config), reach / "lerobot", 2, 0)
    lerobot(lerobot_eval, *words[1:], f"--output_dir={tmp_path}", "--eval.recording=true")
    lerobot(
        lerobot_train, f"--policy.path={reach / 'lerobot'}", "--dataset.repo_id=eval_recording_env_0",
        f"--dataset.root={tmp_path / 'recordings' / 'embodied_0' / 'env_0'}", f"--output_dir={tmp_path / 'trained'}",
        "--steps=2", "--batch_size=4", "--num_workers=0", "--save_freq=2", "--policy.learning_rate=0.01",
        "--wandb.enable=false",
    )  # fmt: skip
    folder = tmp_path / "trained" / "checkpoints" / "last" / "pretrained_model"
    before, after = (load_file(path / "model.safetensors") for path in (reach / "lerobot", folder))
    assert set(before) == set(after)
    assert any(np.abs(after[name] - before[name]).max() > 1e-3 for name in before)
    assert json.loads((folder / "config.json").read_text())["task"] == "reach"


def test_a_policy_is_trained_on_what_was_recorded_and_runs(lerobot, tmp_path):
    """LeRobot's own ACT, from what the twin's camera and joints showed to the twin."""
    pytest.importorskip("accelerate", reason="lerobot-train needs it")
    data = ("--dataset.repo_id=local/twin", f"--dataset.root={tmp_path / 'data'}")
    with start(tmp_path / "leader") as leader, start(tmp_path / "twin") as follower:
        leader.tell("hand(shoulder_pan=-0.4)")
        lerobot(
            lerobot_record, *on(leader, "leader"), *on(follower), camera(follower), *data,
            "--dataset.single_task=turn", "--dataset.num_episodes=1", "--dataset.episode_time_s=1.5",
            "--dataset.reset_time_s=0.1", "--dataset.fps=20", "--dataset.push_to_hub=false", "--dataset.video=false",
            "--play_sounds=false",
        )  # fmt: skip
        info = json.loads((tmp_path / "data" / "meta" / "info.json").read_text())
        assert info["features"]["observation.images.front"]["shape"] == [48, 64, 3]
        assert info["total_frames"] > 5
        lerobot(
            lerobot_train, "--policy.type=act", *data, f"--output_dir={tmp_path / 'act'}", "--policy.device=cpu",
            "--policy.push_to_hub=false", "--policy.pretrained_backbone_weights=null", "--policy.dim_model=16",
            "--policy.n_heads=2", "--policy.dim_feedforward=16", "--policy.n_encoder_layers=1",
            "--policy.n_vae_encoder_layers=1", "--policy.chunk_size=4", "--policy.n_action_steps=4", "--steps=2",
            "--batch_size=2", "--num_workers=0", "--save_freq=2", "--wandb.enable=false",
        )  # fmt: skip
        folder = tmp_path / "act" / "checkpoints" / "last" / "pretrained_model"
        before = follower.tell("truth()")["time"]
        lerobot(
            lerobot_rollout, *on(follower), camera(follower), f"--policy.path={folder}", "--device=cpu",
            "--policy.device=cpu", "--fps=20", "--duration=1", "--return_to_initial_position=false",
            "--play_sounds=false",
        )  # fmt: skip
        assert follower.tell("truth()")["time"] > before


def test_a_twins_camera_shows_what_the_simulation_would(tmp_path):
    with start(tmp_path / "twin", task="place_bin", seed=5) as twin:
        seen = TwinCamera(TwinCameraConfig(folder=str(twin.folder), view="top", width=64, height=48))
        with pytest.raises(ConnectionError):
            seen.read()
        with seen:
            picture = seen.read_latest()
            chosen = task("place_bin")
            simulation = Simulation(build_scene(chosen.scene), 1, threads=1)
            simulation.reset(chosen.layout([np.random.default_rng(5)]))
            expected = Cameras(simulation.scene, (CameraConfig("top", 64, 48),), threads=1).render(simulation)["top"][0]
            np.testing.assert_array_equal(picture, expected)
            twin.tell("hand(shoulder_pan=0.6)")
            twin.tell("advance(1)")
            assert (np.abs(seen.read().astype(int) - picture).max(axis=-1) > 20).sum() > 50
        assert not seen.is_connected
    with pytest.raises(EmbodiedError, match="No twin runs in"):
        seen.connect()
