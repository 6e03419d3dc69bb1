"""Controllers are pure, open-loop, within reach, and the same for numpy and torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from envs import pusher
from envs.control import (
    CONTROLLERS,
    GRIPPER_RANGE,
    CartesianDelta,
    JointAbsolute,
    JointDelta,
    PlanarDelta,
    check_action,
    controller,
    targets,
)
from envs.errors import EmbodiedError
from envs.kinematics import forward
from envs.robot import HOME
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.so101 import JOINT_HIGH, JOINT_LOW, JOINTS

START = np.tile(np.array(HOME), (8, 1))
PUSHER_START = np.tile(np.array(pusher.HOME), (8, 1))


@pytest.mark.parametrize("name", CONTROLLERS)
def test_numpy_and_torch_agree(name: str) -> None:
    control = controller(name)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (8, 15, control.spec.size))
    start = START if control.joints == JOINTS else PUSHER_START
    plain = targets(control, start, actions)
    tensors = targets(control, torch.from_numpy(start), torch.from_numpy(actions))
    np.testing.assert_allclose(plain, tensors.numpy(), atol=1e-9)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_targets_stay_within_the_joints_ranges(name: str) -> None:
    control = controller(name)
    actions = np.random.default_rng(1).choice([-1.0, 1.0], (8, 40, control.spec.size))
    arm = control.joints == JOINTS
    planned = targets(control, START if arm else PUSHER_START, actions)
    low, high = (JOINT_LOW, JOINT_HIGH) if arm else (pusher.JOINT_LOW, pusher.JOINT_HIGH)
    assert (planned >= np.array(low) - 1e-6).all()
    assert (planned <= np.array(high) + 1e-6).all()


@pytest.mark.parametrize("name", CONTROLLERS)
def test_the_action_that_led_somewhere_is_found_again(name: str) -> None:
    control = controller(name)
    start = START if control.joints == JOINTS else PUSHER_START
    actions = np.random.default_rng(2).uniform(-0.2, 0.2, (8, control.spec.size))
    target = control.target(start, actions)
    np.testing.assert_allclose(control.action(start, target), actions, atol=2e-3)
    tensors = control.action(torch.from_numpy(start), torch.from_numpy(target))
    np.testing.assert_allclose(tensors.numpy(), control.action(start, target), atol=1e-9)
    far = target + np.where(actions > 0, 9.0, -9.0)[:, :1]
    assert np.abs(control.action(start, far)).max() == 1.0


def test_cartesian_delta_moves_the_tool_by_what_it_says() -> None:
    control = CartesianDelta()
    start = control.target(START, np.zeros((8, 5)))
    before = forward(start)
    after = forward(control.target(start, np.tile([0.5, -0.5, 0.2, 0.5, 0.0], (8, 1))))
    np.testing.assert_allclose(after.position - before.position, np.tile([0.015, -0.015, 0.006], (8, 1)), atol=1e-6)
    np.testing.assert_allclose(after.yaw - before.yaw, 0.15, atol=1e-6)


def test_pushing_against_the_rim_does_not_wind_up() -> None:
    control = CartesianDelta()
    out = targets(control, START, np.tile([1.0, 0, 0, 0, 0], (8, 30, 1)))
    back = targets(control, out[:, -1], np.tile([-1.0, 0, 0, 0, 0], (8, 2, 1)))
    moved = forward(out[:, -1]).position[:, 0] - forward(back[:, -1]).position[:, 0]
    assert (moved > 0.03).all()


def test_planar_delta_adds_to_the_command_alone() -> None:
    control = PlanarDelta()
    np.testing.assert_array_equal(control.target(PUSHER_START, np.zeros((8, 2))), PUSHER_START)
    moved = control.target(PUSHER_START, np.tile([0.5, -1.0], (8, 1))) - PUSHER_START
    np.testing.assert_allclose(moved, np.tile([0.015, -0.03], (8, 1)), atol=1e-12)


def test_bad_actions_are_named() -> None:
    spec = CartesianDelta().spec
    with pytest.raises(EmbodiedError, match=r"shape \(2, 4\).*need \(2, 5\)"):
        check_action(np.zeros((2, 4)), spec, 2)
    action = np.zeros((3, 5))
    action[1, 2] = np.nan
    with pytest.raises(EmbodiedError, match="action of world 1 has z = nan"):
        check_action(action, spec, 3)
    assert check_action(np.full((1, 5), 7.0), spec, 1).max() == 1.0
    with pytest.raises(EmbodiedError, match="Unknown action mode 'cartesian'"):
        controller("cartesian")


def test_three_action_spaces_reach_the_same_states() -> None:
    """One path of the tool, told as Cartesian deltas, as joint deltas and as absolute joints, moves the world alike."""
    scene = build_scene(SceneConfig(objects=("red_cube",)))
    worlds, steps = 4, 12
    cartesian, absolute = CartesianDelta(), JointAbsolute()
    # Wide enough for any step of the tool; half the wrist's factor is the other joints'.
    delta = JointDelta(turn=1.2)
    rng = np.random.default_rng(5)
    plan = np.clip(rng.normal(0.0, 0.5, (steps, worlds, 5)) - np.array([0.0, 0.0, 0.2, 0.0, 0.0]), -1.0, 1.0)
    simulations = [Simulation(scene, worlds, 1, control) for control in (cartesian, delta, absolute)]
    low, high = np.array(JOINT_LOW), np.array(JOINT_HIGH)
    first, last = GRIPPER_RANGE
    for action in plan:
        before = simulations[0].joint_target
        seen = [simulations[0].step(action)]
        target = simulations[0].joint_target
        turned = (target - before)[:, :5] / (delta.turn * np.array([1.0, 1.0, 1.0, 1.0, 2.0]))
        opened = 2.0 * (target[:, 5:] - first) / (last - first) - 1.0
        assert np.abs(turned).max() <= 1.0
        seen.append(simulations[1].step(np.concatenate([turned, opened], axis=1)))
        seen.append(simulations[2].step(2.0 * (target - low) / (high - low) - 1.0))
        for other in seen[1:]:
            np.testing.assert_allclose(other.proprioception, seen[0].proprioception, atol=1e-6)
            np.testing.assert_allclose(other.objects.position_in_world, seen[0].objects.position_in_world, atol=1e-6)
    moved = seen[0].proprioception[:, :6] - np.array(HOME)
    assert np.abs(moved).max() > 0.2


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_command_arrives_after_the_servos_delay(name: str) -> None:
    """At 20 Hz with 50 ms of delay, the joints stand for a control step more before they do the same."""
    config = SceneConfig(robot="pusher") if name == "planar_delta" else SceneConfig()
    prompt = Simulation(build_scene(config), 1, 1, controller(name, 20.0))
    late_servo = replace(config.servo, delay=0.05)
    late = Simulation(build_scene(replace(config, servo=late_servo)), 1, 1, controller(name, 20.0))
    still = prompt.observe().proprioception[:, : len(prompt.scene.joints)]
    paths = [[], []]
    action = np.full((1, prompt.control.spec.size), 0.4)
    for simulation, path in zip((prompt, late), paths, strict=True):
        for _ in range(6):
            path.append(simulation.step(action).proprioception[:, : still.shape[1]])
    np.testing.assert_allclose(paths[1][0], still, atol=2e-3)
    assert np.abs(paths[0][0] - still).max() > 5e-3
    # While it waits, the arm sags a little, as it does in a step of its own.
    np.testing.assert_allclose(paths[1][1:], paths[0][:-1], atol=6e-3)
    assert np.abs(paths[1][1] - paths[0][1]).max() > 9e-3
