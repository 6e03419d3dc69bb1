"""Worlds that are spread over the workers of a Ray cluster, and are stepped as if they were in this process.

Every world begins as it would in one `TaskWorlds` of all: what is collected does not depend on how many workers there
are. Ray comes with the extra `ray`; RAY_ADDRESS names a cluster, without it one is started on this machine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from envs.episode import Origin, Transition
from envs.errors import EmbodiedError
from envs.task import Task
from envs.types import ActionSpec, Array, Observation
from envs.worlds import TaskWorlds


class SpreadWorlds:
    """N worlds of one task on W workers; has the face of `TaskWorlds` that collection and training see."""

    def __init__(self, make: Callable[[int], TaskWorlds], worlds: int, workers: int, seed: int) -> None:
        """`make(n)` gives n worlds, on whichever machine it is called.

        Raises `EmbodiedError` without Ray and for more workers than worlds.
        """
        if workers > worlds:
            raise EmbodiedError(f"env.workers={workers} is more than env.worlds={worlds}: some would have none.")
        self._ray = _ray()
        self.worlds, self.seed = worlds, seed
        sizes = [len(part) for part in np.array_split(np.arange(worlds), workers)]
        self._edges = np.cumsum([0, *sizes])
        worker = self._ray.remote(_Worker)
        self._workers = [worker.remote(make, size) for size in sizes]
        self.task: Task
        self.spec: ActionSpec
        self.task, self.spec = self._ray.get(self._workers[0].about.remote())
        self.episode = np.zeros(worlds, np.int64)
        """`[N]` resets so far."""
        self.truth: Observation
        """What is, in all worlds."""
        self.observation = self.reset()
        """What sensors say of all worlds."""

    def reset(self, seeds: Sequence[int | tuple[int, ...]] | None = None) -> Observation:
        """Begin an episode in every world, see `TaskWorlds.reset`."""
        given = seeds or [(self.seed, i, int(self.episode[i])) for i in range(self.worlds)]
        self.episode += 1
        return self._seen(self._each("reset", given))

    def step(self, action: Array) -> Transition:
        """One control step of every world."""
        parts = self._each("step", np.asarray(action))
        self._seen([seen for _, seen in parts])
        whole = {
            field.name: _joined([getattr(transition, field.name) for transition, _ in parts])
            for field in fields(Transition)
        }
        return Transition(**whole)

    def origin(self, world: int) -> Origin:
        """How the present episode of one world can be begun again, and what its factors are."""
        worker = int(np.searchsorted(self._edges, world, side="right")) - 1
        found: Origin = self._ray.get(self._workers[worker].origin.remote(world - int(self._edges[worker])))
        return found

    def state_dict(self) -> dict[str, Any]:
        """All that decides the worlds' future."""
        return {"workers": self._each("state_dict"), "episode": self.episode.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken, bit for bit. Raises `EmbodiedError` for other workers than then."""
        if len(state["workers"]) != len(self._workers):
            raise EmbodiedError(f"The run has env.workers={len(state['workers'])}; it goes on with as many.")
        calls = [worker.load_state_dict.remote(part)
                 for worker, part in zip(self._workers, state["workers"], strict=True)]  # fmt: skip
        self._seen(self._ray.get(calls))
        self.episode[:] = state["episode"]

    def _each(self, verb: str, whole: Any = None) -> list[Any]:
        """What every worker answers, each given its own part of `whole` `[N ...]`."""
        calls = []
        for worker, low, high in zip(self._workers, self._edges[:-1], self._edges[1:], strict=True):
            call = getattr(worker, verb)
            calls.append(call.remote() if whole is None else call.remote(whole[low:high]))
        answers: list[Any] = self._ray.get(calls)
        return answers

    def _seen(self, parts: Sequence[tuple[Observation, Observation]]) -> Observation:
        self.truth, self.observation = (_joined(list(each)) for each in zip(*parts, strict=True))
        return self.observation


class _Worker:
    """Some of the worlds, in a process of its own."""

    def __init__(self, make: Callable[[int], TaskWorlds], worlds: int) -> None:
        self._worlds = make(worlds)

    def about(self) -> tuple[Task, ActionSpec]:
        return self._worlds.task, self._worlds.spec

    def reset(self, seeds: Sequence[tuple[int, ...]]) -> tuple[Observation, Observation]:
        self._worlds.reset(seeds=seeds)
        return self._worlds.truth, self._worlds.observation

    def step(self, action: Array) -> tuple[Transition, tuple[Observation, Observation]]:
        transition = self._worlds.step(action)
        return transition, (self._worlds.truth, self._worlds.observation)

    def origin(self, world: int) -> Origin:
        return self._worlds.origin(world)

    def state_dict(self) -> dict[str, Array]:
        return self._worlds.state_dict()

    def load_state_dict(self, state: Mapping[str, Array]) -> tuple[Observation, Observation]:
        self._worlds.load_state_dict(state)
        return self._worlds.truth, self._worlds.observation


def _joined(parts: list[Any]) -> Any:
    return Observation.concat(parts) if isinstance(parts[0], Observation) else np.concatenate(parts)


def _ray() -> Any:
    """Ray, connected."""
    try:
        import ray
    except ImportError as error:
        raise EmbodiedError('env.workers needs Ray: pip install "embodied-whatif[ray]".') from error
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    return ray
