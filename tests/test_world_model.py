"""The world model: what its predictions may depend on, what an untrained one says, and exact resumption."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from slot_scenes import history, observations, plan, reordered, shaken

from embodied import checkpoint
from embodied.data.windows import Windows
from embodied.training.members import load_members
from embodied.training.world_model import MemberTrainer, TrainConfig
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.goals import Goal
from envs.scene import build_scene
from world_models.cjepa.contact_geometry import rotation_vector, turn
from world_models.cjepa.masking import draw_mask
from world_models.cjepa.model import ModelConfig, WorldModel, canonical, ramped
from world_models.embodiment.arm import Arm
from world_models.embodiment.joints import Effector, Embodiment, Joints
from world_models.slots.bodies import Bodies, bodies_of, nearest_labels
from world_models.slots.slots import encode

SMALL = ModelConfig(width=16, layers=2, heads=2, embedding=16, hidden=24, parts=1, future=5)


def model(config: ModelConfig = SMALL) -> WorldModel:
    torch.manual_seed(0)
    return shaken(WorldModel(config), 1)


def same(a: Bodies, b: Bodies, tolerance: float = 0.0) -> None:
    for f in fields(Bodies):
        torch.testing.assert_close(getattr(a, f.name), getattr(b, f.name), rtol=0, atol=tolerance)


def test_untrained_model_says_all_goes_on_evenly() -> None:
    torch.manual_seed(0)
    past = history(0, 8)
    said = WorldModel(SMALL)(past, plan(0, 8, 4))
    last = past.bodies[:, -1]
    for step in range(4):
        moved = last.position + 0.1 * (step + 1) * last.linear_velocity
        same(said.bodies[:, step], replace(last, position=moved, rotation=said.bodies.rotation[:, step]), 1e-6)
    faster = rotation_vector(said.bodies.rotation[:, 0] @ last.rotation.mT)
    torch.testing.assert_close(faster, 0.1 * last.angular_velocity, rtol=0, atol=1e-3)
    torch.testing.assert_close(said.proprioception[..., :6], past.proprioception[:, -1:, :6].expand(-1, 4, -1))
    torch.testing.assert_close(said.context.recalled[:, :3], said.context.recalled[:, :1].expand(-1, 3, -1, -1))


def test_order_of_entities_does_not_matter() -> None:
    past, order = history(1, 16), [2, 0, 1]
    said = model()(past, plan(1, 16, 3))
    other = model()(replace(past, bodies=reordered(past.bodies, order)), plan(1, 16, 3))
    same(reordered(said.bodies, order), other.bodies, 1e-4)
    torch.testing.assert_close(said.proprioception, other.proprioception)


def test_absent_entity_has_exactly_no_influence() -> None:
    past = history(2, 16, absent=(1,))
    said = model()(past, plan(2, 16, 5))
    haunted = {f.name: getattr(past.bodies, f.name).clone() for f in fields(Bodies)}
    haunted["position"][:, :, 1] = haunted["position"][:, :, 0] + 0.01
    haunted["linear_velocity"][:, :, 1] = 5.0
    haunted["half_extents"][:, :, 1] = 0.02
    other = model()(replace(past, bodies=Bodies(**haunted)), plan(2, 16, 5))
    for k in (0, 2):
        assert torch.equal(said.bodies.position[:, :, k], other.bodies.position[:, :, k])
    assert torch.equal(said.proprioception, other.proprioception)


def test_entity_out_of_reach_has_exactly_no_influence() -> None:
    near, far = history(3, 8), history(3, 8)
    for past, shift in ((near, 0.5), (far, 0.7)):
        past.bodies.position[:, :, 2, 0] += shift
    said, other = model()(near, plan(3, 8, 3)), model()(far, plan(3, 8, 3))
    assert torch.equal(said.bodies.position[:, :, :2], other.bodies.position[:, :, :2])


def test_present_neighbour_does_influence() -> None:
    here, gone = history(4, 16), history(4, 16, absent=(1,))
    apart = model()(here, plan(4, 16, 3)).bodies.position - model()(gone, plan(4, 16, 3)).bodies.position
    assert apart[:, :, [0, 2]].abs().max() > 1e-4


def test_later_commands_change_no_earlier_answer() -> None:
    past, commands = history(5, 8), plan(5, 8, 5)
    changed = commands.clone()
    changed[:, 3:] += 0.3
    said, other = model()(past, commands), model()(past, changed)
    torch.testing.assert_close(said.bodies.position[:, :3], other.bodies.position[:, :3], rtol=0, atol=1e-7)
    assert (said.bodies.position[:, 3:] - other.bodies.position[:, 3:]).abs().max() > 1e-5


def test_hidden_tokens_show_their_first_frame_alone() -> None:
    past = history(6, 8)
    commands = plan(6, 8, 2)
    hidden = torch.zeros(8, 3, 3, dtype=torch.bool)
    hidden[:, 1:, 0] = True
    changed = {f.name: getattr(past.bodies, f.name).clone() for f in fields(Bodies)}
    changed["linear_velocity"][:, 1, 0] += 1.0
    encoder = model()
    seen = [
        encoder.context(replace(past, bodies=Bodies(**bodies)), commands, hidden).recalled
        for bodies in ({f.name: getattr(past.bodies, f.name) for f in fields(Bodies)}, changed)
    ]
    assert torch.equal(*seen)
    anchored = {f.name: getattr(past.bodies, f.name).clone() for f in fields(Bodies)}
    anchored["linear_velocity"][:, 0, 0] += 1.0
    other = encoder.context(replace(past, bodies=Bodies(**anchored)), commands, hidden).recalled
    assert not torch.equal(seen[0][:, 1:], other[:, 1:])


def test_solids_of_the_arm_are_the_geoms_of_the_scene() -> None:
    import mujoco

    scene = build_scene()
    data = mujoco.MjData(scene.model)
    joints = np.array([0.3, -0.2, 0.4, 1.2, -0.5, 0.4])
    data.qpos[scene.joint_qpos] = joints
    mujoco.mj_kinematics(scene.model, data)
    data.qvel[scene.joint_dof] = velocity = np.array([0.3, -0.2, 0.1, 0.4, 0.5, -0.6])
    mujoco.mj_comPos(scene.model, data)
    mujoco.mj_comVel(scene.model, data)
    position = torch.as_tensor(joints)
    hand = Arm(0.1).effector(Joints(position, torch.as_tensor(velocity), position))
    names = ("fixed_jaw_pad", "moving_jaw_pad", "fixed_finger_box", "moving_finger_box")
    assert len(names) == Arm.solids
    for index, name in enumerate(names):
        geom = scene.model.geom(name).id
        np.testing.assert_allclose(hand.position[index], data.geom_xpos[geom], atol=5e-5)
        np.testing.assert_allclose(hand.rotation[index], data.geom_xmat[geom].reshape(3, 3), atol=1e-3)
        spin_and_speed = np.zeros(6)
        mujoco.mj_objectVelocity(scene.model, data, mujoco.mjtObj.mjOBJ_GEOM, geom, spin_and_speed, 0)
        np.testing.assert_allclose(hand.linear_velocity[index], spin_and_speed[3:], atol=2e-3)
        np.testing.assert_allclose(hand.half[index], scene.model.geom_size[geom], atol=1e-7)


def test_a_robot_without_its_geometry_cannot_be_made() -> None:
    class Headless(Embodiment):
        name, joints, solids = "headless", 2, 1

        def effector(self, joints: Joints) -> Effector:
            raise AssertionError("it cannot be made")

    with pytest.raises(TypeError, match=r"abstract methods .*'places', 'pose'"):
        Headless(0.1, 8)


@given(st.integers(0, 10_000))
def test_labels_bring_a_rotation_near_the_identity(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator))
    rotation = q * torch.det(q)
    labels = nearest_labels(rotation)
    torch.testing.assert_close(labels.abs().sum(0), torch.ones(3))
    assert torch.det(labels) > 0.5
    angle = torch.acos(((rotation @ labels).trace() - 1) / 2)
    # No rotation is further than this from the nearest of the cube's 24.
    assert angle < np.deg2rad(62.8) + 1e-3


def test_relabelling_keeps_the_box() -> None:
    past = history(10, 4)
    half = past.bodies.half_extents * torch.tensor([1.0, 2, 3])
    stretched = replace(past, bodies=replace(past.bodies, half_extents=half))
    relabelled, labels = canonical(stretched)
    back = relabelled.bodies.relabelled(labels[:, None].mT)
    same(back, stretched.bodies, 1e-6)


def test_turn_is_a_rotation_and_its_vector() -> None:
    vector = torch.tensor([[0.02, -0.01, 0.03], [0.0, 0.0, 0.0], [1.0, 2.0, -1.0]], dtype=torch.float64)
    matrix = turn(vector)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64).expand(3, 3, 3))
    torch.testing.assert_close(rotation_vector(matrix)[:2], vector[:2], atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", ["object", "token", "tube"])
def test_masks_are_fresh_per_sample_and_step(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    present = torch.ones(256, 3)
    present[:, 2] = 0
    first, second = (draw_mask(present, 4, kind, 0.5, generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert not first[:, 0].any(), "the anchor frame is visible"
    assert not first[..., 2].any(), "an absent entity is not masked"
    counts = first.any(1).sum(-1)
    assert set(counts.tolist()) >= {0, 1}
    assert len(torch.unique(first.flatten(1), dim=0)) > 2
    if kind == "object":
        assert torch.equal(first[:, 1], first[:, 3])


def test_mask_budget_bounds_the_objects() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = draw_mask(torch.ones(500, 6), 3, "object", 1 / 3, generator).any(1).sum(-1)
    assert hidden.max() == 2
    assert 0.5 < hidden.float().mean() < 1.5
    assert not draw_mask(torch.ones(9, 6), 3, "none", 1.0, generator).any()


def test_slots_are_zero_where_absent() -> None:
    slots = encode(bodies_of(observations(11, 4, absent=(1,)).objects))
    assert not slots[..., 1, :].any()
    assert slots[..., 0, :].abs().max() < 6


def episodes(count: int = 6, steps: int = 14) -> list[Episode]:
    """Cubes that slide evenly under a resting hand."""
    seen = observations(12, count, frames=steps + 1)
    action = np.zeros((count, steps, 5))
    goal = Goal.parse("on(red_cube, table)")
    return [
        Episode(seen[n], action[n], np.zeros(steps + 1, bool), goal, seed=n, task="test", robot="sim")
        for n in range(count)
    ]


def trainer(seed: int = 0, steps: int = 20) -> MemberTrainer:
    config = TrainConfig(steps=steps, batch=8, warmup=4, horizon=(2, 3), robot_batch=32)
    return MemberTrainer(SMALL, config, Windows(episodes(), SMALL.history), seed)


def test_twenty_steps_equal_ten_and_ten_resumed() -> None:
    whole, first = trainer(), trainer()
    for _ in range(20):
        whole.train_step()
    for _ in range(10):
        first.train_step()
    second = trainer(seed=5)
    second.train_step()
    second.load_state_dict(first.state_dict())
    for _ in range(10):
        second.train_step()
    assert whole.done
    assert second.done
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_a_tiny_run_learns_how_far_cubes_slide() -> None:
    """Golden: that they go half as far as their speed says is learned from 60 steps."""
    config = TrainConfig(steps=60, batch=8, warmup=10, horizon=(2, 2), learning_rate=1e-2, busy=0.0, moving=0.0)
    windows = Windows(episodes(), SMALL.history)
    windows.bodies = replace(windows.bodies, linear_velocity=2 * windows.bodies.linear_velocity)
    run = MemberTrainer(SMALL, config, windows, 0)
    losses = torch.stack([run.train_step() for _ in range(60)])
    assert losses.isfinite().all()
    assert losses[:10, 0].mean() > 0.5
    assert losses[-10:, 0].mean() < 0.05


def test_windows_stay_within_episodes_and_find_busy_ones() -> None:
    windows = Windows(episodes(count=2, steps=6), 3)
    everywhere, moving, several = windows.starts(2)
    assert everywhere.tolist() == [2, 3, 4, 9, 10, 11]
    assert set(several.tolist()) <= set(moving.tolist()) <= set(everywhere.tolist())
    window = windows.at(torch.tensor([2]), 2)
    torch.testing.assert_close(window.bodies.position[0], windows.bodies.position[3:5])
    torch.testing.assert_close(window.targets[0], windows.proprioception[3:5, 12:])


def test_what_has_fallen_off_the_table_is_not_learned_from() -> None:
    falling, *others = episodes(count=2, steps=6)
    falling.observation.objects.position_in_world[4:, falling.observation.objects.index("blue_cube"), 2] = -0.1
    assert Windows([falling, *others], 3).starts(1)[0].tolist() == [2, 9, 10, 11, 12]


def test_windows_of_finely_recorded_frames_look_back_by_control_steps() -> None:
    windows = Windows(episodes(count=1, steps=14), 3, parts=3)
    assert windows.starts(6)[0].tolist() == [6, 7, 8]
    window = windows.at(torch.tensor([7]), 6)
    torch.testing.assert_close(window.history.bodies.position[0], windows.bodies.position[[1, 4, 7]])
    torch.testing.assert_close(window.commands[0], windows.proprioception[8:14, 12:])
    torch.testing.assert_close(window.targets[0], windows.proprioception[[10, 13], 12:])


def test_a_mirrored_window_is_a_mirrored_world() -> None:
    window = Windows(episodes(count=2), 3).at(torch.tensor([4, 5]), 2)
    joints = torch.tensor([-1.0, 1, 1, 1, 1, 1])
    mirrored = window.mirrored(torch.tensor([True, False]), joints)
    reflect = torch.tensor([1.0, -1, 1])
    torch.testing.assert_close(mirrored.bodies.position[0], window.bodies.position[0] * reflect)
    torch.testing.assert_close(mirrored.bodies.angular_velocity[0], -window.bodies.angular_velocity[0] * reflect)
    torch.testing.assert_close(mirrored.proprioception[0, :, 0], -window.proprioception[0, :, 0])
    same(mirrored.bodies[1], window.bodies[1])
    # Turning, then reflecting, is reflecting, then turning the other way: the poses stay those of one motion.
    before, after = (mirrored.bodies.rotation[0, step] for step in (0, 1))
    turned = rotation_vector(after @ before.mT)
    torch.testing.assert_close(turned, 0.1 * mirrored.bodies.angular_velocity[0, 0], rtol=0, atol=2e-3)


def test_commands_are_ramped_as_the_driver_does() -> None:
    before, targets = torch.zeros(1, 1), torch.tensor([[[1.0], [0.0]]])
    ways = ramped(before, targets, 5)[0, :, :, 0]
    torch.testing.assert_close(ways, torch.tensor([[0.2, 0.4, 0.6, 0.8, 1.0], [0.8, 0.6, 0.4, 0.2, 0.0]]))


def test_bad_input_is_refused() -> None:
    with pytest.raises(EmbodiedError, match="got none"):
        Windows([], 3)
    with pytest.raises(EmbodiedError, match="at least 15 steps"):
        Windows(episodes(), 15)
    with pytest.raises(EmbodiedError, match=r"8 windows cannot be shared by 1 processes in 9 parts"):
        MemberTrainer(SMALL, TrainConfig(batch=8, accumulate=9, horizon=(2, 3)), Windows(episodes(), 3), 0)
    with pytest.raises(EmbodiedError, match="looks as far"):
        MemberTrainer(SMALL, TrainConfig(horizon=(3, 9)), Windows(episodes(), 3), 0)
    other = MemberTrainer(replace(SMALL, width=8), TrainConfig(steps=3), Windows(episodes(), 3), 0)
    with pytest.raises(EmbodiedError, match=r"WorldModel of another configuration.*size mismatch"):
        trainer().load_state_dict(other.state_dict())
    damaged = episodes(count=2)
    damaged[1].observation.objects.position_in_world[3, 4, 0] = np.nan
    with pytest.raises(EmbodiedError, match="poses are not all finite"):
        Windows(damaged, 3)
    with pytest.raises(EmbodiedError, match="at least 3 steps"):
        Windows(episodes(steps=2), 3)


def test_a_checkpoint_for_other_features_is_refused(tmp_path: Path) -> None:
    run = trainer()
    checkpoint.save(tmp_path / "member.safetensors", run.state_dict(), {"step": 0})
    (member,) = load_members([tmp_path / "member.safetensors"], SMALL)
    assert all(torch.equal(value, run.state_dict()[f"model.{name}"]) for name, value in member.state_dict().items())
    message = r"member\.safetensors is of a WorldModel of another configuration than .*hidden=32.*size mismatch"
    with pytest.raises(EmbodiedError, match=message):
        load_members([tmp_path / "member.safetensors"], replace(SMALL, hidden=32))
    with pytest.raises(EmbodiedError, match=r"of another configuration than .*robot='pusher'"):
        load_members([tmp_path / "member.safetensors"], replace(SMALL, robot="pusher"))
