"""Play with a pusher: tight layouts of boxes and cylinders, and strokes that go behind one and push it into another.

Three worlds share them. `boxes`: all that matters is declared. `chains`: three or more stand in a row, to be pushed one
into the next. `hidden`: masses and frictions are declared nominal while the true ones differ, and some objects have
their centre of mass off their middle.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embodied.data import edits
from envs import pusher
from envs.control import PlanarDelta
from envs.geometry import box_signed_distance, quat_conjugate, quat_from_yaw, quat_rotate
from envs.layout import Layout
from envs.objects import OBJECTS
from envs.parameters import Parameters
from envs.scene import CAMERAS, Camera, Scene, SceneConfig
from envs.types import MOVABLE, Kind, Observation, proprioception
from envs.variation import Variation

Floats = NDArray[np.float64]

SIDES, ASPECT, HEIGHTS = (0.018, 0.032), 1.6, (0.018, 0.030)
"""[m] half extents along x and y, their largest ratio, and half heights."""
DENSITY = 830.0
"""[kg/m^3] A middling box weighs 0.1 kg."""
MASS, FRICTION = (0.4, 2.5), (0.4, 2.5)
"""Ranges of declared factors, log-uniform."""
HIDDEN = Variation(mass=(0.3, 3.0), friction=(0.5, 2.0), centre_of_mass=(-0.5, 0.5))
"""What the true physics of `hidden` worlds is drawn from; half of the objects keep their centre of mass."""

AREA = ((0.13, 0.37), (-0.14, 0.14))
"""[m] x and y of objects to begin with."""
TIGHT = 0.7
"""Share of objects that are put close to the one before."""
CLOSE = (0.001, 0.030)
"""[m] how much further apart than their smallest sides such two are."""
ROW = 0.12
"""Standard deviation of a row's direction from one object to the next [rad]."""
TRIES = 24
SPEED, TRAVEL = (0.06, 0.18), 0.25
"""[m/s] of pushes and on the way to them. Faster pushes throw objects: at 0.1 to 0.3 m/s twice as many end more than
5 mm off after a shift of 0.1 mm."""
REACH = (-0.01, 0.06)
"""[m] how far beyond an object's first place a push goes: the longer, the surer it slips off."""
ROOM = 0.004
"""[m] around the pusher where it begins and where it goes to begin a stroke."""


FRONT = Camera("front", (0.80, -0.55, 0.55), (0.27, 0.0, 0.0), 34.0)
"""Takes in all that a pusher can reach; an arm's stands so near that what is pushed far leaves its picture."""


def pushing_scene() -> SceneConfig:
    """The scene of all three worlds: a pusher and every object there is."""
    cameras = tuple(FRONT if camera.name == FRONT.name else camera for camera in CAMERAS)
    return SceneConfig(objects=tuple(OBJECTS), robot="pusher", cameras=cameras)


def layouts(
    generator: np.random.Generator, scene: Scene, worlds: int, world: str, objects: tuple[int, int], wide: float = 0.0
) -> Layout:
    """Beginnings of play in `boxes`, `chains` or `hidden`, with `objects` (least, most) present.

    A share `wide` of declared masses are whatever edits may set them to. An object that finds no place is left out,
    which is rare.
    """
    total = len(scene.objects)
    row = world == "chains"
    least, most = (min(max(count, 3 if row else 0), total) for count in objects)
    half, mass = _bodies(generator, scene, worlds)
    shown = generator.integers(least, most + 1, worlds)
    order = generator.random((worlds, total)).argsort(axis=1)[:, :most]
    rows = np.arange(worlds)[:, None]
    wanted = np.arange(most) < shown[:, None]
    place, yaw, placed = _places(generator, half[rows, order], wanted, row)
    present = np.zeros((worlds, total), bool)
    position, quaternion = np.zeros((worlds, total, 3)), np.tile([1.0, 0.0, 0.0, 0.0], (worlds, total, 1))
    present[rows, order] = placed
    position[rows, order, :2] = place
    position[..., 2] = half[..., 2]
    quaternion[rows, order] = quat_from_yaw(yaw)
    nominal = scene.friction[scene.qpos >= 0]
    friction = np.tile(nominal, (worlds, 1))
    if world != "hidden":
        mass = mass * _factor(generator, MASS, mass.shape)
        friction = friction * _factor(generator, FRICTION, friction.shape)
        if wide > 0:
            mass = np.where(generator.random(mass.shape) < wide, _factor(generator, edits.MASS, mass.shape), mass)
    layout = Layout(
        joints=_free_starts(generator, position, quaternion, half, present),
        object_position=position,
        object_quaternion=quaternion,
        present=present,
        mass=mass,
        friction=friction,
        half_extents=half,
        seed=generator.integers(2**53, size=worlds),
    )
    if world != "hidden":
        return layout
    declared = replace(Parameters.nominal(scene, worlds), mass=mass, half_extents=half)
    truth = HIDDEN.sample(declared, generator)
    truth.centre_of_mass[generator.random((worlds, total)) < 0.5] = 0.0
    return replace(layout, parameters=truth)


