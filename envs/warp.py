"""Worlds stepped by MuJoCo Warp: a `Batch` whose rows are integrated on a GPU, or on Warp's CPU device.

Rows, per-world model fields and the constants derived from them stay MuJoCo's own, in double precision on the host; a
step takes over what has changed, integrates in single precision and reads the rows back. So all that is done to worlds
between steps (resets, snapshots, edits, rays, pictures) is the same code on the same numbers, and a world's future is a
function of its row here, too.

What a step launches is recorded once and replayed: as a CUDA graph on a GPU, and on the CPU by Warp's own recording,
which makes a step of few worlds a hundred times faster than launching its kernels one by one.
"""

import dataclasses
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp
from mujoco.batch import MODEL_FIELDS, Batch

from envs.errors import EmbodiedError
from envs.types import Array

_STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
_TOO_MUCH = 1e10
"""MuJoCo's mjMAXVAL: positions, velocities and accelerations beyond it are divergence."""
_CONTACTS = mjw.OverflowType.BROADPHASE | mjw.OverflowType.NARROWPHASE | mjw.OverflowType.CCD
_ROWS = mjw.OverflowType.NEFC | mjw.OverflowType.NJMAX_NNZ


class WarpBatch(Batch):
    """A `Batch` in which `step` runs on MuJoCo Warp.

    Model fields are uploaded at the next step after `expand` or `set_const`: call `expand` again before every write.
    """

    def __init__(self, model: mujoco.MjModel, nsim: int, nthread: int = 0, device: str = "auto") -> None:
        """`nthread` serves what stays on the host. Raises `EmbodiedError` for what MuJoCo Warp cannot step."""
        super().__init__(model, nsim, nthread)
        self._where = _device(device)
        self.device = "cuda" if self._where.is_cuda else "cpu"
        """Where it steps."""
        with wp.ScopedDevice(self._where):
            try:
                self._on_device = mjw.put_model(model)
            except (NotImplementedError, ValueError) as error:
                raise EmbodiedError(f"MuJoCo Warp cannot step this scene: {error} The engine batch can.") from error
            option = self._on_device.opt
            option.warn_overflow = 0
            # All that this flag does here is that boxes meet boxes by the port of MuJoCo's own collider.
            option.disableflags |= int(mjw.DisableBit.NATIVECCD)
            # A CPU does one thing after the other anyway.
            option.deterministic = int(mjw.DeterminismType.ALL if self._where.is_cuda else mjw.DeterminismType.NONE)
            self._device_rows = wp.empty(self.state.shape, dtype=float)
            self._host_rows = wp.empty(self.state.shape, dtype=float, device="cpu", pinned=self._where.is_cuda)
        self._fields = _fields(self._on_device)
        self._stale: set[str] = set()
        self._contacts, self._constraints = _room(model)
        self._graphs: tuple[Any, Any, Any] | None = None
        """Rows to data, one physics step, data to rows; None where they must be recorded anew."""

    def bind(self, name: str) -> Array:
        """A live view of part of the rows; raises `EmbodiedError` for derived fields, which stay on the device."""
        values = super().bind(name)
        if not values.flags.writeable:
            raise EmbodiedError(f"MuJoCo Warp does not hand out {name} after a step; the engine batch does.")
        return np.asarray(values)

    def expand(self, name: str) -> Array:
        """A field's per-world values, uploaded at the next step; raises `EmbodiedError` for one that worlds share."""
        if name not in self._fields:
            raise EmbodiedError(f"MuJoCo Warp cannot give each world a {name} of its own; the engine batch can.")
        self._stale.add(name)
        return np.asarray(super().expand(name))

    def set_const(self, ids: Array | None = None) -> None:
        """Derive constants per world, on the host."""
        super().set_const(ids)
        # What MuJoCo derives but MuJoCo Warp does not have, it does not step with.
        self._stale |= {name for name in self._fields if self.expanded(name) is not None}

    def step(self, ids: Array | None = None, nstep: int = 1) -> None:
        """Advance the worlds `ids`, all by default, by so many physics steps."""
        self._run(np.arange(self.nsim) if ids is None else np.asarray(ids), nstep, None)

    def rollout(self, nstep: int, control: Array | None = None, *, record: tuple[()] = ()) -> dict[str, Array]:
        """Advance all worlds by so many physics steps, each under its `control` `[N nstep U]`; nothing is recorded."""
        self._run(np.arange(self.nsim), nstep, control)
        return {}

    def _run(self, chosen: Array, nstep: int, control: Array | None) -> None:
        with wp.ScopedDevice(self._where):
            self._upload_fields()
            rows = self._integrated(nstep, control)
        after = rows[chosen].astype(np.float64)
        # In single precision, a clock that adds up steps of 5 ms runs wrong.
        after[:, 0] = self.state[chosen, 0] + nstep * self.model.opt.timestep
        self.state[chosen] = after
        self._count_diverged(chosen, after)

    def _integrated(self, nstep: int, control: Array | None) -> Array:
        """`[N S]` float32 of all worlds after so many steps, see `rollout`; a view."""
        commands: Any = None
        if control is not None:
            commands = wp.array(np.ascontiguousarray(control.swapaxes(0, 1), np.float32))
        while True:
            data, (take, step, give) = self._recorded()
            host: Array = self._host_rows.numpy()
            host[:] = self.state
            wp.copy(self._device_rows, self._host_rows)
            data.overflow.zero_()
            wp.capture_launch(take)
            for k in range(nstep):
                if commands is not None:
                    wp.copy(data.ctrl, commands[k])
                wp.capture_launch(step)
            wp.capture_launch(give)
            wp.copy(self._host_rows, self._device_rows)
            overflow = int(np.bitwise_or.reduce(data.overflow.numpy()))
            if not overflow & (_CONTACTS | _ROWS):
                return host
            # Contacts were left out. The rows on the host are still those before the step, which is done again.
            self._contacts *= 2 if overflow & _CONTACTS else 1
            self._constraints *= 2 if overflow & _ROWS else 1
            self._graphs = None

    def _recorded(self) -> tuple[Any, tuple[Any, Any, Any]]:
        """The data on the device and what is launched on it."""
        if self._graphs is None:
            self._data_on_device = mjw.make_data(
                self.model, nworld=self.nsim, nconmax=self._contacts, njmax=self._constraints
            )
            arguments = self._on_device, self._data_on_device
            with wp.ScopedCapture() as take:
                mjw.set_state(*arguments, self._device_rows, _STATE)
            with wp.ScopedCapture() as step:
                mjw.step(*arguments)
            with wp.ScopedCapture() as give:
                mjw.get_state(*arguments, self._device_rows, _STATE)
            self._graphs = take.graph, step.graph, give.graph
        return self._data_on_device, self._graphs

    def _upload_fields(self) -> None:
        for name in self._stale:
            holder, own = self._fields[name]
            values, old = self.expanded(name), getattr(holder, own)
            shape = (self.nsim, *old.shape[1:], *getattr(old.dtype, "_shape_", ()))
            values = np.ascontiguousarray(values, np.float32).reshape(shape)
            if old.shape[0] == self.nsim:
                old.assign(values)
            else:
                setattr(holder, own, wp.array(values, dtype=old.dtype))
                # Recorded launches hold the array that all worlds shared.
                self._graphs = None
        self._stale.clear()

    def _count_diverged(self, ids: Array, rows: Array) -> None:
        """Raise MuJoCo's own warning counters of worlds whose physics has no finite state any more."""
        moving = rows[:, 1 : 1 + self.model.nq + self.model.nv]
        bad = ~(np.abs(moving) <= _TOO_MUCH).all(axis=1) | ~np.isfinite(rows).all(axis=1)
        self.warning[ids[bad], int(mujoco.mjtWarning.mjWARN_BADQPOS), 1] += 1


