"""Play: reproducible, physical, and branched into what-ifs that share actions and past."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embodied.config import Config, EnvConfig, TrainerConfig
from embodied.data import edits, pushing
from embodied.data.episodes import EpisodeStore
from embodied.data.play import PlayConfig, at_control_steps, play, play_batch
from embodied.data.strokes import AREA, PRESENT, layouts
from embodied.evaluation.questions import FACTOR, LIMITS
from embodied.training.collect import PLAY, collect_demonstrations, collect_play, play_scene
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.geometry import box_signed_distance
from envs.scene import build_scene
from envs.simulation import RAMP, Simulation
from envs.types import MOVABLE, Kind
from envs.world_states import SimulationState

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


PUSHED = ("boxes", "chains", "hidden")


def pushed(world: str, **changes: object) -> PlayConfig:
    return replace(PlayConfig(world=world, worlds=WORLDS, steps=STEPS, branches=1.0, threads=1), **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pusher_simulation() -> Simulation:
    return Simulation(build_scene(pushed("boxes").scene), WORLDS, 1)


@pytest.mark.parametrize("world", PUSHED)
def test_play_with_a_pusher_pushes_things(pusher_simulation: Simulation, world: str) -> None:
    config = pushed(world)
    episodes = play_batch(pusher_simulation, config, (5, 0))
    first, branches = episodes[:WORLDS], episodes[WORLDS:]
    assert len(branches) > WORLDS // 3
    moved = []
    for episode in first:
        objects = episode.observation.objects
        assert episode.task == f"play_{world}"
        assert episode.action.shape == (STEPS, 2)
        assert np.abs(episode.action).max() <= 1
        assert episode.observation.proprioception.shape == (STEPS + 1, 6)
        here = objects.present[0]
        count = int(np.isin(objects.kind[here], MOVABLE).sum())
        assert (3 if world == "chains" else 2) <= count <= 4
        far = np.linalg.norm(objects.position_in_world[-1] - objects.position_in_world[0], axis=-1)
        moved.append((far[here & np.isin(objects.kind, MOVABLE)] > 0.005).sum())
    assert np.mean(moved) > 0.5
    for branch in branches:
        assert branch.interventions[0].step == config.history - 1
        assert any(np.array_equal(e.action[-branch.length :], branch.action) for e in first)


@pytest.mark.parametrize("world", PUSHED)
@pytest.mark.parametrize("parts", [False, True])
def test_play_with_a_pusher_replays_from_its_states(pusher_simulation: Simulation, world: str, parts: bool) -> None:
    config = pushed(world, states=True, parts=parts)
    episode = play_batch(pusher_simulation, config, (6, 0))[3]
    every = RAMP if parts else 1
    assert episode.length == STEPS * every
    assert episode.simulator_state is not None
    assert episode.simulator_state.shape[0] == STEPS * every + 1
    replayed = Simulation(pusher_simulation.scene, 1, 1)
    replayed.restore(SimulationState(episode.simulator_state[5 * every][None]))
    for step in range(5 * every, STEPS * every, every):
        seen = replayed.step(episode.action[step][None])
        later = episode.observation[step + every]
        np.testing.assert_array_equal(seen.objects.position_in_world[0], later.objects.position_in_world)
        np.testing.assert_array_equal(seen.proprioception[0], later.proprioception)


def test_parts_show_the_same_play_in_between(pusher_simulation: Simulation) -> None:
    coarse, fine = (play_batch(pusher_simulation, pushed("boxes", parts=parts), (7, 0)) for parts in (False, True))
    for a, b in zip(coarse[:WORLDS], fine[:WORLDS], strict=True):
        assert b.length == RAMP * a.length
        np.testing.assert_array_equal(b.action[::RAMP], a.action)
        np.testing.assert_array_equal(b.action[RAMP - 1 :: RAMP], a.action)
        np.testing.assert_array_equal(
            b.observation.objects.position_in_world[::RAMP], a.observation.objects.position_in_world
        )
    branch = fine[WORLDS]
    (edit,) = branch.interventions
    past, k = branch.observation.objects[: edit.step + 1], branch.observation.objects.index(str(edit.entity))
    assert edit.step == 2
    np.testing.assert_allclose(np.diff(branch.observation.time), 0.1 / RAMP, atol=1e-9)
    # Between edited frames things move no faster than they can: the edit is in the past as well.
    assert np.abs(np.diff(past.position_in_world[:, k], axis=0)).max() < 0.02
    assert len(branch.action) % RAMP == 2


@pytest.mark.parametrize(("history", "step"), [(2 * RAMP + 1, 2), (3, 0)])
def test_fine_play_seen_at_control_steps_is_coarse_play(pusher_simulation: Simulation, history: int, step: int) -> None:
    coarse = play_batch(pusher_simulation, pushed("boxes"), (7, 0))[:WORLDS]
    fine = play_batch(pusher_simulation, pushed("boxes", parts=True, history=history), (7, 0))
    for episode in fine[:WORLDS]:
        assert at_control_steps(episode, 1) is episode
    for a, b in zip(coarse, (at_control_steps(episode, RAMP) for episode in fine[:WORLDS]), strict=True):
        np.testing.assert_array_equal(b.action, a.action)
        np.testing.assert_array_equal(b.observation.time, a.observation.time)
        np.testing.assert_array_equal(b.observation.proprioception, a.observation.proprioception)
        np.testing.assert_array_equal(b.observation.objects.position_in_world, a.observation.objects.position_in_world)
        assert b.success.shape == a.success.shape
    for episode in fine[WORLDS:]:
        branch, (edit,) = at_control_steps(episode, RAMP), episode.interventions
        parent = next(a for a in coarse if np.array_equal(a.action[-branch.length :], branch.action))
        # What is left of the history is whole control steps before the frame of the edit itself.
        assert branch.interventions == (replace(edit, step=step),)
        np.testing.assert_allclose(branch.observation.time, parent.observation.time[-branch.length - 1 :], atol=1e-9)


def test_hidden_worlds_declare_the_nominal(pusher_simulation: Simulation) -> None:
    scene = pusher_simulation.scene
    layout = pushing.layouts(np.random.default_rng(0), scene, 200, "hidden", (2, 4))
    truth = layout.parameters
    assert truth is not None
    assert layout.mass is not None
    objects = scene.qpos >= 0
    np.testing.assert_array_equal(layout.friction, np.broadcast_to(scene.friction[objects], (200, objects.sum())))
    ratio = truth.mass / layout.mass
    assert 0.3 <= ratio.min() < 0.4
    assert 2.5 < ratio.max() <= 3.0
    assert 0.4 < (truth.centre_of_mass[..., :2] != 0).any(axis=-1).mean() < 0.6
    pusher_simulation.reset(pushing.layouts(np.random.default_rng(0), scene, WORLDS, "hidden", (2, 4)))
    seen = pusher_simulation.observe().objects
    shown = seen.mass[:, objects][seen.present[:, objects]]
    assert not np.isin(pusher_simulation.parameters.mass.round(9), shown.round(9)).any()


def test_lessons_span_all_that_what_ifs_may_set(pusher_simulation: Simulation) -> None:
    usual, wide = (
        pushing.layouts(np.random.default_rng(0), pusher_simulation.scene, 400, "boxes", (2, 4), share)
        for share in (0.0, 0.5)
    )
    for kind, limits in (("mass", edits.MASS), ("friction", edits.FRICTION)):
        low, high = LIMITS[kind]
        # An edit that would leave the limits goes the other way, and may leave them there.
        assert limits[0] <= min(low, high / FACTOR[1] ** 2)
        assert limits[1] >= max(high, low * FACTOR[1] ** 2)
    assert edits.MASS[0] <= wide.mass.min() < 1.1 * edits.MASS[0]
    assert edits.MASS[1] >= wide.mass.max() > 0.9 * edits.MASS[1]
    beyond = ((wide.mass < usual.mass.min()) | (wide.mass > usual.mass.max())).mean()
    assert 0.1 < beyond < 0.35
    assert wide.friction.min() > 2.0 * edits.FRICTION[0]


@pytest.mark.parametrize("world", ["boxes", "chains"])
def test_pushed_layouts_are_free_of_overlap(pusher_simulation: Simulation, world: str) -> None:
    scene = pusher_simulation.scene
    layout = pushing.layouts(np.random.default_rng(1), scene, 150, world, (6, 8))
    assert layout.present is not None
    assert layout.half_extents is not None
    assert (layout.present.sum(axis=1) >= 6).mean() > 0.9
    count = len(scene.objects)
    for i in range(count):
        for j in range(i):
            gap = box_signed_distance(
                layout.object_position[:, i], layout.object_quaternion[:, i], layout.half_extents[:, i],
                layout.object_position[:, j], layout.object_quaternion[:, j], layout.half_extents[:, j],
            )  # fmt: skip
            assert gap[layout.present[:, i] & layout.present[:, j]].min() > 0
    upright = scene.kind[scene.qpos >= 0] == Kind.CYLINDER
    half = layout.half_extents
    np.testing.assert_array_equal(half[:, upright, 0], half[:, upright, 1])
    aspect = (half[..., 0] / half[..., 1])[:, ~upright]
    assert 1.5 < aspect.max() <= 1.6 + 1e-9
    assert (np.abs(half[:, ~upright, 0] - half[:, ~upright, 1]) > 1e-4).mean() > 0.9


def test_bad_play_is_refused() -> None:
    with pytest.raises(EmbodiedError, match=r"Unknown world 'chain'\. Did you mean 'chains'"):
        PlayConfig(world="chain")  # type: ignore[arg-type]
    with pytest.raises(EmbodiedError, match="given a scene with a so101"):
        PlayConfig(world="boxes", scene=PlayConfig().scene)
    with pytest.raises(EmbodiedError, match=r"objects = \(4, 2\)"):
        PlayConfig(world="boxes", objects=(4, 2))
    short = PlayConfig(world="boxes", worlds=1, steps=8, threads=1)
    with pytest.raises(EmbodiedError, match="8 steps is too short for branches; it needs 11"):
        next(play(short, 0))


def test_the_configuration_chooses_the_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(env=EnvConfig(play="chains", threads=1), trainer=TrainerConfig(model_episodes=6))
    assert play_scene(config) == pushing.pushing_scene()
    assert play_scene(Config()).objects == ("red_cube", "blue_cube", "green_cube")
    played: list[PlayConfig] = []

    def recorded(chosen: PlayConfig, seed: int) -> Iterator[list[Episode]]:
        played.append(chosen)
        return play(chosen, seed)

    monkeypatch.setattr("embodied.training.collect.play", recorded)
    collect_play(config, tmp_path, lambda done, wanted: None)
    # What is learned from goes beyond what is asked about.
    assert played[0].wide > PlayConfig(world="chains").wide
    stored = EpisodeStore(tmp_path / PLAY)
    assert len(stored) == 6
    assert stored[0].task == "play_chains"
    assert stored[0].observation.objects.names[:2] == ("table", "pusher")
    with pytest.raises(EmbodiedError, match="nobody demonstrates"):
        collect_demonstrations(config, tmp_path, lambda done, wanted: None)
