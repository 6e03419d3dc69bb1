"""What a player does with cubes: strokes of the tool, and the tight layouts they are drawn over."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from envs.control import GRIPPER_RANGE, CartesianDelta
from envs.geometry import box_signed_distance, yaw_of
from envs.kinematics import forward, project
from envs.layout import Layout
from envs.objects import CUBE_HALF_EXTENT, CUBE_MASS
from envs.physics import Physics
from envs.types import MOVABLE, PROPRIOCEPTION, Observation

Floats = NDArray[np.float64]

PRESENT = (0.03, 0.17, 0.30, 0.50)
"""Probabilities of 0, 1, 2, 3 cubes on the table."""
TIGHT = 0.6
"""Share of layouts in which a cube stands within a cube's width of the one before."""
AREA = ((0.15, 0.32), (-0.10, 0.10))
"""[m] x and y of cubes."""
TRIES = 12
ROOM = 0.055
"""[m] a cube with another one nearer than this is pushed, not grasped: the jaws would come down on the other."""
HIGH, LOW = 0.06, (0.012, 0.02)
"""[m] tool heights for travelling over cubes and for touching them."""


@dataclass(frozen=True)
class Stroke:
    """One waypoint of the commanded tool."""

    position: tuple[float, float, float]
    """[m] in the world."""
    yaw: float
    """[rad]; the jaws' quarter turns count as the same."""
    gripper: float
    """[rad]."""
    speed: float = 1.0
    """Share of the largest step."""
    dwell: int = 0
    """Control steps to wait there."""
    noise: float = 0.0
    """Standard deviation of what is added to the action."""
    patience: int = 14
    """Control steps after which it is given up."""


