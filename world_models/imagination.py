"""One function that rolls a dynamics model forward, under actions or a policy, with interventions.

Interventions are the same values the simulator executes. One on an entity edits the frames the model looks back on (all
of them alike, so that velocities stay true) at the step it names; one on actions edits the plan.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from envs.control import Controller, targets
from envs.episode import Policy, Rollout
from envs.errors import EmbodiedError
from envs.geometry import quat_to_matrix
from envs.goals import Goal
from envs.interventions import Intervention, apply_to_state, edit_actions
from envs.robot import default_control
from envs.types import Array, Observation
from world_models.cjepa.contact_geometry import rotation_vector
from world_models.cjepa.ensemble import Belief, mean_of
from world_models.cjepa.model import History, Prediction
from world_models.embodiment import robot_among
from world_models.embodiment.joints import Joints
from world_models.slots.bodies import Bodies, bodies_of, body_indices, with_bodies


@runtime_checkable
class Dynamics(Protocol):
    """A model of how a scene moves under joint targets; `Ensemble` is one."""

    @property
    def history(self) -> int:
        """Frames it looks back on."""
        ...

    @property
    def chunk(self) -> int:
        """Steps it can go in one call of `step`."""
        ...

    def begin(self, history: History) -> Belief:
        """What it believes after seeing frames `[B W ...]`."""
        ...

    def step(self, belief: Belief, targets: Tensor) -> tuple[Belief, list[Prediction]]:
        """Its belief after the steps `[B F 6]`, and the way there."""
        ...


def imagine(
    dynamics: Dynamics,
    history: Observation,
    actions: Array | None = None,
    *,
    policy: Policy | None = None,
    goal: Goal | None = None,
    horizon: int | None = None,
    interventions: Sequence[Intervention] = (),
    control: Controller | None = None,
    previous: Array | None = None,
) -> Rollout:
    """What the model says would happen.

    Args:
        dynamics: the model.
        history: the last frames `[*B W ...]`, the present last. W is free: the model takes what it looks back on.
            Beside a plan, whose shape tells which axes are worlds, `[*B ...]` is just the present.
        actions: a plan `[*B H A]`; or
        policy: chooses actions from imagined observations, with `goal`, for `horizon` steps.
        goal: what the policy is after.
        horizon: H; of a plan, how much of it is imagined (all).
        interventions: each acts at its own step, counted from the present.
        control: turns actions into joint targets; by default the robot's own, of Cartesian or planar deltas.
        previous: the action before the plan `[*B A]`, whose gripper command stays where an edit holds the arm.

    Returns:
        A rollout `[*B H+1 ...]` of the kind of arrays given (numpy float64, or torch), starting at the present with the
        interventions of step 0 made. Its uncertainty is the spread of the ensemble.

    Raises:
        EmbodiedError: for neither or both of plan and policy, an unknown entity, an intervention on gravity (which
            no entity's state shows), or an edit of a plan where a policy acts.
    """
    if (actions is None) == (policy is None) or (policy is not None and (goal is None or horizon is None)):
        raise EmbodiedError("imagine needs either actions, or a policy with a goal and a horizon.")
    steps = horizon if horizon is not None else None if actions is None else actions.shape[-2]
    if steps is not None and steps < 1:
        raise EmbodiedError(f"A horizon of {steps} was given; at least one step is imagined.")
    control = control or default_control(robot_among(history.objects.names).name)
    for intervention in interventions:
        intervention.check(history.objects.names, history.objects.kind)
        if intervention.kind in ("gravity", "gain"):
            raise EmbodiedError(
                f"{intervention}: the world model has only ever seen one {intervention.kind}; ask the simulator."
            )
        if intervention.kind == "action" and actions is None:
            raise EmbodiedError(f"{intervention} edits a plan; a policy makes its actions anew. Give actions.")
    numpy = not isinstance(history.proprioception, Tensor)
    seen = history.map(_tensor)
    plan: Tensor | None = None
    batch: tuple[int, ...]
    if actions is not None:
        plan = _tensor(actions)
        for intervention in interventions:
            before = None if previous is None else _tensor(previous)
            plan = edit_actions(intervention, plan, before)
        plan = plan[..., :horizon, :] if horizon is not None else plan
        batch = tuple(plan.shape[:-2])
    else:
        batch = seen.objects.shape[:-1]
    if seen.objects.shape == batch:
        seen = seen.map(lambda array: array.unsqueeze(len(batch)))
    if seen.objects.shape[:-1] != batch:
        raise EmbodiedError(f"A history of shape {seen.objects.shape} does not belong to plans of shape {batch}.")
    flat = seen.map(lambda array: array.flatten(0, len(batch) - 1) if batch else array[None])
    if plan is not None:
        plan = plan.flatten(0, len(batch) - 1) if batch else plan[None]
    roller = _Roller(dynamics, flat, control, [i for i in interventions if i.entity is not None])
    if plan is not None:
        roller.follow(plan)
    else:
        assert policy is not None
        assert goal is not None
        assert horizon is not None
        roller.act(policy, goal, horizon, numpy)
    frames, taken, spread = roller.result()

    def shaped(array: Tensor) -> Any:
        array = array.reshape(*batch, *array.shape[1:])
        return array.numpy() if numpy else array

    return Rollout("model", frames.map(shaped), shaped(taken), uncertainty=shaped(spread))


class _Roller:
    """Imagines step by step for a flat batch, editing the past where interventions say so."""

    def __init__(
        self, dynamics: Dynamics, history: Observation, control: Controller, interventions: Sequence[Intervention]
    ) -> None:
        self.dynamics, self.control = dynamics, control
        self.pending = sorted(interventions, key=lambda intervention: intervention.step)
        self.past = [history[:, index] for index in range(history.proprioception.shape[1])]
        self.step = 0
        self.actions: list[Tensor] = []
        self._edit()
        self._begin()
        self.frames = [self.past[-1]]
        self.spreads = [torch.zeros(history.objects.present[:, -1].shape, dtype=history.proprioception.dtype)]

    def follow(self, plan: Tensor) -> None:
        """Imagine a whole plan `[B H A]`, in chunks that end where an intervention acts."""
        self.actions.append(plan)
        commands = targets(self.control, self._command(), plan)
        while self.step < plan.shape[1]:
            stops = [i.step for i in self.pending if i.step > self.step]
            until = min([plan.shape[1], self.step + self.dynamics.chunk, *stops])
            self._advance(commands[:, self.step : until])

    def act(self, policy: Policy, goal: Goal, horizon: int, numpy: bool) -> None:
        """Let a policy choose each action from what is imagined."""
        policy.reset()
        for _ in range(horizon):
            seen = self.past[-1].map(lambda array: array.numpy()) if numpy else self.past[-1]
            action = _tensor(policy.act(seen, goal))
            self.actions.append(action[:, None])
            self._advance(self.control.target(self._command(), action.to(self._command()))[:, None])

    def result(self) -> tuple[Observation, Tensor, Tensor]:
        """Frames `[B H+1 ...]`, actions `[B H A]` and spread `[B H+1 K]`."""
        return Observation.stack(self.frames, axis=1), torch.cat(self.actions, 1), torch.stack(self.spreads, 1)

    def _command(self) -> Tensor:
        return Joints.of(self.past[-1].proprioception).target

    def _begin(self) -> None:
        recent = Observation.stack(self.past[-self.dynamics.history :], axis=1)
        self.belief = self.dynamics.begin(History(bodies_of(recent.objects), recent.proprioception.float()))

    def _advance(self, commands: Tensor) -> None:
        self.belief, paths = self.dynamics.step(self.belief, commands.float())
        bodies, spread = mean_of([path.bodies for path in paths], self.belief.labels[:, None])
        arm = torch.stack([path.proprioception for path in paths]).mean(0)
        for index in range(commands.shape[1]):
            self.past.append(_observe(self.past[-1], bodies[:, index], arm[:, index], commands[:, index], self.control))
            whole = torch.zeros_like(self.spreads[-1])
            whole[:, body_indices(self.past[-1].objects)] = spread[:, index].to(whole.dtype)
            self.spreads.append(whole)
            self.step += 1
            if self._edit():
                # A belief cannot be edited in place, since members may disagree: it begins again from their mean.
                self._begin()
            self.frames.append(self.past[-1])

    def _edit(self) -> bool:
        """Make the interventions that are due in the frames that will be looked back on; whether there were any."""
        due = [intervention for intervention in self.pending if intervention.step <= self.step]
        self.pending = self.pending[len(due) :]
        recent = Observation.stack(self.past[-self.dynamics.history :], axis=1)
        for intervention in due:
            recent = replace(recent, objects=apply_to_state(intervention, recent.objects, time_axis=-1))
        if due:
            self.past = [recent[:, index] for index in range(recent.proprioception.shape[1])]
        return bool(due)


def _observe(before: Observation, bodies: Bodies, arm: Tensor, command: Tensor, control: Controller) -> Observation:
    """The observation after one step: boxes and arm as predicted, the hand's entities by forward kinematics."""
    period = 1.0 / control.spec.rate
    dtype = before.proprioception.dtype
    # The command is known exactly; the networks' copy of it is rounded.
    joints = replace(Joints.of(arm.to(dtype)), target=command.to(dtype))
    robot = robot_among(before.objects.names)
    position, quaternion = robot.places(joints.position)
    objects = with_bodies(before.objects, bodies)
    where = [objects.index(name) for name in robot.entities]
    old_position = before.objects.position_in_world[:, where]
    turned = quat_to_matrix(quaternion) @ quat_to_matrix(before.objects.quaternion_in_world[:, where]).mT
    changes = {
        "position_in_world": position,
        "quaternion_in_world": quaternion,
        "linear_velocity_in_world": (position - old_position) / period,
        "angular_velocity_in_world": rotation_vector(turned) / period,
    }
    filled = {}
    for name, value in changes.items():
        whole = getattr(objects, name).clone()
        whole[:, where] = value.to(whole.dtype)
        filled[name] = whole
    return Observation(joints.proprioception, replace(objects, **filled), before.time + period)


def _tensor(array: Any) -> Tensor:
    return array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array))
