"""Random tabletop states, drawn rather than simulated: any number of boxes, stacked, binned, held, in the air.

A reward model has to judge states that no expert visits, and states that physics forbids: what an optimiser proposes
against it. Drawn states cost microseconds, and most are such that some predicate only just holds.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from envs.geometry import half_height, quat_from_yaw, quat_multiply, quat_rotate
from envs.predicates import BIN_WALL, GRIPPER, JAWS
from envs.types import Kind, ObjectState
from world_models.slots.perceive import REACH

Floats = NDArray[np.float64]
FIXED = ("table", GRIPPER, *JAWS, "target", "bin")
"""Entities beside the boxes."""
WORKSPACE = ((0.10, 0.40), (-0.25, 0.25), (0.0, 0.25))
"""[m] x, y and z of boxes."""
TURN_PER_METRE = np.deg2rad(10.0) / 0.02
"""[rad/m] an estimate 20 mm off is 10 degrees off."""
SPEED_PER_METRE = 2.0
"""[1/s] an estimate 10 mm off says velocities that are 20 mm/s off: perception smooths over some frames."""
_WAYS = ("table", "stacked", "binned", "beside", "target", "air")
_SHARES = (0.38, 0.2, 0.1, 0.1, 0.1, 0.12)


def box_names(boxes: int) -> tuple[str, ...]:
    """Names of drawn boxes."""
    return tuple(f"box_{index}" for index in range(boxes))


def arrange(rng: np.random.Generator, worlds: int, boxes: int) -> ObjectState:
    """States `[B K ...]` of `FIXED` and so many boxes."""
    names = (*FIXED, *box_names(boxes))
    kinds = [Kind.TABLE, Kind.GRIPPER, Kind.JAW, Kind.JAW, Kind.TARGET, Kind.BIN, *[Kind.BOX] * boxes]
    count, first = len(names), len(FIXED)
    half = np.zeros((worlds, count, 3))
    half[:, : first - 1] = [[0.4, 0.45, 0.02], [0.002] * 3, [0.003, 0.008, 0.012], [0.003, 0.008, 0.012],
                            [0.025, 0.025, 0.0008]]  # fmt: skip
    half[:, first - 1] = rng.uniform([0.035, 0.035, 0.012], [0.075, 0.075, 0.035], (worlds, 3))
    half[:, first:] = _sizes(rng, worlds, boxes)
    position = np.zeros((worlds, count, 3))
    quaternion = np.zeros((worlds, count, 4))
    quaternion[..., 0] = 1.0
    position[:, 0] = [0.15, 0.0, -0.02]
    low, high = np.array(WORKSPACE).T
    target = rng.uniform(low, high, (worlds, 3))
    position[:, 4] = np.where(rng.random((worlds, 1)) < 0.6, target * [1, 1, 0] + [0, 0, 0.015], target)
    position[:, 5] = rng.uniform(low, high, (worlds, 3)) * [1, 1, 0] + half[:, 5] * [0, 0, 1]
    heading = rng.uniform(-np.pi, np.pi, worlds)
    quaternion[:, 5] = quat_from_yaw(_headings(rng, heading, worlds))
    for index in range(first, count):
        _put(rng, position, quaternion, half, index, heading)
    v, w = np.zeros_like(position), np.zeros_like(position)
    moving = rng.random((worlds, count)) < 0.35
    moving[:, [0, 4]] = False
    v[moving] = _directions(rng, moving.sum()) * 10 ** rng.uniform(-3, -0.3, (moving.sum(), 1))
    w[moving] = _directions(rng, moving.sum()) * 10 ** rng.uniform(-2, 0.5, (moving.sum(), 1))
    state = ObjectState(
        names=names,
        position_in_world=position,
        quaternion_in_world=quaternion,
        linear_velocity_in_world=v,
        angular_velocity_in_world=w,
        half_extents=half,
        kind=np.array(kinds),
        colour=np.full((worlds, count, 3), 0.5),
        mass=np.full((worlds, count), 0.03),
        friction=np.full((worlds, count), 0.5),
        present=np.ones((worlds, count), bool),
        confidence=np.ones((worlds, count)),
    )
    return reach_for(rng, state, first + rng.integers(boxes, size=worlds), rng.random(worlds))


def reach_for(rng: np.random.Generator, state: ObjectState, box: NDArray[np.int64], stage: Floats) -> ObjectState:
    """The state with the hand somewhere (stage < 0.3), around a box `[B]` (< 0.6), or at it so that it may be held."""
    worlds = len(box)
    every = np.arange(worlds)
    position, quaternion = state.position_in_world.copy(), state.quaternion_in_world.copy()
    v, w = state.linear_velocity_in_world.copy(), state.angular_velocity_in_world.copy()
    half, gripper = state.half_extents, state.index(GRIPPER)
    low, high = np.array(WORKSPACE).T
    somewhere, holding = stage < 0.3, stage >= 0.6
    at = position[every, box] + rng.normal(0, 1, (worlds, 3)) * np.where(holding, 0.003, 0.03)[:, None]
    position[:, gripper] = np.where(somewhere[:, None], rng.uniform(low, high, (worlds, 3)), at)
    free = _tilted(rng, rng.uniform(-np.pi, np.pi, worlds), rng.choice([0.02, 0.3], worlds))
    quaternion[:, gripper] = np.where(holding[:, None], quaternion[every, box], free)
    # Held ones move with the hand, give or take what is and is not a slip.
    arm = position[every, box] - position[:, gripper]
    carried = v[:, gripper] + np.cross(w[:, gripper], arm)
    carried = carried + _directions(rng, worlds) * 10 ** rng.uniform(-4, -0.7, (worlds, 1))
    v[every, box] = np.where(holding[:, None], carried, v[every, box])
    w[every, box] = np.where(holding[:, None], w[:, gripper], w[every, box])
    inner = np.where(holding, half[every, box, 0], 0.0) + half[:, state.index(JAWS[0]), 0]
    for side, jaw in zip((-1.0, 1.0), JAWS, strict=True):
        index = state.index(jaw)
        gap = np.where(holding, rng.normal(0.0, 0.0015, worlds), rng.uniform(0.0, 0.05, worlds))
        gap = np.where(holding & (rng.random(worlds) < 0.3), rng.uniform(0.0, 0.02, worlds), gap)
        offset = np.stack([side * (inner + gap), *rng.normal(0, 0.002, (2, worlds))], axis=-1)
        centre = np.where(holding[:, None], position[every, box], position[:, gripper])
        position[:, index] = centre + quat_rotate(quaternion[:, gripper], offset)
        lean = _turn(rng, rng.choice([0.0, 0.05, 0.3], worlds))
        quaternion[:, index] = quat_multiply(quaternion[:, gripper], lean)
        v[:, index], w[:, index] = v[:, gripper], w[:, gripper]
    return replace(
        state, position_in_world=position, quaternion_in_world=quaternion, linear_velocity_in_world=v,
        angular_velocity_in_world=w,
    )  # fmt: skip


def perturb(
    rng: np.random.Generator, state: ObjectState, spread: Floats, turn: Floats | None = None, hidden: float = 0.0
) -> ObjectState:
    """A state as something might see it: objects, bin and mark off by so much, the robot's own parts exact.

    Args:
        rng: draws the errors.
        state: `[B K ...]`.
        spread: standard deviation of each coordinate `[B]` [m]; sizes are a quarter as far off.
        turn: standard deviation of the angle `[B]` [rad]; None is `TURN_PER_METRE` times the spread.
        hidden: share of entities that are occluded, three times as far off, and said to be.

    Confidence is the probability that a position is right to `REACH`, as perception tells it.
    """
    turn = TURN_PER_METRE * spread if turn is None else turn
    seen = np.isin(state.kind, (Kind.BOX, Kind.CYLINDER, Kind.BIN, Kind.TARGET)) & state.present
    times = np.where(rng.random(seen.shape) < hidden, 3.0, 1.0) * seen
    far, angle = times * spread[:, None], times * turn[:, None]
    shape = state.position_in_world.shape
    half = state.half_extents + 0.25 * far[..., None] * rng.normal(size=shape)
    with np.errstate(divide="ignore"):
        sure = 1.0 - np.exp(-REACH / far)
    lean = _turn(rng, angle.reshape(-1)).reshape(*shape[:-1], 4)
    quaternion = quat_multiply(lean, state.quaternion_in_world)
    return replace(
        state,
        position_in_world=state.position_in_world + far[..., None] * rng.normal(size=shape),
        quaternion_in_world=np.where(angle[..., None] > 0, quaternion, state.quaternion_in_world),
        linear_velocity_in_world=state.linear_velocity_in_world
        + SPEED_PER_METRE * far[..., None] * rng.normal(size=shape),
        half_extents=np.where(far[..., None] > 0, np.maximum(half, 0.3 * state.half_extents), state.half_extents),
        confidence=np.where(state.present, sure, 0.0),
    )


def _sizes(rng: np.random.Generator, worlds: int, boxes: int) -> Floats:
    """Half extents `[B N 3]` [m], most of them cubes."""
    cubes = rng.uniform(0.008, 0.025, (worlds, boxes, 1)) * np.ones(3)
    return np.where(rng.random((worlds, boxes, 1)) < 0.6, cubes, rng.uniform(0.008, 0.04, (worlds, boxes, 3)))


def _headings(rng: np.random.Generator, shared: Floats, worlds: int) -> Floats:
    """Headings `[B]`, two in five nearly parallel to the world's shared one."""
    parallel = shared + 0.5 * np.pi * rng.integers(4, size=worlds) + rng.normal(0, 0.1, worlds)
    return np.where(rng.random(worlds) < 0.4, parallel, rng.uniform(-np.pi, np.pi, worlds))


