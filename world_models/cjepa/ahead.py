"""Many plans from one beginning: the fast twin of `imagination.imagine` for a planner that tries thousands.

All members and plans are rows of one batch. A small step is a few compiled passes over all rows between the matrix
products, and those are one per layer and member; nothing is kept for gradients, and no `Observation` is made on the
way. What a goal needs, where things are at the ends of control steps, is read out as arrays.
"""

from dataclasses import fields, replace

import numpy as np
import torch

from envs.control import Controller, targets
from envs.errors import EmbodiedError
from envs.geometry import quat_to_matrix
from envs.types import Array, ObjectState, Observation
from world_models.cjepa import ahead_kernel
from world_models.cjepa.ahead_batch import Batch
from world_models.cjepa.ahead_weights import Weights
from world_models.cjepa.ensemble import Ensemble
from world_models.cjepa.model import History, WorldModel, ramped
from world_models.embodiment import robot_among
from world_models.slots.bodies import Bodies, bodies_of, body_indices

ROWS = 1024
"""Members times plans rolled at once: more of them leave the cache."""
_MOVING = ("position_in_world", "quaternion_in_world", "linear_velocity_in_world", "angular_velocity_in_world")


class Ahead:
    """An ensemble as a planner asks it: `begin` once per search, then plans by the hundred."""

    def __init__(self, ensemble: Ensemble, control: Controller) -> None:
        """`control` turns the plans' actions into joint targets.

        Raises `EmbodiedError` for a model that is not on a CPU, or members of different shapes.
        """
        members = [member for member in ensemble.members if isinstance(member, WorldModel)]
        if any(parameter.device.type != "cpu" for parameter in ensemble.parameters()):
            raise EmbodiedError("Plans are rolled ahead on a CPU; move the ensemble there, or use imagine.")
        if len({member.config for member in members}) != 1:
            raise EmbodiedError("Plans are rolled ahead by members of one shape; use imagine for a mixed ensemble.")
        self._ensemble, self._control, self._weights = ensemble, control, Weights.of(members)

    def begin(self, history: Observation) -> "Outlook":
        """What is said of plans after the last frames `[M W ...]` of M worlds, the present last; numpy."""
        return Outlook(self._ensemble, self._control, self._weights, history)


