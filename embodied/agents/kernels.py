"""What lies between the matrix products of an update, one pass over memory each, compiled for CPUs.

Rows are worked on while they are in the first cache: a layer norm with its ReLU, or the way back through both, reads
and writes its array once, where separate tensor operations go through it eight times. NaN stays NaN, so that it is
found.
"""

from typing import no_type_check

import numpy as np

from embodied.agents.networks import NORM_EPSILON
from envs.compiled import kernel
from envs.types import Array

_FAST = {"reassoc", "contract", "arcp", "nsz"}
"""All of `fastmath` but the freedom to assume that there are no NaN and infinities."""
_EPSILON = np.float32(NORM_EPSILON)


@kernel(fastmath=_FAST, error_model="numpy")
@no_type_check
def norm_relu(layer: Array, bias: Array, scale: Array, hidden: Array) -> None:
    """`layer` `[B W]` without its bias becomes its normalised self, `scale` `[B]` one over the deviation."""
    rows, width = layer.shape
    share = np.float32(1.0) / np.float32(width)
    for i in range(rows):
        mean = np.float32(0.0)
        for j in range(width):
            value = layer[i, j] + bias[j]
            layer[i, j] = value
            mean += value
        mean *= share
        square = np.float32(0.0)
        for j in range(width):
            value = layer[i, j] - mean
            layer[i, j] = value
            square += value * value
        inverse = np.float32(1.0) / np.sqrt(square * share + _EPSILON)
        scale[i] = inverse
        for j in range(width):
            value = layer[i, j] * inverse
            layer[i, j] = value
            hidden[i, j] = np.float32(0.0) if value < np.float32(0.0) else value


@kernel(fastmath=_FAST, error_model="numpy")
@no_type_check
def norm_relu_back(back: Array, normal: Array, scale: Array, bias_slope: Array) -> None:
    """`back` `[B W]`, the slope in the ReLU's output, becomes that in the layer's; `bias_slope` `[W]` is its sum."""
    rows, width = back.shape
    share = np.float32(1.0) / np.float32(width)
    bias_slope[:] = np.float32(0.0)
    for i in range(rows):
        mean = np.float32(0.0)
        along = np.float32(0.0)
        for j in range(width):
            value = np.float32(0.0) if normal[i, j] <= np.float32(0.0) else back[i, j]
            back[i, j] = value
            mean += value
            along += value * normal[i, j]
        mean *= share
        along *= share
        inverse = scale[i]
        for j in range(width):
            value = (back[i, j] - mean - normal[i, j] * along) * inverse
            back[i, j] = value
            bias_slope[j] += value


@kernel(fastmath=_FAST, error_model="numpy")
@no_type_check
def relu_back(back: Array, hidden: Array, bias_slope: Array) -> None:
    """`back` `[B W]`, the slope in the ReLU's output, becomes that in the layer's; `bias_slope` `[W]` is its sum."""
    rows, width = back.shape
    bias_slope[:] = np.float32(0.0)
    for i in range(rows):
        for j in range(width):
            value = np.float32(0.0) if hidden[i, j] <= np.float32(0.0) else back[i, j]
            back[i, j] = value
            bias_slope[j] += value


@kernel(fastmath=_FAST, error_model="numpy")
@no_type_check
def disturb(action: Array, noise: Array) -> None:
    """Add noise to `action` `[B A]`, within -1..1."""
    rows, width = action.shape
    for i in range(rows):
        for j in range(width):
            value = action[i, j] + noise[i, j]
            action[i, j] = min(max(value, np.float32(-1.0)), np.float32(1.0))


@kernel(fastmath=_FAST, error_model="numpy")
@no_type_check
def bellman(
    values: Array, reward: Array, discount: Array, gamma: float, low: float, high: float, target: Array
) -> None:
    """`target` `[B]`, within `low` to `high`, from the least of `values` `[E B]`."""
    members, rows = values.shape
    for i in range(rows):
        least = values[0, i]
        for member in range(1, members):
            if not values[member, i] >= least:
                least = values[member, i]
        value = reward[i] + np.float32(gamma) * discount[i] * least
        if value < np.float32(low):
            value = np.float32(low)
        elif value > np.float32(high):
            value = np.float32(high)
        target[i] = value


@kernel(fastmath=_FAST, error_model="numpy")
@no_type_check
def squared_error(value: Array, target: Array, slope: Array) -> float:
    """The mean squared error of `value` `[B]`; `slope` `[B]` is its gradient."""
    rows = len(value)
    total = np.float32(0.0)
    for i in range(rows):
        error = value[i] - target[i]
        slope[i] = np.float32(2.0) * error / np.float32(rows)
        total += error * error
    return total / np.float32(rows)


@kernel(fastmath=_FAST, error_model="numpy")
@no_type_check
def actor_slope(
    raw: Array, actions: Array, label: Array, clone: Array, weight: float, penalty: float, slope: Array,
    bias_slope: Array,
) -> tuple[float, float]:  # fmt: skip
    """`slope` `[B A]`, a loss's in the `actions` tanh(`raw`), becomes the whole loss's in `raw`; its sum `[A]`.

    The whole loss has `weight` times the cloning error and `penalty` times the mean square of `raw` on top; returns
    that error and that mean.
    """
    rows, width = raw.shape
    marked = np.float32(0.0)
    for i in range(rows):
        marked += clone[i]
    marked = max(marked, np.float32(1.0))
    error = np.float32(0.0)
    squares = np.float32(0.0)
    down = np.float32(2.0 * penalty / (rows * width))
    bias_slope[:] = np.float32(0.0)
    for i in range(rows):
        share = clone[i] / marked
        for j in range(width):
            action = actions[i, j]
            difference = action - label[i, j]
            error += share * difference * difference
            squares += raw[i, j] * raw[i, j]
            value = slope[i, j] + np.float32(2.0 * weight) * share * difference
            value = value * (np.float32(1.0) - action * action) + down * raw[i, j]
            slope[i, j] = value
            bias_slope[j] += value
    return error, squares / np.float32(rows * width)


@kernel(fastmath=_FAST, error_model="numpy")
@no_type_check
def adam(
    flat: Array, gradient: Array, mean: Array, square: Array, rate: float, mean_rate: float, square_rate: float,
    correction: float, epsilon: float,
) -> None:  # fmt: skip
    """One step of Adam on all of `flat` `[P]`; `rate` has the first moment's correction in it."""
    a, b = np.float32(mean_rate), np.float32(square_rate)
    keep_a, keep_b = np.float32(1.0 - mean_rate), np.float32(1.0 - square_rate)
    step, over, small = np.float32(rate), np.float32(correction), np.float32(epsilon)
    for i in range(len(flat)):
        slope = gradient[i]
        first = a * mean[i] + keep_a * slope
        second = b * square[i] + keep_b * slope * slope
        mean[i] = first
        square[i] = second
        flat[i] -= step * first / (np.sqrt(second / over) + small)