def device_found(name: str = "auto") -> str:
    """What it would step on, in words; raises `EmbodiedError` like `WarpBatch` for a device that is not there."""
    device = _device(name)
    return f"{device.alias} ({device.name})" if device.is_cuda else "the CPU"


def _device(name: str) -> Any:
    """Warp's device; raises `EmbodiedError` for `cuda` where there is none."""
    # Before its first call, or it greets on the standard output.
    wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)
    there = wp.is_cuda_available()
    if name == "cuda" and not there:
        raise EmbodiedError("The engine warp was to run on CUDA, but Warp finds no GPU; device=cpu runs without one.")
    return wp.get_device("cpu" if name == "cpu" or not there else "cuda")


def _fields(model: Any) -> dict[str, tuple[Any, str]]:
    """By MuJoCo's name, each model field that worlds may differ in: its holder on the device, and its name there."""
    found = {}
    for prefix, holder in (("", model), ("opt.", model.opt)):
        for field in dataclasses.fields(holder):
            name = prefix + field.name
            if name not in MODEL_FIELDS or getattr(field.type, "shape", ())[:1] != ("*",):
                continue
            dtype = getattr(holder, field.name).dtype
            if getattr(dtype, "_wp_scalar_type_", dtype) is wp.float32:
                found[name] = (holder, field.name)
    return found


def _room(model: mujoco.MjModel) -> tuple[int, int]:
    """Contacts and constraint rows to begin with, per world: twice what bodies need that lie on a plane on four."""
    free = int((model.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE)).sum())
    contacts = 8 * (free + 2)
    return contacts, model.nv + model.njnt + contacts * int(model.geom_condim.max())