def _bodies(generator: np.random.Generator, scene: Scene, worlds: int) -> tuple[Floats, Floats]:
    """Half extents `[n O 3]` [m] and masses `[n O]` [kg] at the nominal density."""
    kind = scene.kind[scene.qpos >= 0]
    low, high = SIDES
    x = generator.uniform(low, high, (worlds, len(kind)))
    y = generator.uniform(np.maximum(low, x / ASPECT), np.minimum(high, x * ASPECT))
    upright = kind == Kind.CYLINDER
    half = np.stack([x, np.where(upright, x, y), generator.uniform(*HEIGHTS, x.shape)], axis=-1)
    return half, DENSITY * half.prod(axis=-1) * np.where(upright, 2.0 * np.pi, 8.0)


def _places(
    generator: np.random.Generator, half: Floats, wanted: NDArray[np.bool_], row: bool
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Places `[n R 2]` [m], yaws `[n R]` [rad] and whether there was a place `[n R]`, one object after the other."""
    worlds, ranks = wanted.shape
    (x_low, x_high), (y_low, y_high) = AREA
    place, yaw, placed = np.zeros((worlds, ranks, 2)), np.zeros((worlds, ranks)), np.zeros((worlds, ranks), bool)
    heading = generator.uniform(-np.pi, np.pi, worlds)
    every = np.arange(worlds)
    for rank in range(ranks):
        spread = generator.uniform((x_low, y_low), (x_high, y_high), (worlds, TRIES, 2))
        angle = generator.uniform(-np.pi, np.pi, (worlds, TRIES))
        tight = generator.random(worlds) < TIGHT
        if row and rank < 3:
            angle, tight = heading[:, None] + ROW * generator.normal(size=angle.shape), np.ones(worlds, bool)
            if rank == 0:
                # The row's middle is near the area's, so that all three are on it.
                towards = np.stack([np.cos(heading), np.sin(heading)], axis=-1)[:, None]
                middle = (0.5 * (x_low + x_high), 0.5 * (y_low + y_high))
                spread = middle + 0.02 * generator.normal(size=spread.shape) - 0.065 * towards
        turned = generator.uniform(-np.pi, np.pi, (worlds, TRIES))
        if rank:
            apart = half[:, rank - 1, :2].min(-1) + half[:, rank, :2].min(-1)
            far = apart[:, None] + generator.uniform(*CLOSE, (worlds, TRIES))
            near = place[:, None, rank - 1] + far[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
            near[:, TRIES // 2 :] = np.where((row and rank < 3), near[:, TRIES // 2 :], spread[:, TRIES // 2 :])
            spread = np.where((tight & placed[:, rank - 1])[:, None, None], near, spread)
            # Faces that meet flat push otherwise than corners do.
            flat = generator.random(worlds) < 0.3
            turned = np.where(flat[:, None], yaw[:, None, rank - 1], turned)
        inside = ((spread > (x_low, y_low)) & (spread < (x_high, y_high))).all(axis=-1)
        free = inside & _apart(spread, turned, half[:, rank], place[:, :rank], yaw[:, :rank], half[:, :rank],
                               placed[:, :rank])  # fmt: skip
        best = free.argmax(axis=1)
        place[:, rank], yaw[:, rank] = spread[every, best], turned[every, best]
        placed[:, rank] = wanted[:, rank] & free.any(axis=1)
    return place, yaw, placed


def _apart(
    place: Floats, yaw: Floats, half: Floats, others: Floats, yaws: Floats, halves: Floats, there: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether tries `[n C]` of a box keep a millimetre from the others `[n R]` that are there."""
    if not others.shape[1]:
        return np.ones(place.shape[:2], bool)
    flat = np.concatenate([place, np.zeros((*place.shape[:2], 1))], axis=-1)
    around = np.concatenate([others, np.zeros((*others.shape[:2], 1))], axis=-1)
    gap = box_signed_distance(flat[:, :, None], quat_from_yaw(yaw)[:, :, None], half[:, None, None],
                              around[:, None], quat_from_yaw(yaws)[:, None], halves[:, None])  # fmt: skip
    apart: NDArray[np.bool_] = np.where(there[:, None], gap, 1.0).min(axis=-1) > 0.001
    return apart


def _free_starts(
    generator: np.random.Generator, position: Floats, quaternion: Floats, half: Floats, present: NDArray[np.bool_]
) -> Floats:
    """Places `[n 2]` [m] for the pusher, near the objects but clear of them."""
    worlds = len(position)
    tries = generator.uniform((0.08, -0.18), (0.42, 0.18), (worlds, TRIES, 2))
    gap = _clearance(tries[:, :, None], position[:, None], quaternion[:, None], half[:, None])
    free = np.where(present[:, None], gap, 1.0).min(axis=-1)
    best = np.where(free.max(axis=1) > ROOM, (free > ROOM).argmax(axis=1), free.argmax(axis=1))
    starts: Floats = tries[np.arange(worlds), best]
    return starts


def _clearance(point: Floats, position: Floats, quaternion: Floats, half: Floats) -> Floats:
    """Distance `[*B]` from the pusher at `point` `[*B 2]` to boxes seen from above [m]; negative where it overlaps."""
    offset = np.concatenate([point, np.zeros((*point.shape[:-1], 1))], axis=-1) - position
    offset[..., 2] = 0.0
    local = np.abs(quat_rotate(quat_conjugate(quaternion), offset))[..., :2]
    excess = np.maximum(local - half[..., :2], 0.0)
    distance: Floats = np.sqrt((excess**2).sum(axis=-1)) - pusher.RADIUS
    return distance


def _factor(generator: np.random.Generator, limits: tuple[float, float], shape: tuple[int, ...]) -> Floats:
    factors: Floats = np.exp(generator.uniform(np.log(limits[0]), np.log(limits[1]), shape))
    return factors


Stroke = tuple[Floats, float, float]
"""A point to go to `[2]` [m], the speed [m/s], and the noise on the way: a standard deviation in units of action."""


class PushingPlayer:
    """Follows strokes of the commanded pusher; plans anew, looking at the scene, when a world has run out of them."""

    def __init__(self, generator: np.random.Generator, worlds: int, row: bool = False) -> None:
        """`row` prefers pushes through two objects or more."""
        self.generator, self.row = generator, row
        self.control = PlanarDelta()
        self._queue: list[list[Stroke]] = [[] for _ in range(worlds)]
        self._goal, self._speed, self._noise = np.zeros((worlds, 2)), np.ones(worlds), np.zeros(worlds)
        self._patience = np.zeros(worlds, np.int64)

    def act(self, observation: Observation) -> Floats:
        """Actions `[n 2]`."""
        seen = np.asarray(observation.proprioception)
        command = seen[:, proprioception(seen.shape[-1])["joint_target"]]
        step, rate = self.control.step, self.control.rate
        left = np.linalg.norm(self._goal - command, axis=1)
        for n in np.flatnonzero((self._patience <= 0) | (left < 0.002)):
            if not self._queue[n]:
                self._queue[n] = self._plan(observation, n, command[n])
            self._goal[n], self._speed[n], self._noise[n] = self._queue[n].pop(0)
            self._patience[n] = 2 + int(np.linalg.norm(self._goal[n] - command[n]) / (self._speed[n] / rate))
        self._patience -= 1
        move = self._goal - command
        length = np.maximum(np.linalg.norm(move, axis=1), 1e-9)
        move = move * np.minimum(1.0, self._speed / rate / length)[:, None]
        noise = self._noise[:, None] * self.generator.normal(size=move.shape)
        action: Floats = np.clip(move / step + noise, -1.0, 1.0)
        return action

    def _plan(self, observation: Observation, world: int, start: Floats) -> list[Stroke]:
        """What to do next in one world: mostly to push one object towards another."""
        objects, generator = observation.objects, self.generator
        there = np.isin(objects.kind, MOVABLE) & np.asarray(objects.present[world])
        position = np.asarray(objects.position_in_world[world])[there]
        there[there] = np.abs(position[:, 2]) < 0.1
        position = np.asarray(objects.position_in_world[world])[there]
        quaternion, half = (
            np.asarray(field[world])[there] for field in (objects.quaternion_in_world, objects.half_extents)
        )
        if not len(position) or generator.random() < 0.08:
            return [(self._anywhere(), generator.uniform(*SPEED), 0.3) for _ in range(2)]
        for attempt in range(8):
            target = int(generator.integers(len(position)))
            angle = generator.uniform(-np.pi, np.pi)
            if len(position) > 1 and attempt < 6 and generator.random() < 0.85:
                target, angle = self._towards_another(position)
            heading = np.array([np.cos(angle), np.sin(angle)])
            aside = np.array([-heading[1], heading[0]]) * generator.normal() * 0.007
            along = quat_rotate(quat_conjugate(quaternion[target]), np.array([*heading, 0.0]))
            reach = np.abs(along[:2]) @ half[target, :2] + pusher.RADIUS
            begin = position[target, :2] - heading * (reach + generator.uniform(0.004, 0.02)) + aside
            inside = (begin > pusher.JOINT_LOW).all() and (begin < pusher.JOINT_HIGH).all()
            if inside and _clearance(begin, position, quaternion, half).min() > 0.001:
                break
        end = position[target, :2] + heading * generator.uniform(*REACH) + aside
        end = np.clip(end, pusher.JOINT_LOW, pusher.JOINT_HIGH)
        begin = np.clip(begin, pusher.JOINT_LOW, pusher.JOINT_HIGH)
        push = (end, generator.uniform(*SPEED), 0.1 * float(generator.random() < 0.2))
        return [*self._way(start, begin, position, quaternion, half), push]

    def _towards_another(self, position: Floats) -> tuple[int, float]:
        """An object and the direction from it to another one, mostly a near one [rad]."""
        generator = self.generator
        apart = position[None, :, :2] - position[:, None, :2]
        distance = np.linalg.norm(apart, axis=-1) + 10.0 * np.eye(len(position))
        weight = np.exp(-distance / 0.03)
        if self.row and len(position) > 2:
            # A third one beyond the second, nearly on the same line, makes it a chain.
            direction = apart / distance[..., None]
            onward = np.einsum("ijc,jkc->ijk", direction, direction) > 0.85
            weight = weight * np.where((onward * np.exp(-distance / 0.03)).max(axis=-1) > 0.05, 20.0, 1.0)
        weight = weight + 1e-3 * (1.0 - np.eye(len(position)))
        chosen = int(generator.choice(weight.size, p=weight.ravel() / weight.sum()))
        target, other = divmod(chosen, len(position))
        angle = np.arctan2(apart[target, other, 1], apart[target, other, 0])
        return target, float(angle + 0.12 * generator.normal())

    def _way(self, start: Floats, begin: Floats, position: Floats, quaternion: Floats, half: Floats) -> list[Stroke]:
        """Waypoints to where a push begins: straight if that is clear, else by the clearest of some detours."""
        share = np.linspace(0.0, 1.0, 9)[:, None]
        over = self.generator.uniform(pusher.JOINT_LOW, pusher.JOINT_HIGH, (8, 2))
        over[0] = 0.5 * (start + begin)
        legs = np.concatenate(
            [over[:, None] + share * (begin - over[:, None]), start + share * (over[:, None] - start)], 1
        )
        clear = _clearance(legs[:, :, None], position, quaternion, half).min(axis=(1, 2))
        if clear[0] > min(ROOM, clear.max()) - 1e-9:
            return [(begin, TRAVEL, 0.0)]
        length = np.linalg.norm(over - start, axis=1) + np.linalg.norm(begin - over, axis=1)
        best = int(np.argmin(length + 10.0 * np.maximum(ROOM - clear, 0.0)))
        return [(over[best], TRAVEL, 0.0), (begin, TRAVEL, 0.0)]

    def _anywhere(self) -> Floats:
        where: Floats = self.generator.uniform((AREA[0][0], AREA[1][0]), (AREA[0][1], AREA[1][1]))
        return where