def _put(
    rng: np.random.Generator, position: Floats, quaternion: Floats, half: Floats, index: int, heading: Floats
) -> None:
    """Place the box `index` of every world among those before it."""
    worlds, first = len(position), len(FIXED)
    every = np.arange(worlds)
    low, high = np.array(WORKSPACE).T
    way = np.array(_WAYS)[rng.choice(len(_WAYS), worlds, p=_SHARES)]
    if index == first:
        way = np.where((way == "stacked") | (way == "beside"), "table", way)
    leaning = np.where((way == "air") | (rng.random(worlds) < 0.08), rng.choice([0.15, 1.0], worlds), 0.0)
    turned = _tilted(rng, _headings(rng, heading, worlds), leaning)
    lying = rng.random(worlds) < 0.1
    side = quat_multiply(turned, np.array([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0]))
    turned = np.where(lying[:, None], side, turned)
    quaternion[:, index] = turned
    own = half[:, index]
    high_own = np.asarray(half_height(turned, own))
    base = rng.integers(first, max(index, first + 1), size=worlds)
    at, size = position[every, base], half[every, base]
    yaw = quaternion[every, base]
    place = rng.uniform(low, high, (worlds, 3))
    place[:, 2] = high_own + np.where(
        rng.random(worlds) < 0.7, rng.normal(0, 0.0006, worlds), rng.normal(0, 0.006, worlds)
    )
    spread = rng.uniform(-1.2, 1.2, (worlds, 3)) * rng.choice([0.4, 1.0], (worlds, 1))
    wobble = rng.choice([0.0005, 0.004, 0.02], (worlds, 1), p=[0.5, 0.3, 0.2]) * rng.normal(size=(worlds, 3))
    rise = np.asarray(half_height(yaw, size))
    stacked = at + quat_rotate(yaw, spread * size * [1, 1, 0]) + wobble * [0, 0, 1]
    stacked[:, 2] += rise + high_own
    bin_at, bin_size = position[:, 5], half[:, 5]
    binned = bin_at + quat_rotate(quaternion[:, 5], spread * bin_size * [1, 1, 0]) + wobble * [0, 0, 1]
    binned[:, 2] += BIN_WALL - bin_size[:, 2] + high_own
    along = np.eye(3)[rng.integers(2, size=worlds)] * rng.choice([-1.0, 1.0], (worlds, 1))
    beside = at + quat_rotate(yaw, along * (size + own + abs(wobble)) + spread * size * (1 - abs(along)) * [1, 1, 0])
    beside[:, 2] = high_own
    near = position[:, 4] + rng.normal(0, 0.02, (worlds, 3))
    near[:, 2] = np.where(rng.random(worlds) < 0.5, high_own, near[:, 2])
    air = rng.uniform(low, high, (worlds, 3))
    air[:, 2] += high_own
    places = {"table": place, "stacked": stacked, "binned": binned, "beside": beside, "target": near, "air": air}
    for name, chosen in places.items():
        position[:, index] = np.where((way == name)[:, None], chosen, position[:, index])


def _directions(rng: np.random.Generator, count: int) -> Floats:
    """Unit vectors `[n 3]`."""
    drawn = rng.normal(size=(count, 3))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=-1, keepdims=True))


def _turn(rng: np.random.Generator, spread: Floats) -> Floats:
    """Quaternions `[n 4]` of turns about random axes, by angles of so large a standard deviation `[n]` [rad]."""
    angle = 0.5 * spread * rng.normal(size=len(spread))
    return np.concatenate([np.cos(angle)[:, None], np.sin(angle)[:, None] * _directions(rng, len(spread))], axis=-1)


def _tilted(rng: np.random.Generator, yaw: Floats, lean: Floats) -> Floats:
    """Orientations `[n 4]` of a heading, then leaning by about so much [rad]."""
    return np.asarray(quat_multiply(_turn(rng, lean), quat_from_yaw(yaw)))
