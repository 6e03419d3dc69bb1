"""What sensors say of worlds: late, seldom, noisy and, of objects that something hides, not at all.

Everything is a function of the truth, of the world's own seed and of the control steps since its reset. A sensor
measures at its rate, and what it measured arrives after its delay; until then, and in between, what arrived last stays.
At the beginning of an episode what was measured first is there at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from envs.arguments import names_of
from envs.cameras import MODES, CameraConfig, Cameras
from envs.errors import EmbodiedError, unknown
from envs.geometry import quat_multiply, quat_rotate
from envs.looks import Looks
from envs.noise import normal, uniform
from envs.types import Array, ObjectState, Observation
from envs.views import views_of

if TYPE_CHECKING:
    from envs.simulation import Simulation

IMAGES = ("rgb", "depth", "segmentation")
FARTHEST = 100.0
"""[m] Depth beyond this is none."""
SEEN = 0.2
"""Share of an object's points that must be in sight for its pose to be measured."""
_POINTS = np.concatenate([np.zeros((1, 3)), 0.8 * np.eye(3), -0.8 * np.eye(3)])
"""`[7 3]` points of an object that are looked for, in shares of its half extents."""


@dataclass(frozen=True)
class Timing:
    """When a sensor measures, and when that arrives."""

    rate: float | None = None
    """[Hz] a whole fraction of the control rate; None measures at every control step."""
    delay: float = 0.0
    """[s] a whole number of control steps."""


@dataclass(frozen=True)
class JointSensor(Timing):
    """The robot's joints: standard deviations of what is added to them."""

    position_noise: float = 0.0
    """[rad]."""
    velocity_noise: float = 0.0
    """[rad/s]."""


@dataclass(frozen=True)
class ObjectSensor(Timing):
    """Whatever finds the objects: standard deviations, and when it finds nothing."""

    position_noise: float = 0.0
    """[m] along each axis."""
    rotation_noise: float = 0.0
    """[rad] about each axis."""
    velocity_noise: float = 0.0
    """[m/s] and, ten times as large, [rad/s]."""
    dropout: float = 0.0
    """Probability that one measurement misses an object."""
    occlusion: str | None = None
    """Fixed camera whose line of sight an object needs; None sees through everything."""


@dataclass(frozen=True)
class ImageSensor(Timing):
    """One camera of the scene. Its images are `NAME`, `NAME_depth` and `NAME_segmentation`."""

    name: str = "front"
    width: int = 64
    height: int = 64
    images: tuple[str, ...] = ("rgb",)
    """Of `IMAGES`: `[h w 3]` uint8; `[h w]` float32 [m], 0 for what is too far; `[h w]` int16 entities, -1 for none."""
    mode: str = "fast"
    """How it is drawn, see `envs.cameras.MODES`."""
    noise: float = 0.0
    """Standard deviation of what is added to a pixel's colours, of 255."""
    depth_noise: float = 0.0
    """Standard deviation of depth as a share of it squared [1/m], as stereo has it."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for images or modes that there are not."""
        object.__setattr__(self, "images", names_of("images", self.images))
        for image in self.images:
            if image not in IMAGES:
                raise unknown("image", image, IMAGES)
        if self.mode not in MODES:
            raise unknown("camera mode", self.mode, MODES)


@dataclass(frozen=True)
class SensorConfig:
    """All sensors of a world; by default they tell the truth at once, and there is no camera."""

    joints: JointSensor = JointSensor()
    objects: ObjectSensor = ObjectSensor()
    cameras: tuple[ImageSensor, ...] = ()


