"""MuJoCo's bindings read the clock all through a physics step, for timers that nobody here reads: 6 % of its time."""

from functools import cache
from typing import Any

import mujoco
from numba import cfunc, types


def stop_timers() -> None:
    """Let MuJoCo time nothing in this process; a `mjcb_time` that somebody installed stays.

    For MuJoCo's own timers, call `mujoco.set_mjcb_time(None)` after the last simulation is made.
    """
    if mujoco.get_mjcb_time() is None:
        mujoco.set_mjcb_time(_never().ctypes)


@cache
def _never() -> Any:
    """A C function that returns 0, kept for good: MuJoCo calls it in every step."""
    return cfunc(types.float64())(lambda: 0.0)
