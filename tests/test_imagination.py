"""Imagination: interventions, plans and policies through one function, and influence measured by editing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from slot_scenes import NAMES, observations, shaken

from envs import pusher
from envs.control import CartesianDelta, PlanarDelta, targets
from envs.episode import Rollout
from envs.errors import EmbodiedError
from envs.goals import Goal
from envs.interventions import Intervention, apply_to_state, edit_actions
from envs.kinematics import body_poses
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.types import PROPRIOCEPTION, Array, Observation
from world_models.causal.influence import counterfactual, influence
from world_models.cjepa.ensemble import Ensemble, mean_of
from world_models.cjepa.model import ModelConfig, WorldModel
from world_models.imagination import imagine
from world_models.slots.bodies import bodies_of

CONFIG = ModelConfig(width=16, layers=1, heads=2, embedding=16, hidden=24, future=4, parts=1)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    members = []
    for seed in range(2):
        torch.manual_seed(seed)
        members.append(shaken(WorldModel(CONFIG), seed))
    return Ensemble(members)


def actions(batch: int, steps: int = 6, seed: int = 0) -> Array:
    plan = np.random.default_rng(seed).uniform(-0.5, 0.5, (batch, steps, 5))
    plan[..., 2] = 0.0
    return plan


def equal(a: Rollout, b: Rollout, tolerance: float = 0.0) -> None:
    for name in ("position_in_world", "quaternion_in_world", "linear_velocity_in_world", "present"):
        np.testing.assert_allclose(
            getattr(a.observation.objects, name), getattr(b.observation.objects, name), rtol=0, atol=tolerance
        )


def test_untrained_ensemble_lets_everything_go_on_evenly() -> None:
    still = Ensemble([WorldModel(CONFIG), WorldModel(CONFIG)])
    seen = observations(0, 4)
    rollout = imagine(still, seen, actions(4))
    assert rollout.source == "model"
    assert rollout.observation.objects.position_in_world.shape == (4, 7, len(NAMES), 3)
    start, time = seen.objects[:, -1], 0.1 * np.arange(7)
    moved = start.position_in_world[:, None] + time[:, None, None] * start.linear_velocity_in_world[:, None]
    np.testing.assert_allclose(rollout.observation.objects.position_in_world[..., 4:, :], moved[..., 4:, :], atol=1e-5)
    assert not rollout.uncertainty.any()
    np.testing.assert_allclose(rollout.observation.time, seen.time[:, -1:] + time)


def test_commands_are_the_controllers_and_the_hand_follows_the_joints(ensemble: Ensemble) -> None:
    seen, plan = observations(1, 3), actions(3)
    rollout = imagine(ensemble, seen, plan)
    proprioception = rollout.observation.proprioception
    wanted = targets(CartesianDelta(), seen.proprioception[:, -1, PROPRIOCEPTION["joint_target"]], plan)
    np.testing.assert_allclose(proprioception[:, 1:, PROPRIOCEPTION["joint_target"]], wanted, atol=1e-9)
    position, _ = body_poses(proprioception[..., PROPRIOCEPTION["joint_position"]])
    np.testing.assert_allclose(rollout.observation.objects.position_in_world[:, :, 1:4], position, atol=1e-6)


def test_a_pusher_is_commanded_in_the_plane_and_its_entity_follows_its_slides() -> None:
    torch.manual_seed(0)
    model = shaken(WorldModel(ModelConfig(robot="pusher", width=16, heads=2, hidden=24, future=4)), 0)
    worlds = Simulation(build_scene(SceneConfig(objects=("red_cube", "white_cylinder"), robot="pusher")), 3, 1)
    worlds.step(np.full((3, 2), 0.4))
    seen = worlds.observe()
    plan = np.random.default_rng(0).uniform(-1.0, 1.0, (3, 6, 2))
    rollout = imagine(Ensemble([model]), seen, plan)
    joints = rollout.observation.proprioception
    wanted = targets(PlanarDelta(), seen.proprioception[:, 4:], plan)
    np.testing.assert_allclose(joints[:, 1:, 4:], wanted, atol=1e-9)
    place = rollout.observation.objects.position_in_world[:, :, seen.objects.index("pusher")]
    np.testing.assert_allclose(place[..., :2], joints[..., :2], atol=1e-9)
    np.testing.assert_allclose(place[..., 2], pusher.HEIGHT, atol=1e-6)
    assert np.ptp(joints[:, :, 0], axis=1).min() > 1e-4
    speed = rollout.observation.objects.linear_velocity_in_world[:, 1:, seen.objects.index("pusher")]
    np.testing.assert_allclose(speed, 10.0 * np.diff(place, axis=1), atol=1e-9)


@pytest.mark.parametrize("text", ["move(blue_cube, x=+0.03)", "mass(blue_cube, 0.1)", "remove(blue_cube)"])
def test_an_edit_of_what_is_not_there_changes_nothing(ensemble: Ensemble, text: str) -> None:
    seen, plan = observations(2, 4, absent=(1,)), actions(4)
    asked = imagine(ensemble, seen, plan, interventions=[Intervention.parse(text)])
    equal(asked, imagine(ensemble, seen, plan))
    assert not asked.observation.objects.mass[..., NAMES.index("blue_cube")].any()


@pytest.mark.parametrize(
    "text",
    ["remove(blue_cube)", "move(red_cube, x=+0.03, yaw=+0.4)", "velocity(green_cube, x=0.2)", "mass(red_cube, 0.1)",
     "friction(red_cube, 0.9)", "size(blue_cube, 0.02)"],
)  # fmt: skip
def test_imagining_an_edit_is_imagining_from_the_edited_past(ensemble: Ensemble, text: str) -> None:
    seen, plan, edit = observations(2, 4), actions(4), Intervention.parse(text)
    edited = Observation(seen.proprioception, apply_to_state(edit, seen.objects, time_axis=-1), seen.time)
    asked = imagine(ensemble, seen, plan, interventions=[edit])
    equal(asked, imagine(ensemble, edited, plan))
    plain = imagine(ensemble, seen, plan).observation.objects.position_in_world
    assert np.abs(asked.observation.objects.position_in_world - plain).max() > 1e-6


def test_edit_of_the_plan_is_the_edited_plan(ensemble: Ensemble) -> None:
    seen, plan, edit = observations(3, 4), actions(4), Intervention.parse("action(mirror, t=2)")
    equal(imagine(ensemble, seen, plan, interventions=[edit]), imagine(ensemble, seen, edit_actions(edit, plan)))


def test_later_edit_acts_from_its_step_on(ensemble: Ensemble) -> None:
    seen, plan = observations(4, 4), actions(4)
    asked = imagine(ensemble, seen, plan, interventions=[Intervention.parse("remove(red_cube, t=3)")])
    plain = imagine(ensemble, seen, plan)
    there = asked.observation.objects.present[:, :, NAMES.index("red_cube")]
    assert there[:, :3].all()
    assert not there[:, 3:].any()
    paths = (r.observation.objects.position_in_world[:, :3] for r in (asked, plain))
    np.testing.assert_allclose(*paths, atol=1e-6)


def test_batch_shapes_and_torch_agree_with_numpy(ensemble: Ensemble) -> None:
    seen, plan = observations(5, 4), actions(4)
    whole = imagine(ensemble, seen, plan)
    one = imagine(ensemble, seen[2], plan[2])
    assert one.action.shape == (6, 5)
    np.testing.assert_allclose(
        one.observation.objects.position_in_world, whole.observation.objects.position_in_world[2], atol=2e-6
    )
    tensors = imagine(ensemble, seen.map(torch.as_tensor), torch.as_tensor(plan))
    assert isinstance(tensors.observation.proprioception, torch.Tensor)
    equal(whole, Rollout("model", tensors.observation.map(lambda array: array.numpy()), plan), 1e-9)


def test_present_alone_is_enough(ensemble: Ensemble) -> None:
    seen, plan = observations(6, 4), actions(4)
    rollout = imagine(ensemble, seen[:, -1], plan)
    assert np.isfinite(rollout.observation.objects.position_in_world).all()
    # The cubes slide evenly, so the missing past is extrapolated to what it was.
    equal(rollout, imagine(ensemble, seen, plan), 1e-3)


def test_chunks_do_not_matter(ensemble: Ensemble) -> None:
    seen, plan = observations(7, 4), actions(4, steps=4)
    whole = imagine(ensemble, seen, plan)
    belief = imagine(ensemble, seen, plan, horizon=1)
    np.testing.assert_allclose(
        belief.observation.objects.position_in_world, whole.observation.objects.position_in_world[:, :2], atol=1e-6
    )


def test_uncertainty_is_the_members_disagreement(ensemble: Ensemble) -> None:
    rollout = imagine(ensemble, observations(8, 4, absent=(1,)), actions(4))
    assert not rollout.uncertainty[:, 0].any()
    assert (rollout.uncertainty[:, -1, [4, 6]] > 0).all()
    assert not rollout.uncertainty[:, :, [0, 1, 2, 3, 5]].any()


def test_mean_of_members_restores_axes() -> None:
    bodies = bodies_of(observations(9, 4).objects)[:, -1]
    labels = torch.eye(3)[[1, 2, 0]].expand(4, 3, 3, 3)
    mean, spread = mean_of([bodies.relabelled(labels)] * 2, labels)
    torch.testing.assert_close(mean.rotation, bodies.rotation)
    assert not spread.any()


class Nudge:
    """Moves the tool forward."""

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def act(self, observation: Observation, goal: Goal) -> Array:
        action = np.zeros((*observation.objects.shape, 5))
        action[..., 0] = 0.3
        return action


@pytest.mark.parametrize("layers", [0, 1])
def test_members_in_one_call_say_what_each_says(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, layers=layers, parts=2)
    members = [shaken(WorldModel(config), seed) for seed in range(3)]
    seen, plan = observations(3, 4, absent=(1,)), actions(4, 5)
    alone = imagine(Ensemble(members), seen, plan)
    # As on a GPU: without compiled code, and then with all weights stacked.
    monkeypatch.setattr(WorldModel, "compiled", staticmethod(lambda where: False))
    calls = []
    for member in members:
        member.register_forward_hook(lambda *_: calls.append(1))
    together = imagine(Ensemble(members), seen, plan)
    equal(alone, together, 1e-5)
    np.testing.assert_allclose(together.uncertainty, alone.uncertainty, rtol=0, atol=1e-6)
    assert len(calls) == 2, "one call for all members per chunk of plan"


def test_policy_acts_on_what_is_imagined(ensemble: Ensemble) -> None:
    seen, policy = observations(10, 3), Nudge()
    goal = Goal.parse("on(red_cube, table)")
    rollout = imagine(ensemble, seen, policy=policy, goal=goal, horizon=4)
    assert policy.resets == 1
    np.testing.assert_array_equal(rollout.action[..., 0], 0.3)
    planned = imagine(ensemble, seen, rollout.action)
    joints, expected = rollout.observation.proprioception, planned.observation.proprioception
    np.testing.assert_allclose(joints[..., 12:], expected[..., 12:], atol=1e-9)
    # A plan is encoded several steps at once, a policy's actions one by one: equal at first, close later.
    positions = (r.observation.objects.position_in_world for r in (rollout, planned))
    np.testing.assert_allclose(*(p[:, :2] for p in positions), atol=1e-6)
    np.testing.assert_allclose(*(r.observation.objects.position_in_world for r in (rollout, planned)), atol=2e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either actions, or a policy"),
        ({"actions": actions(2), "interventions": [Intervention.parse("gravity(z=-1.62)")]}, "one gravity"),
        ({"actions": actions(2), "interventions": [Intervention.parse("remove(red_cub)")]}, "Did you mean 'red_cube'"),
        ({"actions": actions(3)}, "does not belong to plans"),
        ({"actions": actions(2), "horizon": 0}, "A horizon of 0 was given; at least one step"),
        ({"actions": actions(2, steps=0)}, "A horizon of 0 was given; at least one step"),
        (
            {"policy": Nudge(), "goal": Goal.parse("on(red_cube, table)"), "horizon": 2,
             "interventions": [Intervention.parse("action(hold)")]},
            "edits a plan",
        ),
    ],
)  # fmt: skip
def test_bad_questions_are_refused(ensemble: Ensemble, arguments: dict, message: str) -> None:
    with pytest.raises(EmbodiedError, match=message):
        imagine(ensemble, observations(0, 2), **arguments)
    with pytest.raises(EmbodiedError, match="at least one member"):
        Ensemble([])


def test_influence_is_measured_by_intervention(ensemble: Ensemble) -> None:
    seen, plan = observations(11, 5, absent=(2,)), actions(5)
    graph = influence(ensemble, seen, plan)
    assert graph.names == NAMES[4:]
    assert graph.effect.shape == (5, 3, 3)
    assert not np.diagonal(graph.effect, axis1=-2, axis2=-1).any()
    assert not graph.effect[:, 2].any(), "an absent entity has no influence"
    assert not graph.effect[:, :, 2].any()
    both = counterfactual(ensemble, seen, plan, [Intervention("remove", "red_cube")])
    expected = np.linalg.norm(both.effect[:, -1, NAMES.index("blue_cube")], axis=-1)
    np.testing.assert_allclose(graph.effect[:, 0, 1], expected, atol=1e-9)
    assert graph.edges(0.0).any()
    moved = influence(ensemble, seen, plan, edit=Intervention.parse("move(red_cube, x=+0.02)"))
    assert not np.allclose(moved.effect, graph.effect)