class Sensors:
    """The sensors of N worlds."""

    def __init__(self, config: SensorConfig, simulation: "Simulation") -> None:
        """Raises `EmbodiedError` for unknown cameras, timings that are no whole control steps, and impossible noise."""
        self.config, self._simulation = config, simulation
        scene, rate = simulation.scene, simulation.control.spec.rate
        timed = (config.joints, config.objects, *config.cameras)
        self._lines = [_Line(f"sensor.{i}.", *_steps(timing, rate)) for i, timing in enumerate(timed)]
        for timing in timed:
            for name, value in vars(timing).items():
                if "noise" in name and not 0.0 <= value < np.inf:
                    raise EmbodiedError(f"Sensor {name} = {value}: a standard deviation is finite and at least zero.")
        if not 0.0 <= config.objects.dropout < 1.0:
            raise EmbodiedError(f"Sensor dropout = {config.objects.dropout}: a probability below 1 is needed.")
        if len({camera.name for camera in config.cameras}) < len(config.cameras):
            raise EmbodiedError("Each camera may be given once.")
        self._cameras = [
            Cameras(scene, (CameraConfig(camera.name, camera.width, camera.height, camera.mode),))
            for camera in config.cameras
        ]
        occlusion = config.objects.occlusion
        self._eye: Array | None = None
        if occlusion is not None:
            # Imported here, as who only configures sensors should not load MuJoCo.
            from envs.stepped import Drawn

            self._eye = views_of(scene, [occlusion]).position[0]
            self._drawn = Drawn(scene.model, simulation.batch, scene.stepped_geom)
        self._objects = np.flatnonzero(scene.qpos >= 0)

    def read(
        self, truth: Observation, step: Array, looks: Looks | None = None, begun: Array | None = None
    ) -> Observation:
        """What is observed `[N]` of the truth `[N]` at control steps `[N]` since reset.

        `begun` are the worlds `[n]` whose episodes have just begun, and alone are looked at; without, all went on by a
        step.
        """
        ids = np.arange(len(step)) if begun is None else np.asarray(begun)
        now, look = (truth, looks) if begun is None else (truth[ids], None if looks is None else looks[ids])
        seed, when = self._simulation.seeds[ids], step[ids]
        measured = [self._joints(now, seed, when), self._poses(now, seed, when, ids)]
        measured += [self._images(i, now, seed, when, look) for i in range(len(self._cameras))]
        for line, arrays in zip(self._lines, measured, strict=True):
            if begun is None:
                line.push(arrays, when)
            else:
                line.begin(arrays, ids, len(step))
        return self.last(truth)

    def last(self, truth: Observation) -> Observation:
        """What arrived last, again; `truth` gives what no sensor has a say in."""
        joints, objects, *images = (line.latest() for line in self._lines)
        return Observation(
            proprioception=joints["joints"],
            objects=replace(truth.objects, **objects),
            time=truth.time,
            images={name: array for camera in images for name, array in camera.items()},
        )

    def state_dict(self) -> dict[str, Array]:
        """What is on its way, as arrays."""
        return {name: array for line in self._lines for name, array in line.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue where `state_dict` was taken."""
        for line in self._lines:
            line.load_state_dict(state)

    def _joints(self, truth: Observation, seed: Array, step: Array) -> dict[str, Array]:
        sensor, seen = self.config.joints, np.array(truth.proprioception)
        count = seen.shape[1] // 3
        for first, spread in ((0, sensor.position_noise), (count, sensor.velocity_noise)):
            if spread > 0.0:
                seen[:, first : first + count] += spread * normal(seed, step, f"joints {first}", (count,))
        return {"joints": seen}

    def _poses(self, truth: Observation, seed: Array, step: Array, ids: Array) -> dict[str, Array]:
        """Poses and velocities; objects that are not found keep what was said of them last, with confidence 0."""
        sensor, objects, which = self.config.objects, truth.objects, self._objects
        there, shape = objects.present[:, which], (len(which),)
        seen = {name: np.array(getattr(objects, name)) for name in _MEASURED}

        def disturb(name: str, spread: float) -> None:
            if spread > 0.0:
                noise = spread * normal(seed, step, name, (*shape, 3))
                seen[name][:, which] += np.where(there[..., None], noise, 0.0)

        disturb("position_in_world", sensor.position_noise)
        disturb("linear_velocity_in_world", sensor.velocity_noise)
        disturb("angular_velocity_in_world", 10.0 * sensor.velocity_noise)
        if sensor.rotation_noise > 0.0:
            small = 0.5 * sensor.rotation_noise * normal(seed, step, "rotation", (*shape, 3))
            turn = np.concatenate([np.ones((*small.shape[:-1], 1)), small], axis=-1)
            turn /= np.linalg.norm(turn, axis=-1, keepdims=True)
            turned = quat_multiply(turn, seen["quaternion_in_world"][:, which])
            seen["quaternion_in_world"][:, which] = np.where(there[..., None], turned, (1.0, 0.0, 0.0, 0.0))
        sight = np.where(there, 1.0, 0.0)
        if self._eye is not None:
            sight *= self._in_sight(objects, self._eye, ids)
        if sensor.dropout > 0.0:
            sight *= uniform(seed, step, "dropout", shape) >= sensor.dropout
        found = sight >= SEEN
        # At the beginning there is nothing older: what is there is known, from having been put there.
        lost = ~found & there & (step > 0)[:, None]
        if lost.any():
            before = self._lines[1].newest()
            for name in _POSES:
                seen[name][:, which] = np.where(lost[..., None], before[name][:, which], seen[name][:, which])
        seen["confidence"][:, which] = np.where(found, sight, 0.0)
        return seen

    def _in_sight(self, objects: ObjectState, eye: Array, ids: Array) -> Array:
        """`[n O]` the share of each object's points that rays from the eye `[3]` reach, or hit the object before."""
        scene, which = self._simulation.scene, self._objects
        points = objects.position_in_world[:, which, None] + quat_rotate(
            objects.quaternion_in_world[:, which, None], _POINTS * objects.half_extents[:, which, None]
        )
        rays = (points - eye).reshape(len(points), -1, 3)
        geom = self._drawn.first_hit(eye, rays, ids)
        body = np.where(geom >= 0, scene.model.geom_bodyid[geom], -1).reshape(*points.shape[:3])
        return np.asarray((body == scene.body[which, None]).mean(axis=-1))

    def _images(
        self, index: int, truth: Observation, seed: Array, step: Array, looks: Looks | None
    ) -> dict[str, Array]:
        sensor = self.config.cameras[index]
        frames = self._cameras[index].frames(truth, looks)[sensor.name]
        taken: dict[str, Array] = {}
        if "rgb" in sensor.images:
            taken[sensor.name] = frames.rgb
            if sensor.noise > 0.0:
                noise = sensor.noise * normal(seed, step, sensor.name, frames.rgb.shape[1:])
                taken[sensor.name] = np.clip(frames.rgb + noise + 0.5, 0.0, 255.0).astype(np.uint8)
        if "depth" in sensor.images:
            depth = np.where(frames.depth < FARTHEST, frames.depth, 0.0)
            if sensor.depth_noise > 0.0:
                noise = normal(seed, step, f"{sensor.name} depth", depth.shape[1:])
                depth = np.clip(depth + sensor.depth_noise * depth**2 * noise, 0.0, FARTHEST)
            taken[f"{sensor.name}_depth"] = depth.astype(np.float32)
        if "segmentation" in sensor.images:
            taken[f"{sensor.name}_segmentation"] = frames.entity
        return taken


_POSES = ("position_in_world", "quaternion_in_world", "linear_velocity_in_world", "angular_velocity_in_world")
_MEASURED = (*_POSES, "confidence")


class _Line:
    """One sensor's measurements on their way: a ring of the last `delay` + 1 of them."""

    def __init__(self, prefix: str, every: int, delay: int) -> None:
        self._prefix, self._every, self._size = prefix, every, delay + 1
        self._ring: dict[str, Array] = {}
        self._now = 0

    def begin(self, arrays: Mapping[str, Array], ids: Array, worlds: int) -> None:
        """Take what is measured `[n ...]` as all that ever was in the worlds `ids` `[n]` of N."""
        for name, array in arrays.items():
            if name not in self._ring:
                self._ring[name] = np.zeros((self._size, worlds, *array.shape[1:]), array.dtype)
            self._ring[name][:, ids] = array

    def push(self, arrays: Mapping[str, Array], step: Array) -> None:
        """Take what is measured `[N ...]` at control steps `[N]`, in the worlds in which it is time for that."""
        before, self._now = self._now, (self._now + 1) % self._size
        due = step % self._every == 0
        for name, array in arrays.items():
            kept = due.reshape(-1, *(1,) * (array.ndim - 1))
            self._ring[name][self._now] = np.where(kept, array, self._ring[name][before])

    def newest(self) -> dict[str, Array]:
        """What was measured last."""
        return {name: ring[self._now] for name, ring in self._ring.items()}

    def latest(self) -> dict[str, Array]:
        """What has arrived by now; arrays of its own."""
        return {name: ring[(self._now + 1) % self._size].copy() for name, ring in self._ring.items()}

    def state_dict(self) -> dict[str, Array]:
        arrays = {f"{self._prefix}{name}": ring.copy() for name, ring in self._ring.items()}
        return {**arrays, f"{self._prefix}now": np.array(self._now)}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        self._ring = {name: np.array(state[f"{self._prefix}{name}"]) for name in self._ring}
        self._now = int(state[f"{self._prefix}now"])


def _steps(timing: Timing, rate: float) -> tuple[int, int]:
    """Control steps from one measurement to the next, and until it arrives; raises where they are not whole."""
    # What measures at 0 Hz never does.
    every = 1.0 if timing.rate is None else rate / timing.rate if timing.rate else np.inf
    delay = timing.delay * rate
    for what, value, given, needed in (
        ("rate", every, f"{timing.rate} Hz", f"a whole fraction of {rate:g} Hz"),
        ("delay", delay, f"{timing.delay} s", f"a multiple of {1.0 / rate:g} s"),
    ):
        if not 0.0 <= value < np.inf or abs(value - round(value)) > 1e-6 or (what == "rate" and value < 0.5):
            raise EmbodiedError(f"A sensor's {what} of {given} does not fit control at {rate:g} Hz; it needs {needed}.")
    return round(every), round(delay)
