"""What integrates the worlds of a simulation: MuJoCo on native threads, awake or asleep, or MuJoCo Warp on a GPU.

The contract between them is `mujoco.batch.Batch`: rows of `mjSTATE_INTEGRATION` that are read and written between
steps, model fields that differ per world, and `step`. Who reads rows to go on from them, or writes rows or fields, says
so by `envs.sleeping.wake`. Whatever stands on a `Simulation` knows no engine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mujoco
from mujoco.batch import Batch

from envs.errors import EmbodiedError, unknown
from envs.sleeping import SleepingBatch

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Engine:
    """An engine by name, and where it runs."""

    name: str = "batch"
    """`batch`: MuJoCo in C, double precision, to the bit the same on any number of threads. `sleeping`: the same, but
    objects at rest are not stepped, see `envs.sleeping`. `warp`: MuJoCo Warp in single precision, which pays with
    thousands of worlds on a GPU, see `envs.warp`."""
    device: str = "auto"
    """Of `warp`: `cuda`, `cpu`, or `auto` for CUDA where there is one. The others are on the CPU whatever it says."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for an unknown engine or device."""
        if self.name not in ENGINES:
            raise unknown("engine", self.name, ENGINES)
        if self.device not in DEVICES:
            raise unknown("device", self.device, DEVICES)

    def batch(self, model: mujoco.MjModel, worlds: int, threads: int) -> Batch:
        """So many worlds of a model; raises `EmbodiedError` where the engine is not installed or cannot step it."""
        return ENGINES[self.name](model, worlds, threads, self.device)


def _batch(model: mujoco.MjModel, worlds: int, threads: int, device: str) -> Batch:
    return Batch(model, worlds, threads)


def _sleeping(model: mujoco.MjModel, worlds: int, threads: int, device: str) -> Batch:
    return SleepingBatch(model, worlds, threads)


def _warp(model: mujoco.MjModel, worlds: int, threads: int, device: str) -> Batch:
    try:
        # Takes seconds to import, and is an extra.
        from envs.warp import WarpBatch
    except ModuleNotFoundError as error:
        raise EmbodiedError(
            f"The engine warp needs {error.name}, which is not installed: pip install 'embodied-whatif[warp]'."
        ) from error
    return WarpBatch(model, worlds, threads, device)


ENGINES: Mapping[str, Callable[[mujoco.MjModel, int, int, str], Batch]] = {
    "batch": _batch,
    "sleeping": _sleeping,
    "warp": _warp,
}
BATCH = Engine()
