"""Plans rolled ahead in one batch against `imagine`, their slow twin."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from slot_scenes import NAMES, observations, shaken

from embodied.data.play import PlayConfig, play_batch
from envs.control import CartesianDelta, PlanarDelta
from envs.errors import EmbodiedError
from envs.geometry import quat_to_matrix
from envs.scene import build_scene
from envs.simulation import Simulation
from envs.types import Array, ObjectState, Observation
from world_models.cjepa.ahead import Ahead
from world_models.cjepa.ensemble import Ensemble
from world_models.cjepa.model import ModelConfig, WorldModel
from world_models.imagination import imagine

CONFIG = ModelConfig(width=16, layers=0, heads=2, embedding=16, hidden=24, future=2, parts=5, rounds=1)
VELOCITIES = ("linear_velocity_in_world", "angular_velocity_in_world")


def ensemble(members: int = 2, config: ModelConfig = CONFIG) -> Ensemble:
    made = []
    for seed in range(members):
        torch.manual_seed(seed)
        made.append(shaken(WorldModel(config), seed))
    return Ensemble(made)


def actions(worlds: int, count: int, size: int = 5, steps: int = 3) -> Array:
    plans = np.random.default_rng(0).uniform(-0.5, 0.5, (worlds, count, steps, size))
    plans[..., 2:3] = 0.0
    return plans


def slowly(model: Ensemble, history: Observation, plans: Array, control: CartesianDelta | PlanarDelta):
    """What `imagine` says, as a state and an uncertainty `[M N H+1 ...]`."""
    worlds, count = plans.shape[:2]
    repeated = history.map(lambda array: np.repeat(array, count, axis=0))
    rollout = imagine(model, repeated, plans.reshape(-1, *plans.shape[2:]), control=control)

    def shaped(array: Array) -> Array:
        return array.reshape(worlds, count, *array.shape[1:])

    return rollout.observation.objects.map(shaped), shaped(rollout.uncertainty)


def assert_same(said: tuple[ObjectState, Array], expected: tuple[ObjectState, Array]) -> None:
    # Random weights make contacts wild, and 15 steps of that tell the last digit of one sum from another's.
    (fast, doubt), (slow, slow_doubt) = said, expected
    np.testing.assert_allclose(fast.position_in_world, slow.position_in_world, rtol=0, atol=5e-4)
    # The sign of a quaternion means nothing.
    rotations = (quat_to_matrix(state.quaternion_in_world) for state in (fast, slow))
    np.testing.assert_allclose(*rotations, rtol=0, atol=2e-3)
    for name, tolerance in zip(VELOCITIES, (1e-3, 2e-2), strict=True):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), rtol=0, atol=tolerance)
    for name in ("half_extents", "mass", "friction", "present", "colour", "confidence"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))
    np.testing.assert_allclose(doubt, slow_doubt, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("layers", "rounds", "members", "parts"), [(0, 1, 2, 5), (0, 2, 3, 1), (1, 1, 2, 5), (1, 2, 1, 1)]
)
def test_plans_rolled_together_equal_plans_imagined(layers: int, rounds: int, members: int, parts: int) -> None:
    model = ensemble(members, replace(CONFIG, layers=layers, rounds=rounds, parts=parts))
    seen, plans = observations(0, 3, absent=(1,)), actions(3, 4)
    said = Ahead(model, CartesianDelta()).begin(seen)(plans)
    assert_same(said, slowly(model, seen, plans, CartesianDelta()))
    moved = np.abs(np.diff(said[0].position_in_world, axis=2)).max(axis=(0, 1, 2, 4))
    assert np.all(moved[[NAMES.index(name) for name in ("gripper", "red_cube", "green_cube")]] > 1e-3)
    assert not moved[NAMES.index("blue_cube")]
    assert (said[1][:, :, -1, NAMES.index("red_cube")].max() > 1e-3) == (members > 1)


def test_objects_are_not_felt_where_the_ablation_says_so() -> None:
    model = ensemble(1, replace(CONFIG, between_bodies=False))
    seen, plans = observations(1, 2), actions(2, 3)
    assert_same(Ahead(model, CartesianDelta()).begin(seen)(plans), slowly(model, seen, plans, CartesianDelta()))


def test_pushers_among_cylinders_and_boxes() -> None:
    chosen = PlayConfig(world="boxes", worlds=4, steps=8, branches=0.0)
    simulation = Simulation(build_scene(chosen.scene), 4, threads=1, control=PlanarDelta())
    episodes = play_batch(simulation, chosen, (3, 0))
    seen = Observation.stack([episode.observation[5:8] for episode in episodes])
    model, plans = ensemble(2, replace(CONFIG, robot="pusher")), 2.0 * actions(len(episodes), 6, size=2)
    assert_same(Ahead(model, PlanarDelta()).begin(seen)(plans), slowly(model, seen, plans, PlanarDelta()))


def test_the_present_alone_is_enough_and_one_outlook_serves_many_rounds() -> None:
    model, seen = ensemble(), observations(2, 2)
    outlook = Ahead(model, CartesianDelta()).begin(seen[:, -1:])
    plans = actions(2, 3)
    first = outlook(plans)
    outlook(-plans)
    again = outlook(plans)
    np.testing.assert_array_equal(first[0].position_in_world, again[0].position_in_world)
    np.testing.assert_array_equal(first[1], again[1])
    assert_same(first, slowly(model, seen[:, -1:], plans, CartesianDelta()))


@pytest.mark.parametrize("layers", [0, 1])
def test_scattered_plans_are_imagined_by_one_member_each(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ensemble(3, replace(CONFIG, layers=layers))
    seen, plans = observations(4, 2, absent=(1,)), actions(2, 7)
    apart = [Ahead(Ensemble([member]), CartesianDelta()).begin(seen)(plans)[0] for member in model.members]
    for rows in (1024, 9):
        monkeypatch.setattr("world_models.cjepa.ahead.ROWS", rows)
        said, doubt = Ahead(model, CartesianDelta()).begin(seen)(plans, scattered=True)
        assert said.shape == apart[0].shape == doubt.shape[:-1]
        assert not doubt.any()
        for n in range(7):
            assert_same((said[:, n], doubt[:, n]), (apart[n % 3][:, n], doubt[:, n]))
    assert not np.allclose(apart[0].position_in_world, apart[1].position_in_world, atol=5e-4)


@pytest.mark.parametrize(("layers", "members"), [(0, 2), (1, 1)])
def test_one_step_and_another_are_what_is_imagined(layers: int, members: int) -> None:
    model = ensemble(members, replace(CONFIG, layers=layers))
    ahead, seen, plan = Ahead(model, CartesianDelta()), observations(5, 4, absent=(1,)), actions(4, 1)[:, 0]
    expected = imagine(model, seen, plan[:, :1], control=CartesianDelta()).observation[:, 1]
    said = ahead.begin(seen).after(plan[:, 0])
    for name, tolerance in (("position_in_world", 5e-4), ("linear_velocity_in_world", 1e-3)):
        there, wanted = (getattr(each.objects, name) for each in (said, expected))
        np.testing.assert_allclose(there, wanted, rtol=0, atol=tolerance)
    np.testing.assert_allclose(said.proprioception, expected.proprioception, rtol=0, atol=1e-4)
    np.testing.assert_allclose(said.proprioception[:, 12:], expected.proprioception[:, 12:], rtol=0, atol=1e-12)
    np.testing.assert_allclose(said.time, expected.time)
    assert np.abs(said.proprioception[:, 6:12] - seen.proprioception[:, -1, 6:12]).max() > 1e-3
    recent = Observation.concat([seen[:, 1:], Observation.stack([said], axis=1)], axis=1)
    further = ahead.begin(recent).after(plan[:, 1])
    commanded = CartesianDelta().target(said.proprioception[:, 12:], plan[:, 1])
    np.testing.assert_allclose(further.proprioception[:, 12:], commanded, rtol=0, atol=1e-12)


def test_worlds_too_many_for_one_batch_are_rolled_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen, plans = ensemble(), observations(3, 5), actions(5, 4)
    whole = Ahead(model, CartesianDelta()).begin(seen)(plans)
    monkeypatch.setattr("world_models.cjepa.ahead.ROWS", 2 * 4 * 2)
    assert_same(Ahead(model, CartesianDelta()).begin(seen)(plans), whole)


def test_ensembles_of_two_shapes_are_refused() -> None:
    mixed = Ensemble([WorldModel(CONFIG), WorldModel(replace(CONFIG, hidden=16))])
    with pytest.raises(EmbodiedError, match="members of one shape"):
        Ahead(mixed, CartesianDelta())
