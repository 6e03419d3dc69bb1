"""Play: reproducible, physical, and branched into what-ifs that share actions and past."""

import numpy as np
import pytest

from embodied.data.play import PlayConfig, play, play_batch
from embodied.data.strokes import AREA, PRESENT, layouts
from envs.geometry import box_signed_distance
from envs.scene import build_scene
from envs.simulation import Simulation, SimulationState
from envs.types import Episode

WORLDS, STEPS = 12, 14


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return Simulation(build_scene(PlayConfig().scene), WORLDS, 1)


@pytest.fixture(scope="module")
def episodes(simulation: Simulation) -> list[Episode]:
    return play_batch(simulation, PlayConfig(worlds=WORLDS, steps=STEPS, branches=1.0), (3, 0))


def test_same_seed_same_play(simulation: Simulation, episodes: list[Episode]) -> None:
    again = play_batch(simulation, PlayConfig(worlds=WORLDS, steps=STEPS, branches=1.0), (3, 0))
    other = play_batch(simulation, PlayConfig(worlds=WORLDS, steps=STEPS, branches=1.0), (3, 1))
    assert len(again) == len(episodes)
    for a, b in zip(again, episodes, strict=True):
        np.testing.assert_array_equal(a.action, b.action)
        np.testing.assert_array_equal(a.observation.objects.position_in_world, b.observation.objects.position_in_world)
        assert a.interventions == b.interventions
    assert not np.array_equal(other[0].action, episodes[0].action)


def test_one_episode_per_world_then_branches(episodes: list[Episode]) -> None:
    first, branches = episodes[:WORLDS], episodes[WORLDS:]
    assert all(not episode.interventions and episode.length == STEPS for episode in first)
    assert len(branches) > WORLDS // 3
    assert {branch.interventions[0].kind for branch in branches} == {"move", "remove"}
    assert all(np.abs(episode.action).max() <= 1 for episode in episodes)


def test_branches_share_actions_and_show_an_edited_past(episodes: list[Episode]) -> None:
    for branch in episodes[WORLDS:]:
        (edit,) = branch.interventions
        assert edit.step == 2
        parents = [e for e in episodes[:WORLDS] if np.array_equal(e.action[-branch.length :], branch.action)]
        assert len(parents) == 1
        start = STEPS - branch.length
        past = parents[0].observation[start : start + 3].objects
        seen = branch.observation[:3].objects
        k = seen.index(str(edit.entity))
        if edit.kind == "remove":
            assert not branch.observation.objects.present[:, k].any()
        else:
            shift = seen.position_in_world[:, k] - past.position_in_world[:, k]
            np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-6)
            assert np.linalg.norm(shift[0]) > 0.009
        others = [i for i in range(len(seen.names)) if i != k]
        np.testing.assert_array_equal(seen.position_in_world[:, others], past.position_in_world[:, others])


def test_kept_states_are_exact(simulation: Simulation) -> None:
    config = PlayConfig(worlds=WORLDS, steps=STEPS, branches=0.0, states=True)
    episode = play_batch(simulation, config, (4, 0))[5]
    assert episode.simulator_state.shape[0] == STEPS + 1
    simulation.restore(SimulationState(episode.simulator_state[4:5]), np.array([0]))
    actions = np.zeros((WORLDS, 5))
    for step in range(4, STEPS):
        actions[0] = episode.action[step]
        seen = simulation.step(actions)
    np.testing.assert_array_equal(seen.objects.position_in_world[0], episode.observation.objects.position_in_world[-1])


def test_play_moves_cubes_and_some_move_others() -> None:
    config = PlayConfig(worlds=24, steps=24, branches=0.0, threads=1)
    seen = next(play(config, 1))
    moving = [
        np.linalg.norm(np.diff(e.observation.objects.position_in_world[:, 4:], axis=0), axis=-1) > 0.002 for e in seen
    ]
    assert np.mean([m.any() for m in moving]) > 0.5
    assert any((m.sum(1) >= 2).any() for m in moving)


def test_layouts_are_free_and_vary() -> None:
    layout = layouts(np.random.default_rng(0), 300, 3, 0.5)
    counts = np.bincount(layout.present.sum(1), minlength=4) / 300
    np.testing.assert_allclose(counts, PRESENT, atol=0.1)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        gap = box_signed_distance(
            layout.object_position[:, i], layout.object_quaternion[:, i], layout.half_extents[:, i],
            layout.object_position[:, j], layout.object_quaternion[:, j], layout.half_extents[:, j],
        )  # fmt: skip
        assert gap[layout.present[:, i] & layout.present[:, j]].min() > 0
    x = layout.object_position[..., 0][layout.present]
    assert x.min() > AREA[0][0]
    assert x.max() < AREA[0][1]
    height = layout.object_position[..., 2] - layout.half_extents[..., 2]
    np.testing.assert_allclose(height[layout.present], 0.0, atol=1e-12)
    assert len(np.unique(layout.mass.round(6))) > 10
