"""Replay of policy experience with goals relabelled in hindsight.

Andrychowicz et al. 2017 (HER, "future"): an episode that missed its goal shows how to reach where it ended up. Here a
goal is a formula, and relabelling moves the entity it points to (`target`) to where the subject was at a later time;
literals about that entity are then evaluated anew, all others keep the margins they had.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from embodied.agents.batch import Batch
from embodied.agents.history import stacked
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.features import GOAL_SIZE, goal_features, goal_point, observation_features, roles
from envs.goals import Goal
from envs.types import Array, Kind, ObjectState, Observation

Shaper = Callable[[ObjectState, ObjectState], Array]
"""The shaping term `[B]` between states and those that followed, with goals already moved."""
Judge = Callable[[ObjectState, Goal], Array]
"""Which of states `[B K ...]` are taken for successes at a goal, `[B]` bool."""

_MOVING = {
    "position_in_world": 3,
    "quaternion_in_world": 4,
    "linear_velocity_in_world": 3,
    "angular_velocity_in_world": 3,
}
_STILL = {"half_extents": 3, "colour": 3, "mass": 1, "friction": 1, "present": 1, "confidence": 1}


class Replay:
    """A ring of `capacity` episodes of up to `horizon` steps, all towards one goal formula.

    Episodes may still be growing: every transition can be sampled as soon as it is there. Poses and velocities are kept
    for every step; sizes, masses and presence once per episode.
    """

    def __init__(
        self,
        capacity: int,
        horizon: int,
        goal: Goal,
        example: Observation,
        action_size: int,
        relabel: float = 0.8,
        distractors: tuple[str, ...] = (),
        shaper: Shaper | None = None,
        judge: Judge | None = None,
        history: int = 1,
    ) -> None:
        """`example` is any observation of the scene; `relabel` the share of samples whose goal is one reached later.

        `shaper` gives what is added to the reward of a transition, e.g. potential-based shaping; `judge` says what is
        success, in place of the exact margins of the states that are observed. States are of `history` frames, see
        `embodied.agents.history`.
        """
        self.goal, self.relabel, self.distractors, self.shaper = goal, relabel, distractors, shaper
        self.judge, self.history = judge, history
        self._example = example
        self.roles = roles(goal)
        self.names = example.objects.names
        self.kind = np.asarray(example.objects.kind)
        moved = [self.roles.anchor in literal.arguments for literal in goal.literals]
        self._moved = tuple(literal for literal, about in zip(goal.literals, moved, strict=True) if about)
        self._kept = ~np.array(moved)
        unmoved = [literal for literal, about in zip(goal.literals, moved, strict=True) if not about]
        self._unmoved = Goal(tuple(unmoved)) if unmoved else None
        anchor = self.roles.anchor
        self.can_relabel = anchor is not None and self.kind[self.names.index(anchor)] == Kind.TARGET
        entities = len(self.names)
        features = observation_features(example, self.roles.subject, distractors).shape[-1]
        widths = {
            "features": features,
            "kept_margin": 1,
            "success": 1,
            "proprioception": example.proprioception.shape[-1],
            "time": 1,
        }
        widths |= {name: entities * width for name, width in _MOVING.items()}
        edges = np.cumsum([0, *widths.values()])
        self._parts = {name: slice(edges[i], edges[i + 1]) for i, name in enumerate(widths)}
        self._rows = np.zeros((capacity, horizon + 1, edges[-1]), dtype=np.float32)
        self._still = {name: np.zeros((capacity, entities, width), np.float32) for name, width in _STILL.items()}
        self._action = np.zeros((capacity, horizon, action_size), dtype=np.float32)
        self._label = np.zeros((capacity, horizon, action_size), dtype=np.float32)
        self._length = np.zeros(capacity, dtype=np.int64)
        self._next = self._used = 0
        self._edges: Array | None = None
        self.state_size = features + GOAL_SIZE + (history - 1) * (features + action_size)

    def __len__(self) -> int:
        """Number of transitions."""
        return int(self._length.sum())

    def like(self, capacity: int, horizon: int) -> "Replay":
        """An empty replay of the same scene, goal and rewards."""
        size = self._action.shape[-1]
        return Replay(
            capacity, horizon, self.goal, self._example, size, self.relabel, self.distractors, self.shaper, self.judge,
            self.history,
        )  # fmt: skip

    def begin(self, observation: Observation) -> Array:
        """Open one slot per world for observations `[N ...]` after a reset, over the oldest; returns them `[N]`."""
        count = observation.objects.shape[0]
        capacity = len(self._length)
        if count > capacity:
            raise EmbodiedError(f"{count} worlds need a replay of at least {count} episodes; it has {capacity}.")
        slots = (self._next + np.arange(count)) % capacity
        self._used = min(capacity, max(self._used, self._next + count))
        self._next = int((self._next + count) % capacity)
        self._length[slots] = 0
        self._edges = None
        for name, still in self._still.items():
            still[slots] = np.asarray(getattr(observation.objects, name)).reshape(count, len(self.names), -1)
        self._rows[slots, 0] = self._row(observation)
        return slots

    def extend(self, slots: Array, action: Array, observation: Observation, label: Array | None = None) -> None:
        """Add one step to each slot `[N]`: the action `[N A]`, what followed, and the demonstrator's own choice."""
        step = self._length[slots]
        if np.any(step >= self._action.shape[1]):
            raise EmbodiedError(f"An episode is longer than the replay's horizon of {self._action.shape[1]} steps.")
        self._action[slots, step] = action
        self._label[slots, step] = action if label is None else label
        self._rows[slots, step + 1] = self._row(observation)
        self._length[slots] = step + 1
        self._edges = None

    def add(self, episode: Episode, label: Array | None = None) -> None:
        """Add a whole episode; `label` `[T A]` is what the demonstrator wanted where the action was disturbed."""
        slots = self.begin(episode.observation[:1])
        label = episode.action if label is None else label
        for step in range(episode.length):
            following = episode.observation[step + 1 : step + 2]
            self.extend(slots, episode.action[step : step + 1], following, label[step : step + 1])

    def sample(self, count: int, rng: np.random.Generator, imitate: bool = False, penalty: float = -1.0) -> Batch:
        """Draw transitions uniformly, rewarded 0 where the goal holds afterwards and `penalty` elsewhere.

        With `imitate`, rows that keep their own goal are marked for cloning where the episode, as far as it is known,
        ends in success.
        """
        slot, step = self.draw(count, rng)
        later, relabelled = self._choose_later(slot, step, rng)
        before, after = self._rows[slot, step], self._rows[slot, step + 1]
        objects, following = self._objects(before, slot), self._objects(after, slot)
        if self.can_relabel:
            subject = self.names.index(self.roles.subject)
            reached = self._part(self._rows[slot, later], "position_in_world")[:, subject]
            objects = self._move_anchor(objects, reached, relabelled)
            following = self._move_anchor(following, reached, relabelled)
        success = self._succeeds(following, after)
        reward = np.where(success, 0.0, penalty)
        if self.shaper is not None:
            reward = reward + self.shaper(objects, following)
        return Batch(
            state=self._state(before, objects, slot, step),
            action=self._action[slot, step],
            next_state=self._state(after, following, slot, step + 1),
            reward=reward.astype(np.float32),
            discount=np.ones(count, dtype=np.float32),
            label=self._label[slot, step],
            clone=(imitate & ~relabelled & self._succeeded(slot)).astype(np.float32),
        )

    def _choose_later(self, slot: Array, step: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """A later step `[B]` whose outcome becomes the goal, and the rows `[B]` that are relabelled.

        Only an outcome that the unmoved literals allow was a success: a cube in the closed gripper is nowhere released.
        Of two draws and the last step the first such is taken; rows without one keep their goal.
        """
        count, last = len(slot), self._length[slot]
        wanted = self.can_relabel & (rng.random(count) < self.relabel)
        later = last.copy()
        fits = self._kept_margin(slot, last) > 0.0
        for _ in range(2):
            drawn = step + 1 + np.floor(rng.random(count) * (last - step)).astype(np.int64)
            possible = self._kept_margin(slot, drawn) > 0.0
            later, fits = np.where(possible, drawn, later), fits | possible
        return later, wanted & fits

    def _succeeded(self, slot: Array) -> Array:
        """Whether the goal holds in the last known state of the slots `[B]`."""
        return self._rows[slot, self._length[slot], self._parts["success"].start] > 0.5

    def _kept_margin(self, slot: Array, step: Array) -> Array:
        return self._rows[slot, step, self._parts["kept_margin"].start]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Slots and steps `[count]` of transitions, each equally likely; raises `EmbodiedError` when there are none."""
        if self._edges is None:
            self._edges = np.cumsum(self._length)
        total = int(self._edges[-1])
        if total == 0:
            raise EmbodiedError("The replay holds no transitions yet.")
        flat = rng.integers(0, total, size=count)
        slot = np.searchsorted(self._edges, flat, side="right")
        return slot, flat - (self._edges[slot] - self._length[slot])

    def observation(self, slot: Array, step: Array) -> Observation:
        """The stored observations `[B ...]` of slots and steps `[B]`, float32, without images."""
        rows = self._rows[slot, step]
        proprioception, time = rows[:, self._parts["proprioception"]], rows[:, self._parts["time"]][:, 0]
        return Observation(proprioception, self._objects(rows, slot), time)

    def inputs(self, slots: Array) -> Array:
        """What an actor reads `[N S]` of the present of growing episodes `[N]`."""
        step = self._length[slots]
        rows = self._rows[slots, step]
        return self._state(rows, self._objects(rows, slots), slots, step)

    def _row(self, observation: Observation) -> Array:
        objects = observation.objects
        count = objects.shape[0]
        if self.judge is None:
            margins = np.asarray(self.goal.margins(objects))
            kept = np.min(margins, axis=1, initial=np.inf, where=self._kept)
            success = np.all(margins > 0.0, axis=1)
        else:
            success = np.asarray(self.judge(objects, self.goal))
            allowed = self.judge(objects, self._unmoved) if self._unmoved else np.ones(count, bool)
            kept = np.where(allowed, 1.0, -1.0)
        columns = [observation_features(observation, self.roles.subject, self.distractors)]
        columns += [kept[:, None], success[:, None]]
        columns += [observation.proprioception, np.asarray(observation.time).reshape(count, 1)]
        columns += [getattr(objects, name).reshape(count, -1) for name in _MOVING]
        row = np.concatenate(columns, axis=1, dtype=np.float32)
        if not np.isfinite(row[:, self._parts["features"]]).all():
            world = int(np.argwhere(~np.isfinite(row[:, self._parts["features"]]))[0, 0])
            raise EmbodiedError(f"The observation of world {world} is not finite; the replay refuses it.")
        return row

    def _part(self, rows: Array, name: str) -> Array:
        return rows[:, self._parts[name]].reshape(len(rows), len(self.names), _MOVING[name])

    def _objects(self, rows: Array, slot: Array) -> ObjectState:
        moving = {name: self._part(rows, name) for name in _MOVING}
        still: dict[str, Any] = {}
        for name, width in _STILL.items():
            values = self._still[name][slot]
            still[name] = values if width > 1 else values[..., 0]
        still["present"] = still["present"] > 0.5
        return ObjectState(names=self.names, kind=self.kind, **moving, **still)

    def _move_anchor(self, objects: ObjectState, reached: Array, relabelled: Array) -> ObjectState:
        anchor = self.names.index(str(self.roles.anchor))
        position = objects.position_in_world.copy()
        position[relabelled, anchor] = reached[relabelled]
        return replace(objects, position_in_world=position)

    def _succeeds(self, objects: ObjectState, rows: Array) -> Array:
        if self.judge is not None:
            return self.judge(objects, self.goal)
        margin = rows[:, self._parts["kept_margin"]][:, 0]
        if self._moved:
            margin = np.minimum(margin, Goal(self._moved).margin(objects))
        return margin > 0.0

    def _state(self, rows: Array, objects: ObjectState, slot: Array, step: Array) -> Array:
        subject = objects.position_in_world[:, self.names.index(self.roles.subject)]
        to_goal = goal_features(goal_point(objects, self.goal), subject)
        past = []
        for back in range(1, self.history):
            at = step - back
            began = np.maximum(at, 0)
            # Before the beginning all was as it is then, and nothing was done.
            action = np.where((at >= 0)[:, None], self._action[slot, began], 0.0)
            past.append((self._rows[slot, began][:, self._parts["features"]], action))
        return stacked(rows[:, self._parts["features"]], to_goal, past)

    def state_dict(self) -> dict[str, Any]:
        """The used part of the ring as arrays by name."""
        arrays: dict[str, Array] = {f"still.{name}": still for name, still in self._still.items()}
        arrays |= {"rows": self._rows, "action": self._action, "label": self._label, "length": self._length}
        return {name: array[: self._used].copy() for name, array in arrays.items()} | {"next": self._next}

    def load_state_dict(self, arrays: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises `EmbodiedError` for a replay of another layout."""
        count = len(arrays["length"])
        if arrays["rows"].shape[1:] != self._rows.shape[1:] or count > len(self._length):
            raise EmbodiedError(
                f"The saved replay has {count} episodes of {arrays['rows'].shape[1:]}; "
                f"this configuration holds up to {len(self._length)} of {self._rows.shape[1:]}."
            )
        self._length[:] = 0
        self._length[:count] = arrays["length"]
        self._rows[:count], self._action[:count] = arrays["rows"], arrays["action"]
        self._label[:count] = arrays["label"]
        for name, still in self._still.items():
            still[:count] = arrays[f"still.{name}"]
        self._next, self._used = int(arrays["next"]), count
        self._edges = None
