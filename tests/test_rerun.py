"""Episodes are lived again to the bit, from their seed and their states, and filmed; a changed one is found out."""

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from embodied.cli import main
from embodied.data.episodes import EpisodeStore
from embodied.data.play import PlayConfig, play
from embodied.data.rerun import from_origin, from_states, same, scene_of
from embodied.replay import filmed, lived_again
from envs.control import controller
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.scene import build_scene
from envs.sensing import SENSORS
from envs.sensors import ObjectSensor, SensorConfig
from envs.servo import SERVOS, Servo
from envs.simulation import Simulation
from envs.tasks import TASKS
from envs.types import Observation
from envs.variation import Variation
from envs.worlds import TaskWorlds

VARIED = "mass, friction, servo_delay, backlash, servo_friction, colour, table_colour"


def recorded(
    name: str, steps: int, variation: str, action: str = "cartesian_delta", rate: float = 10.0,
    seen_by: SensorConfig | None = None, servo: Servo = SERVOS["firm"],
) -> Episode:  # fmt: skip
    """World 1 of three, in its second episode, of random pushes into the table and whatever lies on it."""
    task = replace(TASKS[name], scene=replace(TASKS[name].scene, servo=servo))
    worlds = TaskWorlds(
        task, 3, seed=8, control=controller(action, rate), threads=1, variation=Variation.parse(variation),
        sensors=seen_by,
    )  # fmt: skip
    worlds.reset(np.array([1, 2]))
    rng = np.random.default_rng(3)
    seen, states, actions, success = [worlds.observation], [worlds.simulation.save().rows], [], [np.zeros(3, bool)]
    for _ in range(steps):
        actions.append(np.clip(rng.normal(0.0, 0.6, (3, worlds.spec.size)) - 0.2, -1.0, 1.0))
        transition = worlds.step(actions[-1])
        seen.append(transition.next_observation)
        states.append(worlds.simulation.save().rows)
        success.append(transition.success)
    return Episode(
        observation=Observation.stack(seen, axis=1)[1], action=np.stack(actions, axis=1)[1],
        success=np.stack(success, axis=1)[1], goal=worlds.task.goal, seed=8, task=name, robot="so101 (firm)",
        simulator_state=np.stack(states, axis=1)[1], origin=worlds.origin(1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    made = EpisodeStore(tmp_path_factory.mktemp("run") / "demonstrations")
    made.append([recorded("place_clutter", 12, VARIED), recorded("lift", 8, "", "joint_delta", 20.0)])
    return made


def test_a_stored_episode_is_lived_again_to_the_bit(store: EpisodeStore) -> None:
    for episode in store:
        assert lived_again(episode) == {"seed": True, "states": True}
    first = store[0]
    assert first.origin is not None
    assert first.origin.beginning == (8, 1, 1)
    assert set(first.origin.factors) == set(Variation.parse(VARIED).varied)
    assert first.origin.factors["mass"].shape == (3, 1)
    assert store[1].origin.control == "joint_delta"
    assert store.heads[0]["origin"]["variation"] == str(Variation.parse(VARIED))


def test_what_sensors_said_is_said_again() -> None:
    for name in ("noisy", "late", "camera"):
        episode = recorded("place", 6, "", seen_by=SENSORS[name])
        assert episode.origin is not None
        assert episode.origin.sensors == name
        assert lived_again(episode) == {"seed": True, "states": True}
        assert not same(from_origin(replace(episode, origin=replace(episode.origin, sensors="exact"))),
                        episode.observation)  # fmt: skip


def test_what_has_no_name_is_not_lived_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nameless = (
        recorded("place", 4, "", seen_by=SensorConfig(objects=ObjectSensor(position_noise=0.003))),
        recorded("place", 4, "", servo=replace(SERVOS["firm"], kp=30.0)),
    )
    for number, episode in enumerate(nameless):
        assert lived_again(episode) == {}
        store = EpisodeStore(tmp_path / str(number))
        store.append([episode])
        assert main(["replay", f"store={store.folder}", "width=64", "height=48"]) == 0
        assert "again    no: it had servos of a file, or sensors without a name" in capsys.readouterr().out


def test_what_is_not_the_same_is_told(store: EpisodeStore) -> None:
    episode = store[0]
    action = episode.action.copy()
    action[3, 0] += 1e-9
    assert not same(from_origin(replace(episode, action=action)), episode.observation)
    assert not np.array_equal(from_states(replace(episode, action=action)), episode.simulator_state[1:])
    other = replace(episode, origin=replace(episode.origin, variation=""))
    assert not same(from_origin(other), episode.observation)
    with pytest.raises(EmbodiedError, match="can only be filmed"):
        from_origin(replace(episode, origin=None))
    with pytest.raises(EmbodiedError, match="Unknown task 'stow'"):
        scene_of(replace(episode, task="stow"))


def arm_touches(simulation: Simulation) -> bool:
    model, data = simulation.model(0), simulation.data(0)
    mujoco.mj_forward(model, data)
    return bool((model.geom_contype[data.contact.geom] == 2).any())


@pytest.mark.parametrize("name", TASKS)
def test_every_task_replays_to_the_bit(name: str) -> None:
    """Over 200 steps, far beyond the horizon: by then the arm is pressed into whatever there is."""
    simulations = [TaskWorlds(TASKS[name], 1, threads=1) for _ in range(2)]
    rng = np.random.default_rng(0)
    arms = simulations[0].spec.size // 5
    down = np.tile([0.0, 0.0, 0.3, 0.0, 0.0], arms)
    plan = np.clip(rng.normal(0.0, 0.6, (200, 1, 5 * arms)) - down, -1.0, 1.0)
    simulations[0].reset(seeds=[5])
    rows, pressed = [], False
    for step, action in enumerate(plan):
        simulations[0].step(action)
        rows.append(simulations[0].simulation.save().rows[0])
        pressed |= step % 10 == 0 and arm_touches(simulations[0].simulation)
    assert pressed
    simulations[1].reset(seeds=[5])
    for action in plan[:100]:
        simulations[1].step(action)
    middle = simulations[1].simulation.save()
    np.testing.assert_array_equal(middle.rows[0], rows[99])
    simulations[1].reset(seeds=[6])
    simulations[1].simulation.restore(middle)
    for action in plan[100:]:
        simulations[1].step(action)
    np.testing.assert_array_equal(simulations[1].simulation.save().rows[0], rows[-1])


def test_play_is_lived_again_from_its_states() -> None:
    config = PlayConfig(worlds=2, threads=1, steps=9, states=True, world="chains", branches=0.0)
    episode = next(play(config, 0))[0]
    assert lived_again(episode) == {"states": True}
    assert filmed(episode, "top", 32, 24).shape == (10, 24, 32, 3)
    assert build_scene(config.scene).names == scene_of(episode).names
    parts = next(play(replace(config, parts=True), 0))[0]
    with pytest.raises(EmbodiedError, match="within control steps"):
        from_states(parts)
    assert Simulation(scene_of(parts), 1).control.joints == ("pusher_x", "pusher_y")


def test_the_film_has_the_looks_of_the_episode(store: EpisodeStore) -> None:
    episode = store[0]
    film = filmed(episode, "front", 48, 36)
    plain = filmed(replace(episode, origin=None), "front", 48, 36)
    assert film.shape == plain.shape == (13, 36, 48, 3)
    assert np.abs(film.astype(int) - plain).mean() > 2.0


def test_the_command(store: EpisodeStore, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [f"store={store.folder}", "width=32", "height=32", f"video={tmp_path / 'film.mp4'}"]
    assert main(["replay", *words, "episode=-1"]) == 0
    told = capsys.readouterr().out
    assert "episode  1 of 2: lift, 8 steps" in told
    assert told.count("the same to the bit") == 2
    assert any(path.stat().st_size > 500 for path in tmp_path.glob("film.*"))
    assert main(["replay", f"store={tmp_path / 'none'}"]) == 2
    assert "There are no episodes" in capsys.readouterr().err
    assert main(["replay", *words, "episode=9"]) == 2