class Outlook:
    """What an ensemble says about plans from given histories; see `Ahead.begin`."""

    def __init__(self, ensemble: Ensemble, control: Controller, weights: "Weights", history: Observation) -> None:
        self._weights, self._control = weights, control
        self._members = weights.members
        self._seen: Observation = history[:, -1]
        seen = History(bodies_of(history.objects), torch.as_tensor(history.proprioception, dtype=torch.float32))
        belief = ensemble.begin(seen)
        self._history, self._labels = belief.histories[0], belief.labels
        objects = self._seen.objects
        self._bodies = np.array(body_indices(objects), np.int64)
        robot = robot_among(objects.names)
        self._robot = np.array([objects.index(name) for name in robot.entities], np.int64)

    @torch.no_grad()
    def __call__(self, plans: Array, scattered: bool = False) -> tuple[ObjectState, Array]:
        """Where everything is under plans `[M N H A]`, as a state `[M N H+1 ...]`, the present first.

        And the members' disagreement `[M N H+1 K]` [m], as in `Rollout.uncertainty`. Plans that are `scattered` over E
        members take an E-th of the time: plan n is imagined by member n % E alone, and nobody disagrees.
        """
        wanted, ways = plans.shape[1], len(self._members) if scattered else 1
        plans = np.concatenate([plans, plans[:, : -wanted % ways]], axis=1)
        said, spread, _ = self._follow(plans, ways)
        return said[:, :wanted], spread[:, :wanted]

    @torch.no_grad()
    def after(self, actions: Array) -> Observation:
        """What is observed `[M ...]` one control step on, under actions `[M A]`: the members' mean, without images."""
        said, _, arm = self._follow(actions[:, None, None], 1)
        period = 1.0 / self._control.spec.rate
        return Observation(arm[:, 0], said[:, 0, 1], np.asarray(self._seen.time) + period)

    def _follow(self, plans: Array, ways: int) -> tuple[ObjectState, Array, Array]:
        """See `__call__`, and the robot's proprioception `[M N P]` at the end."""
        worlds, count, horizon, _ = plans.shape
        objects = self._seen.objects
        entities = len(objects.names)
        shape = (worlds, count, horizon + 1, entities)
        arrays: dict[str, Array] = {}
        for field in fields(ObjectState):
            if field.name in ("names", "kind"):
                continue
            array: Array = np.asarray(getattr(objects, field.name))
            arrays[field.name] = np.broadcast_to(array[:, None, None], (*shape, *array.shape[2:]))
        there = objects.present[:, self._bodies]
        for name in _MOVING:
            # What the model moves is filled in; what it does not, and what is absent, stays as it was seen.
            array = arrays[name] = np.array(arrays[name], np.float64, order="C")
            blank = np.where(there[..., None], 0.0, array[:, 0, 0, self._bodies])
            array[:, :, 1:, self._bodies] = blank[:, None, None]
        spread = np.zeros(shape)
        arm = np.empty((worlds, count, self._seen.proprioception.shape[-1]))
        together = max(1, ROWS // (count * len(self._members) // ways))
        for start in range(0, worlds, together):
            some = slice(start, start + together)
            flat = {name: arrays[name][some].reshape(-1, *arrays[name].shape[2:]) for name in _MOVING}
            last = self._roll(some, plans[some], ways, flat, spread[some].reshape(-1, *shape[2:]))
            arm[some] = last.reshape(-1, *arm.shape[1:])
        return replace(objects, **arrays), spread, arm

    def _roll(self, some: slice, plans: Array, ways: int, out: dict[str, Array], spread: Array) -> Array:
        """Fill entities `[B H+1 K ...]` from time 1 on for some worlds' plans `[M N H A]`, B = M N.

        Returns the robot's last proprioception `[B P]`. Every plan is imagined by all members (`ways` 1), or by one of
        them (`ways` E).
        """
        worlds, count, horizon, _ = plans.shape
        voices = len(self._members) // ways
        # Which plan each of a voice's rows follows: one member's after another's.
        plan = np.arange(worlds * count).reshape(worlds, -1, ways).transpose(2, 0, 1).ravel()
        config, robot = self._members[0].config, self._members[0].robot
        told: Array = np.asarray(self._seen.proprioception, np.float64)[some].reshape(worlds, 3, -1)
        told = np.repeat(told, count, axis=0)
        commands = targets(self._control, told[:, 2], plans.reshape(worlds * count, horizon, -1))
        batch = Batch(self._weights, _repeated(self._history, some, count // ways))
        path = [told[plan, 0]]
        labels = self._labels[some].repeat_interleave(count, 0).flatten(-2).numpy()[plan]
        there = batch.present[: len(plan)]
        every = torch.as_tensor(commands[np.tile(plan, voices)], dtype=torch.float32)
        small = ramped(batch.before, every, config.parts).numpy()
        moving = [out[name] for name in _MOVING]
        for step in range(horizon):
            if config.layers and step % config.future == 0:
                batch.encode(every[:, step : step + config.future])
            for part in range(config.parts):
                batch.advance(small[:, step, part], step % config.future)
            batch.remember()
            ahead_kernel.average(
                batch.state.numpy(), voices, plan, labels, there, self._bodies, step + 1, *moving, spread
            )
            path.append(batch.position.reshape(voices, len(plan), -1).mean(0, dtype=np.float64))
        last = np.empty((len(plan), 3 * commands.shape[-1]))
        velocity = batch.velocity.reshape(voices, len(plan), -1).mean(0, dtype=np.float64)
        # The command is known exactly; the networks' copy of it is rounded.
        last[plan] = np.concatenate([path[-1], velocity, commands[plan, -1]], axis=1)
        poses = robot.entity_poses(np.stack(path, axis=1))
        objects = self._seen.objects
        # Speeds of the first step are from where the hand was seen.
        start = np.concatenate(
            [
                objects.position_in_world[some, self._robot],
                quat_to_matrix(objects.quaternion_in_world[some, self._robot]).reshape(worlds, -1, 9),
            ],
            axis=-1,
        )
        poses[:, 0] = np.repeat(start, count, axis=0)[plan]
        ahead_kernel.trail(poses, plan, self._robot, 1.0 / self._control.spec.rate, *moving)
        return last


def _repeated(history: History, some: slice, count: int) -> History:
    """Each of some worlds' histories `[M T ...]` as often as it has plans."""
    bodies = history.bodies[some]
    many = {f.name: getattr(bodies, f.name).repeat_interleave(count, 0) for f in fields(Bodies)}
    return History(Bodies(**many), history.proprioception[some].repeat_interleave(count, 0))