def layouts(generator: np.random.Generator, worlds: int, objects: int, variation: float) -> Layout:
    """Beginnings of play: cubes often close together, the tool low over the table among them."""
    (x_low, x_high), (y_low, y_high) = AREA
    counts = generator.choice(len(PRESENT), size=worlds, p=PRESENT).clip(max=objects)
    order = generator.random((worlds, objects)).argsort(axis=1)
    present = order < counts[:, None]
    varied = generator.random((worlds, 1)) < variation
    mass = CUBE_MASS * np.where(varied, np.exp(generator.uniform(-1.2, 1.2, (worlds, objects))), 1.0)
    friction = np.where(varied, generator.uniform(0.1, 0.4, (worlds, objects)), Physics().object_friction)
    resized = varied & (generator.random((worlds, 1)) < 0.5)
    half = CUBE_HALF_EXTENT * np.where(resized, generator.uniform(0.75, 1.2, (worlds, objects)), 1.0)
    half = np.repeat(half[..., None], 3, axis=-1)
    position, quaternion = np.zeros((worlds, objects, 3)), np.zeros((worlds, objects, 4))
    placed = np.zeros((worlds, objects), bool)
    last = np.zeros((worlds, 3))
    for rank in range(objects):
        k = np.argmax(order == rank, axis=1)
        rows = np.arange(worlds)
        anywhere = np.stack(
            [generator.uniform(x_low, x_high, (worlds, TRIES)), generator.uniform(y_low, y_high, (worlds, TRIES))], -1
        )
        angle = generator.uniform(-np.pi, np.pi, (worlds, TRIES))
        near = last[:, None, :2] + generator.uniform(0.029, 0.06, (worlds, TRIES, 1)) * np.stack(
            [np.cos(angle), np.sin(angle)], -1
        )
        tight = (generator.random(worlds) < TIGHT) & (rank > 0)
        place = np.where(tight[:, None, None], near, anywhere)
        # The last tries are spread out, so that some place is free.
        place[:, TRIES // 2 :] = anywhere[:, TRIES // 2 :]
        yaw = generator.uniform(-np.pi, np.pi, (worlds, TRIES))
        height = np.broadcast_to(half[rows, k, 2][:, None], yaw.shape)
        candidate = np.concatenate([place, height[..., None]], axis=-1)
        turned = np.stack([np.cos(yaw / 2), np.zeros_like(yaw), np.zeros_like(yaw), np.sin(yaw / 2)], axis=-1)
        gap = box_signed_distance(
            candidate[:, :, None], turned[:, :, None], half[rows, k][:, None, None],
            position[:, None], quaternion[:, None] + (~placed)[:, None, :, None] * [1.0, 0, 0, 0], half[:, None],
        )  # fmt: skip
        inside = (place[..., 0] > x_low) & (place[..., 0] < x_high) & (np.abs(place[..., 1]) < y_high)
        free = (np.where(placed[:, None], gap, 1.0).min(axis=-1) > 0.001) & inside
        best = np.argmax(free, axis=1)
        present[rows, k] &= free.any(axis=1)
        position[rows, k], quaternion[rows, k] = candidate[rows, best], turned[rows, best]
        placed[rows, k] = present[rows, k]
        last[present[rows, k]] = position[rows, k][present[rows, k]]
    quaternion[~placed] = (1.0, 0.0, 0.0, 0.0)
    x, y = generator.uniform(0.16, 0.30, worlds), generator.uniform(-0.09, 0.09, worlds)
    start = np.stack([x, y, np.full(worlds, HIGH)], -1)
    arm = project(start, generator.uniform(-0.8, 0.8, worlds)).joints
    gripper = np.where(generator.random((worlds, 1)) < 0.5, -0.1, 0.5)
    return Layout(
        joints=np.concatenate([arm, gripper], axis=1),
        object_position=position,
        object_quaternion=quaternion,
        present=present,
        mass=mass,
        friction=friction,
        half_extents=half,
    )


class TabletopPlayer:
    """Follows waypoints of the commanded tool; plans anew, looking at the scene, when a world has run out of them."""

    def __init__(self, generator: np.random.Generator, worlds: int) -> None:
        self.generator = generator
        self.control = CartesianDelta()
        self.queue: list[list[Stroke]] = [[] for _ in range(worlds)]

    def act(self, observation: Observation) -> Floats:
        """Actions `[n 5]`."""
        command = forward(np.asarray(observation.proprioception)[:, PROPRIOCEPTION["joint_target"]])
        finished = [n for n, queue in enumerate(self.queue) if not queue]
        if finished:
            ids = np.array(finished)
            for n, strokes in zip(finished, draw_strokes(self.generator, observation, ids), strict=True):
                self.queue[n] = strokes
        heads = [queue[0] for queue in self.queue]
        speed = np.array([stroke.speed for stroke in heads])[:, None]
        move = np.array([stroke.position for stroke in heads]) - command.position
        turn = np.remainder(np.array([stroke.yaw for stroke in heads]) - command.yaw + np.pi / 4, np.pi / 2) - np.pi / 4
        # Straight lines: the slowest axis sets the pace.
        longest = np.maximum(np.abs(move).max(axis=1, keepdims=True), 1e-9)
        move = move * np.minimum(1.0, speed * self.control.step / longest)
        left = np.linalg.norm(np.array([stroke.position for stroke in heads]) - command.position - move, axis=1)
        for n, stroke in enumerate(heads):
            self.queue[n][0] = stroke = replace(stroke, patience=stroke.patience - 1)
            if (left[n] < 0.003 and stroke.dwell <= 0) or stroke.patience <= 0:
                self.queue[n].pop(0)
            elif left[n] < 0.003:
                self.queue[n][0] = replace(stroke, dwell=stroke.dwell - 1)
        low, high = GRIPPER_RANGE
        gripper = 2.0 * (np.array([stroke.gripper for stroke in heads]) - low) / (high - low) - 1.0
        turn = turn / self.control.turn
        action = np.concatenate([move / self.control.step, turn[:, None], gripper[:, None]], axis=1)
        noise = self.generator.normal(size=action.shape) * np.array([stroke.noise for stroke in heads])[:, None]
        noise[:, 4] *= 0.2
        noisy: Floats = np.clip(action + noise, -1.0, 1.0)
        return noisy


def draw_strokes(
    generator: np.random.Generator, observation: Observation, worlds: NDArray[np.int64]
) -> list[list[Stroke]]:
    """For each of `worlds`, the next thing to do, chosen from what is seen."""
    objects = observation.objects
    boxes = [k for k, kind in enumerate(objects.kind) if int(kind) in MOVABLE]
    tool = np.asarray(objects.position_in_world)[:, objects.index("gripper")]
    yaws = yaw_of(np.asarray(objects.quaternion_in_world))
    plans = []
    for n in worlds:
        near = [k for k in boxes if objects.present[n, k] and _in_area(objects.position_in_world[n, k])]
        if not near:
            plans.append(_wander(generator, np.array([0.24, 0.0, 0.0])))
            continue
        target = int(generator.choice(near))
        others = [k for k in near if k != target]
        place = np.asarray(objects.position_in_world[n, target])
        kind = generator.random()
        crowded = any(np.linalg.norm(np.asarray(objects.position_in_world)[n, k] - place) < ROOM for k in others)
        if kind < 0.78 or (crowded and kind < 0.95):
            goal = np.asarray(objects.position_in_world[n, int(generator.choice(others))]) if others else None
            if others and generator.random() < 0.35:
                # The two that are nearest one another: a chain.
                goal = min((np.asarray(objects.position_in_world[n, k]) for k in others),
                           key=lambda p: float(np.linalg.norm(p - place)))  # fmt: skip
            obstacles = np.asarray(objects.position_in_world)[n, others]
            plans.append(_push(generator, place, goal if generator.random() < 0.75 else None, tool[n], obstacles))
        elif kind < 0.95:
            over = np.asarray(objects.position_in_world[n, int(generator.choice(others))]) if others else None
            plans.append(_grasp(generator, place, float(yaws[n, target]), over))
        else:
            plans.append(_wander(generator, place))
    return plans


def _push(
    generator: np.random.Generator, place: Floats, goal: Floats | None, tool: Floats, obstacles: Floats
) -> list[Stroke]:
    """Go behind a cube, where no other one is, and push through it, towards another one or anywhere."""
    for attempt in range(8):
        angle = generator.uniform(-np.pi, np.pi)
        if attempt < 3 and goal is not None and np.linalg.norm((goal - place)[:2]) > 1e-3:
            angle = np.arctan2(goal[1] - place[1], goal[0] - place[0]) + generator.normal() * 0.12
        heading = np.array([np.cos(angle), np.sin(angle)])
        aside = np.array([-heading[1], heading[0]]) * generator.normal() * 0.006
        begin = place[:2] - heading * generator.uniform(0.035, 0.055) + aside
        if not len(obstacles) or np.linalg.norm(obstacles[:, :2] - begin, axis=1).min() > 0.03:
            break
    end = place[:2] + heading * generator.uniform(0.0, 0.10) + aside
    yaw, height = generator.uniform(-np.pi / 4, np.pi / 4), generator.uniform(*LOW)
    gripper = -0.1 if generator.random() < 0.9 else generator.uniform(0.0, 0.7)
    # Slow pushes keep what happens foreseeable: a cube that is struck flies off its own way.
    speed, noise = generator.uniform(0.15, 0.6), 0.1 * float(generator.random() < 0.2)
    strokes = []
    if np.linalg.norm(tool[:2] - begin) > 0.012 or tool[2] > 0.035:
        strokes += [_at(begin, HIGH, yaw, gripper), _at(begin, height, yaw, gripper)]
    strokes.append(_at(end, height, yaw, gripper, speed=speed, noise=noise))
    if generator.random() < 0.5:
        strokes.append(_at(end - 0.01 * heading, HIGH, yaw, gripper))
    return strokes


def _grasp(generator: np.random.Generator, place: Floats, cube_yaw: float, over: Floats | None) -> list[Stroke]:
    """Close the jaws on a cube, carry it (sometimes over or into another), and mostly let it go."""
    yaw = np.remainder(cube_yaw + np.pi / 4, np.pi / 2) - np.pi / 4
    side = 0.006 * np.array([np.cos(yaw), np.sin(yaw)])
    where = place[:2] + side + generator.normal(size=2) * 0.003
    opened, closed = generator.uniform(0.5, 0.65), generator.uniform(-0.1, 0.2)
    lift = generator.uniform(0.02, 0.09)
    goal = place[:2] + generator.uniform(-0.07, 0.07, 2)
    if over is not None and generator.random() < 0.3:
        goal = over[:2] + generator.normal(size=2) * 0.008
    lower = generator.uniform(0.014, 0.05)
    strokes = [
        _at(where, HIGH, yaw, opened),
        _at(where, max(place[2], 0.013), yaw, opened),
        _at(where, max(place[2], 0.013), yaw, closed, dwell=2),
        _at(where, place[2] + lift, yaw, closed),
        _at(goal, place[2] + lift, yaw + generator.normal() * 0.4, closed, speed=generator.uniform(0.3, 0.8)),
    ]
    if generator.random() < 0.7:
        strokes += [_at(goal, lower, yaw, closed), _at(goal, lower, yaw, opened, dwell=1), _at(goal, 0.07, yaw, opened)]
    return strokes


def _wander(generator: np.random.Generator, place: Floats) -> list[Stroke]:
    """A few random waypoints around a place, at any height, with any opening, noisily."""
    strokes = []
    for _ in range(3):
        where = place[:2] + generator.uniform(-0.07, 0.07, 2)
        strokes.append(
            _at(where, generator.uniform(0.012, 0.07), generator.uniform(-0.8, 0.8), generator.uniform(-0.1, 0.8),
                speed=generator.uniform(0.3, 1.0), noise=0.3)
        )  # fmt: skip
    return strokes


def _at(where: Floats, height: float, yaw: float, gripper: float, **more: float) -> Stroke:
    return Stroke((float(where[0]), float(where[1]), float(height)), float(yaw), float(gripper), **more)  # type: ignore[arg-type]


def _in_area(position: Floats) -> bool:
    return bool(0.12 < position[0] < 0.36 and abs(position[1]) < 0.15 and -0.01 < position[2] < 0.12)
