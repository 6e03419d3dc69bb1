"""The sums of contact messages, before the network and after it."""

from typing import no_type_check

from envs.compiled import kernel
from envs.types import Array
from world_models.cjepa.contact_geometry import FEATURES, GLANCE, WEDGES


@kernel(fastmath=True)
@no_type_check
def gather(receiver: Array, who: Array, from_receiver: Array, from_sender: Array, first: Array) -> None:
    """Add both ends' rows to `first` `[E H]`."""
    for e in range(len(receiver)):
        row, a, b = first[e], from_receiver[receiver[e]], from_sender[who[e]]
        for i in range(row.shape[0]):
            row[i] += a[i] + b[i]


@kernel(fastmath=True)
@no_type_check
def collect(
    said: Array, seen: Array, wedges: Array, weight: Array, facing: Array, receiver: Array, width: int, total: Array
) -> None:
    """Sum what is said to each receiver into `total` `[A W+12]`, its vectors turned into the receiver's axes."""
    carried = GLANCE + FEATURES
    for e in range(len(receiver)):
        row, out, w = said[e], total[receiver[e]], weight[e]
        for i in range(width):
            out[i] += w * row[i]
        c, s = facing[e, 0], facing[e, 1]
        for part in range(4):
            at = width + 2 + 4 * WEDGES + 3 * part
            x, y, z = row[at], row[at + 1], row[at + 2]
            for k in range(WEDGES):
                share = row[width + 2 + 4 * k + part]
                x += share * wedges[e, k, 3 * (part % 2)]
                y += share * wedges[e, k, 3 * (part % 2) + 1]
                z += share * wedges[e, k, 3 * (part % 2) + 2]
            if part < 2:
                gate = row[width + part]
                x += gate * seen[e, carried + 3 * part]
                y += gate * seen[e, carried + 3 * part + 1]
                z += gate * seen[e, carried + 3 * part + 2]
            at = width + 3 * part
            out[at] += w * (c * x - s * y)
            out[at + 1] += w * (s * x + c * y)
            out[at + 2] += w * z
