"""The servos' parameters that make simulated joints move as those of a log did, and how well that is known.

MuJoCo's own least squares with bounds, `mujoco.minimize`, which `mujoco.sysid` is built on, over trajectories of the
whole arm. All the perturbed parameter sets of a Jacobian are worlds of one batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from mujoco import minimize

from envs.servo import SERVOS, Servo
from envs.servo_file import IDENTIFIED, Range, ServoFile
from envs.types import Array
from robots.identification.log import Log
from robots.identification.replay import BACKLASH, DAMPING, DELAY, FRICTION, KP, Replay
from robots.twin.servo import RADIANS
from robots.units import JOINTS

BASE = SERVOS["lerobot"]
"""Rotor inertia and torque limits, which are not fitted, and where the search begins."""
UNIT = np.array([1.0, 1.0, 0.05, 0.02, 0.02])
"""Of the unknowns: logarithms of `kp` and `damping`; dry friction [N m], delay [s], backlash [rad]."""
LOW = np.array([np.log(1.0), np.log(0.05), 0.0, 0.0, 0.0])
HIGH = np.array([np.log(1500.0), np.log(30.0), 1.0 / 0.05, 0.2 / 0.02, np.deg2rad(6.0) / 0.02])
START = np.array([np.log(BASE.kp), np.log(BASE.damping), 0.03 / 0.05, 0.01 / 0.02, 0.006 / 0.02])
PRIOR = np.array([2.0, 2.0, 4.0, 4.0, 4.0])
"""Standard deviation of what the unknowns are before anything moved; it decides only where the motion does not."""
STEP = np.array([0.01, 0.01, 0.05, 0.05, 0.05])
"""Of finite differences, in the same units: coarse, for friction and gaps act in ticks."""
NOISE = RADIANS / np.sqrt(12.0)
"""[rad] An encoder's rounding."""
STAGES = (((KP, DAMPING, DELAY), 6, 1e-2), ((KP, DAMPING, FRICTION, DELAY, BACKLASH), 12, 2e-3))
"""What is fitted, in how many rounds at most, and at which length of a step it is done. All at once from afar, friction
and backlash follow what a stiffness that is still wrong leaves over, into a valley that takes dozens of rounds to come
out of."""
ROUNDS = sum(most for _, most, _ in STAGES)
BLOCK = 1.0
"""[s] Residuals within such a block may be correlated; between blocks they count as independent."""
WIDTH = 3.0
"""Standard errors to each side of what was found, in the ranges to train with."""


@dataclass(frozen=True)
class Fit:
    """What a log says of the servos."""

    parameters: Array
    """`[6 5]` in the units of `Servo`, see `IDENTIFIED`."""
    errors: Array
    """`[6 5]` standard errors in the same units."""
    low: Array
    """`[6 5]` lower ends of the ranges."""
    high: Array
    """`[6 5]`."""
    told: Array
    """`[6 5]` bool: whether the motion says more of a parameter than that it is in bounds."""
    rms: Array
    """`[6]` what is left between replay and log [rad]."""
    rounds: int

    def as_file(self) -> ServoFile:
        """As servos and ranges."""
        errors, ranges = {}, {}
        for place, name in enumerate(IDENTIFIED):
            errors[name] = {joint: float(self.errors[j, place]) for j, joint in enumerate(JOINTS)}
            ranges[name] = {joint: self._range(j, place) for j, joint in enumerate(JOINTS)}
        return ServoFile(servos_of(self.parameters), errors, ranges)

    def _range(self, joint: int, place: int) -> Range:
        return float(self.low[joint, place]), float(self.high[joint, place])


def servos_of(parameters: Array) -> tuple[Servo, ...]:
    """Servos with the parameters `[6 5]`."""
    return tuple(
        replace(BASE, kv=0.0, **{name: float(row[place]) for place, name in enumerate(IDENTIFIED)})
        for row in parameters
    )


def parameters_of(servos: tuple[Servo, ...]) -> Array:
    """`[6 5]` of servos; what is found as damping is active and passive together."""
    return np.array([[s.kp, s.damping + s.kv, s.frictionloss, s.delay, s.backlash] for s in servos])


