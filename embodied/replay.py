"""`embodied replay`: a film of any stored episode, and whether the simulator lives it again to the bit."""

from pathlib import Path

import numpy as np

from embodied.arguments import ReplayArguments
from embodied.checkpoint import write_atomically
from embodied.console import Console
from embodied.data.episodes import EpisodeStore
from embodied.data.journal import RECORDING
from embodied.data.rerun import from_origin, from_states, same, scene_of
from embodied.report.video import encode
from envs.cameras import CameraConfig, Cameras
from envs.episode import OTHER, Episode
from envs.errors import EmbodiedError
from envs.looks import looks_of
from envs.types import Array, proprioception
from envs.variation import count

BATCH = 16
"""Frames drawn at a time."""


def replay(arguments: ReplayArguments, console: Console) -> int:
    """Film one episode; 1 where the simulator does not live it again as it was.

    Raises `EmbodiedError` for a store without episodes, an episode it does not hold, and a scene not known here.
    """
    store = EpisodeStore(arguments.store)
    if not len(store):
        raise EmbodiedError(f"There are no episodes in {arguments.store!r}; give the folder of an episode store.")
    episode = store[arguments.episode]
    times = np.asarray(episode.observation.time)
    rate = arguments.speed / float(np.median(np.diff(times)))
    film, kind = encode(filmed(episode, arguments.camera, arguments.width, arguments.height), rate)
    number = arguments.episode % len(store)
    path = Path(arguments.video or Path(arguments.store).parent / f"replay_{number}.mp4")
    if kind != "video/mp4":
        path = path.with_suffix(f".{kind.partition('/')[2]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, film)
    console.say(f"episode  {number} of {len(store)}: {episode.task}, {episode.length} steps, {episode.goal}")
    if episode.origin is not None and episode.origin.factors:
        console.say(f"factors  {', '.join(sorted(episode.origin.factors))}, of {episode.origin.variation}")
    exact = lived_again(episode)
    for how, is_same in exact.items():
        console.say(f"again    from its {how}: {'the same to the bit' if is_same else 'NOT the same'}")
    if RECORDING in episode.versions:
        console.say("again    no: it was recorded on an arm, whose servos are not the simulator's")
    elif _unnamed(episode):
        console.say("again    no: it had servos of a file, or sensors without a name, which it does not hold")
    elif not exact:
        console.say("again    no: it holds neither its origin nor simulator states")
    console.say(f"film     {path}")
    return 0 if all(exact.values()) else 1


def filmed(episode: Episode, camera: str, width: int, height: int) -> Array:
    """`[T+1 h w 3]` uint8, sides even: what was recorded, in the looks that it had."""
    scene, seen = scene_of(episode), episode.observation
    cameras = Cameras(scene, (CameraConfig(camera, width - width % 2, height - height % 2, "video"),))
    joints = seen.proprioception[:, proprioception(seen.proprioception.shape[-1])["joint_position"]]
    factors = {} if episode.origin is None else episode.origin.factors
    frames = []
    for start in range(0, len(joints), BATCH):
        part = slice(start, min(start + BATCH, len(joints)))
        steps = part.stop - part.start
        repeated = {name: np.repeat(np.asarray(value)[None], steps, axis=0) for name, value in factors.items()}
        looks = looks_of(repeated, count(scene), steps)
        frames.append(cameras.draw(joints[part], seen.objects[part], looks=looks)[camera].rgb)
    return np.concatenate(frames)


def _unnamed(episode: Episode) -> bool:
    """Whether it had servos or sensors that its origin could not name."""
    return episode.origin is not None and OTHER in (episode.origin.servo, episode.origin.sensors)


def lived_again(episode: Episode) -> dict[str, bool]:
    """By what it was begun from, whether the simulator gives the episode again to the bit."""
    exact: dict[str, bool] = {}
    if _unnamed(episode):
        return exact
    if episode.origin is not None and RECORDING not in episode.versions:
        exact["seed"] = same(from_origin(episode), episode.observation)
    if episode.simulator_state is not None and not episode.interventions:
        exact["states"] = np.array_equal(from_states(episode), np.asarray(episode.simulator_state)[1:])
    return exact