def fit(log: Log, progress: Callable[[int, int, str], None] = lambda *_: None) -> Fit:
    """Identify the servos of all six joints from one log.

    `progress` hears the round, how many there are at most, and a note. Standard errors are the larger of two: those
    of independent residuals, and those of residuals that are correlated within a `BLOCK` (the clustered sandwich of
    Liang and Zeger 1986), as they are where the model is wrong.
    """
    problem, rounds = _Problem(log), 0
    x = np.tile(START, len(JOINTS))
    bounds = (np.tile(LOW, len(JOINTS)), np.tile(HIGH, len(JOINTS)))
    for places, most, tolerance in STAGES:
        free = np.flatnonzero(np.isin(np.arange(x.size) % len(IDENTIFIED), places))
        stage = _Stage(problem, x, free)
        x[free], trace = minimize.least_squares(
            x[free], stage.residual, bounds=[end[free] for end in bounds], jacobian=stage.jacobian, x_scale="jac",
            max_iter=most, xtol=tolerance, verbose=0,
            iter_callback=lambda done, before=rounds: progress(
                before + len(done), ROUNDS, f"cost {done[-1].objective:.4g}"
            ),
        )  # fmt: skip
        rounds += len(trace)
    residual = problem.residual(x[:, None])[:, 0]
    jacobian = problem.jacobian(x, residual[:, None], np.arange(x.size))
    spread = problem.standard_errors(jacobian, residual)
    values, unit = _natural(x), np.tile(UNIT, len(JOINTS))
    ends = [np.clip(x + side * WIDTH * spread, *bounds) for side in (-1.0, 1.0)]
    logarithms = np.isin(np.arange(x.size) % len(IDENTIFIED), (KP, DAMPING))
    shape = (len(JOINTS), len(IDENTIFIED))
    return Fit(
        parameters=values,
        errors=(spread * np.where(logarithms, values.ravel(), unit)).reshape(shape),
        low=_natural(ends[0]),
        high=_natural(ends[1]),
        told=(spread < 0.3 * np.tile(PRIOR, len(JOINTS))).reshape(shape),
        rms=replay_error(problem.replay, values),
        rounds=rounds,
    )


def replay_error(replay: Replay, parameters: Array) -> Array:
    """Root mean square `[6]` between a replay with `parameters` `[6 5]` and its log [rad]."""
    away = replay.predict(parameters[None])[0] - replay.log.position
    return np.asarray(np.sqrt((away**2).mean(axis=0)))


class _Problem:
    """Residuals `[6 T + 30]`: joints in units of the encoder's rounding, then what was believed before."""

    def __init__(self, log: Log) -> None:
        count = len(JOINTS) * len(IDENTIFIED)
        self.replay = Replay(log, BASE, worlds=count)
        self._step = np.tile(STEP, len(JOINTS))
        self._start, self._prior = np.tile(START, len(JOINTS)), np.tile(PRIOR, len(JOINTS))
        self._blocks = ((log.time - log.time[0]) / BLOCK).astype(int)

    def residual(self, columns: Array) -> Array:
        """For the unknowns in columns `[30 n]`."""
        moved = self._moved(columns.T)
        believed = (columns - self._start[:, None]) / self._prior[:, None]
        return np.concatenate([moved, believed])

    def jacobian(self, x: Array, residual: Array, free: Array) -> Array:
        """`[6 T + 30, F]` at `x` `[30]`, where the residual is `[6 T + 30, 1]`, of the unknowns `free` `[F]`."""
        columns = x + np.diag(self._step)[free]
        return np.asarray((self.residual(columns.T) - residual) / self._step[free])

    def standard_errors(self, jacobian: Array, residual: Array) -> Array:
        """`[30]` of the unknowns."""
        rows = len(residual) - len(self._prior)
        # Where the simulation is not the arm, residuals are larger than rounding.
        scale = max(1.0, float((residual[:rows] ** 2).mean()))
        weighted = jacobian.copy()
        weighted[:rows] /= np.sqrt(scale)
        covariance = np.linalg.inv(weighted.T @ weighted)
        blocks = np.repeat(self._blocks, len(JOINTS))
        pull = jacobian[:rows] * residual[:rows, None] / scale
        each = np.stack([pull[blocks == block].sum(axis=0) for block in np.unique(blocks)])
        clustered = covariance @ (each.T @ each) @ covariance
        return np.asarray(np.sqrt(np.maximum(np.diag(covariance), np.diag(clustered))))

    def _moved(self, rows: Array) -> Array:
        predicted = self.replay.predict(np.stack([_natural(row) for row in rows]))
        return np.asarray(((predicted - self.replay.log.position) / NOISE).reshape(len(rows), -1).T)


class _Stage:
    """The problem as one of the unknowns `free` `[F]` alone; the others stay as they are in `x` `[30]`."""

    def __init__(self, problem: _Problem, x: Array, free: Array) -> None:
        self._problem, self._x, self._free = problem, x.copy(), free

    def residual(self, columns: Array) -> Array:
        """See `_Problem.residual`, for columns `[F n]`."""
        whole = np.repeat(self._x[:, None], columns.shape[1], axis=1)
        whole[self._free] = columns
        return self._problem.residual(whole)

    def jacobian(self, column: Array, residual: Array) -> Array:
        """See `_Problem.jacobian`, at a column `[F 1]`."""
        whole = self._x.copy()
        whole[self._free] = column.ravel()
        return self._problem.jacobian(whole, residual, self._free)


def _natural(x: Array) -> Array:
    """`[6 5]` in the units of `Servo` of unknowns `[30]`."""
    values = (x.reshape(len(JOINTS), -1) * UNIT).copy()
    values[:, (KP, DAMPING)] = np.exp(values[:, (KP, DAMPING)])
    # A step of the differences may go below, where there is nothing.
    values[:, (FRICTION, DELAY, BACKLASH)] = np.maximum(values[:, (FRICTION, DELAY, BACKLASH)], 0.0)
    return np.asarray(values)
