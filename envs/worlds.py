"""N worlds of one task, stepped together: the one engine under the Gymnasium classes, collection and evaluation."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from envs.control import CONTROLLERS, OWN, Controller
from envs.divergence import Divergence
from envs.engine import BATCH, Engine
from envs.episode import OTHER, Origin, Transition
from envs.errors import DivergedError, EmbodiedError
from envs.headstart import HeadStart
from envs.layout import Layout
from envs.looks import Looks, looks_of
from envs.parameters import Parameters
from envs.robot import robot_of
from envs.scene import SceneConfig, build_scene
from envs.sensing import SENSORS
from envs.sensors import SensorConfig, Sensors
from envs.servo import SERVOS, remembering
from envs.simulation import Simulation
from envs.task import Task
from envs.types import ActionSpec, Array, Observation
from envs.upcoming import Drawn, Upcoming
from envs.variation import FACTORS, Variation, count, drawn, physics
from envs.world_states import SimulationState

HELD_OUT = 2**31
"""Beginnings of training are numbered by seeds below this, those of evaluation from it on: they never meet."""

ATTEMPTS = 3
"""Times a control step is tried; what still diverges then is no accident."""


class TaskWorlds:
    """Resets, steps and judges N worlds of a task. Episodes are drawn from per-world streams of one seed."""

    def __init__(
        self,
        task: Task,
        worlds: int,
        seed: int = 0,
        control: Controller | None = None,
        threads: int = 0,
        variation: Variation | None = None,
        sensors: SensorConfig | None = None,
        head_start: HeadStart | None = None,
        engine: Engine = BATCH,
    ) -> None:
        """Starts with every world freshly reset. Without `sensors`, what is observed is the truth.

        Raises `EmbodiedError` for a head start to a task that moves no object, or is not for a lone SO-101.
        """
        if head_start is not None and task.scene.robot != "so101":
            raise EmbodiedError(f"Head starts are for a lone SO-101; the task {task.name!r} is for {task.scene.robot}.")
        if head_start is not None and task.subject not in task.scene.objects:
            raise EmbodiedError(f"Task {task.name!r} moves no object that could be in the hand at the start.")
        self.head_start = head_start
        self.task = task
        self.variation = variation or Variation()
        """What the worlds that are reset from now on are drawn from."""
        scene = build_scene(_remembering(task.scene, self.variation))
        self.simulation = Simulation(scene, worlds, threads, control, engine)
        self.worlds = worlds
        self.elapsed = np.zeros(worlds, np.int64)
        """`[N]` control steps since each world's reset."""
        self.episode = np.zeros(worlds, np.int64)
        """`[N]` resets so far, which number the episodes of each world's stream."""
        self.beginnings: list[tuple[int, ...]] = [(seed, i, 0) for i in range(worlds)]
        """Per world the numbers that seeded its episode: `reset(seeds=...)` takes them and begins it again."""
        self._streams: list[tuple[int, ...]] = [(seed, i) for i in range(worlds)]
        self._variations = [""] * worlds
        self.margins: Array = np.zeros((worlds, len(task.goal.literals)))
        """`[N L]` of the goal's literals after the last step, see `Goal.margins`."""
        self._many = count(self.simulation.scene)
        self._upcoming = Upcoming(worlds)
        self._drawn: dict[str, Array] = {}
        self.sensors = sensors
        """What is wrong with what is observed; None where nothing is."""
        self._sensors = None if sensors is None else Sensors(sensors, self.simulation)
        self.truth: Observation
        """What is, in all worlds."""
        self.observation = self.reset()
        """What sensors say of all worlds."""

    @property
    def spec(self) -> ActionSpec:
        """The actions."""
        return self.simulation.control.spec

    @property
    def factors(self) -> Mapping[str, Array]:
        """Per factor that departs from its nominal value anywhere, what it is in every world: `[N many numbers]`."""
        return self._drawn

    @property
    def looks(self) -> Looks | None:
        """How the worlds look; None where all look as the scene does."""
        return looks_of(self._drawn, self._many, self.worlds)

    def reset(
        self,
        ids: Array | None = None,
        seeds: Array | Sequence[int | tuple[int, ...]] | None = None,
        fixed: Mapping[str, float | None] | None = None,
    ) -> Observation:
        """Begin episodes in the worlds `ids` (all by default); returns the observation of all worlds.

        `seeds` `[n]` choose the beginnings; without, each world's next episode is `(seed, world, episode)`, or what
        `reseed` has said in place of the first two. `fixed` sets factors of these episodes, or freezes them, by name,
        see `Variation.fixed`.
        """
        ids = np.arange(self.worlds) if ids is None else np.asarray(ids)
        if seeds is not None:
            if len(seeds) != len(ids):
                raise EmbodiedError(f"{len(seeds)} seeds were given for {len(ids)} worlds; give one each.")
            beginnings = [tuple(map(int, np.atleast_1d(np.asarray(seed)))) for seed in seeds]
            if any(number < 0 for beginning in beginnings for number in beginning):
                raise EmbodiedError(f"Seeds {list(seeds)} were given; they must not be negative.")
        else:
            beginnings = self._numbered(ids)
        if len(ids):
            chosen = self.variation if fixed is None else self.variation.fixed(fixed)
            if seeds is None:
                under = (chosen, self.head_start, self.task)
                rows, values = self._upcoming.take(
                    ids, self.episode, under, lambda worlds: self._draw(self._numbered(worlds), chosen)
                )
            else:
                rows, values = self._draw(beginnings, chosen)
            self._begin(ids, beginnings, chosen, rows, values)
        return self._observe(ids)

    def reseed(self, seeds: Sequence[int]) -> None:
        """From now on, the worlds' own streams of episodes are those of `seeds` `[N]`, from their first."""
        self._streams = [(int(seed),) for seed in seeds]
        self.episode[:] = 0
        self._upcoming = Upcoming(self.worlds)

    def origin(self, world: int) -> Origin:
        """How the present episode of one world can be begun again, and what its factors are."""
        control = self.simulation.control
        scene = self.simulation.scene.config
        servo, own = (remembering(each, 0.0) for each in (scene.servo, robot_of(scene.robot).servo))
        factors = {name: array[world].copy() for name, array in self._drawn.items()
                   if (array[world] != FACTORS[name].nominal).any()}  # fmt: skip
        return Origin(
            beginning=self.beginnings[world],
            control=next((name for name, kind in CONTROLLERS.items() if isinstance(control, kind)), OWN),
            rate=control.spec.rate,
            servo=next((name for name, one in {**SERVOS, OWN: own}.items() if one == servo), OTHER),
            variation=self._variations[world],
            factors=factors,
            sensors=next((name for name, one in SENSORS.items() if one == self.sensors), OTHER),
            engine=self.simulation.engine.name,
        )

    def _numbered(self, ids: Array) -> list[tuple[int, ...]]:
        """The beginnings of the next episodes of the worlds' own streams."""
        return [(*self._streams[world], episode)
                for world, episode in zip(ids.tolist(), self.episode[ids].tolist(), strict=True)]  # fmt: skip

    def _draw(self, beginnings: Sequence[tuple[int, ...]], variation: Variation) -> Drawn:
        layout = self._layout(beginnings, variation)
        values = drawn(variation, self._many, beginnings)
        if values:
            nominal = Parameters.nominal(self.simulation.scene, len(beginnings))
            layout = replace(layout, parameters=physics(nominal, values))
        return self.simulation.beginning(layout, len(beginnings)).rows, values

    def _begin(
        self, ids: Array, beginnings: Sequence[tuple[int, ...]], variation: Variation, rows: Array,
        values: Mapping[str, Array],
    ) -> None:  # fmt: skip
        self.simulation.begin(rows, ids)
        if self.task.settle:
            self.simulation.settle(ids, self.task.settle)
        self.elapsed[ids] = 0
        self.episode[ids] += 1
        said = str(variation)
        for i, beginning in zip(ids.tolist(), beginnings, strict=True):
            self.beginnings[i], self._variations[i] = beginning, said
        self._note(ids, values)

    def _layout(self, beginnings: Sequence[tuple[int, ...]], variation: Variation) -> Layout:
        own = [np.random.default_rng(beginning) for beginning in beginnings]
        if variation.layout is None:
            layout = self.task.layout(own)
        else:
            # One layout in all worlds, but in each a random stream of its own.
            frozen = self.task.layout([np.random.default_rng(variation.layout) for _ in beginnings])
            layout = replace(frozen, seed=np.array([generator.integers(2**52) for generator in own]))
        if self.head_start is not None:
            layout = self.head_start.apply(layout, self.task.scene.objects.index(self.task.subject), own)
        return layout

    def _note(self, ids: Array, values: Mapping[str, Array]) -> None:
        """Keep what factors say in the worlds `ids`: `values`, and nominal where they say nothing."""
        for name in values.keys() - self._drawn.keys():
            self._drawn[name] = np.full((self.worlds, *values[name].shape[1:]), FACTORS[name].nominal)
        for name, array in self._drawn.items():
            array[ids] = values.get(name, FACTORS[name].nominal)
        self._drawn = {name: array for name, array in self._drawn.items() if (array != FACTORS[name].nominal).any()}

    def _observe(self, begun: Array | None = None) -> Observation:
        """Look, with `begun` the worlds whose episodes have just begun."""
        self.truth = self.simulation.observe()
        if self._sensors is None:
            self.observation = self.truth
        else:
            looks = self.looks if self._sensors.config.cameras else None
            self.observation = self._sensors.read(self.truth, self.elapsed, looks, begun)
        return self.observation

    def step(self, action: Array) -> Transition:
        """One control step of every world. Worlds at their horizon are `truncated`, but not reset.

        So are worlds whose physics diverged, which alone begin anew at once: each is named in a `RuntimeWarning`, with
        the file that `envs.divergence.load` reads, and the others, awake, are stepped as if they had been alone. Raises
        `EmbodiedError` for wrong actions, like `Simulation.step`, and `DivergedError` where worlds that just began
        diverge again and again.
        """
        before = self.observation
        lost = self._advance(action)
        self.elapsed += 1
        after = self._observe()
        self.margins = np.asarray(self.task.goal.margins(self.truth.objects))
        return Transition(
            observation=before,
            action=np.asarray(action, dtype=np.float64),
            # Of an episode that was lost, nothing more was seen.
            next_observation=merged(lost, before, after) if lost.any() else after,
            success=(self.margins > 0).all(axis=1) & ~lost,
            terminated=np.zeros(self.worlds, bool),
            truncated=(self.elapsed >= self.task.horizon) | lost,
        )

    def _advance(self, action: Array) -> Array:
        """One control step; returns `[N]` bool, which worlds diverged and began anew instead."""
        before, lost = self.simulation.snapshot(), np.zeros(self.worlds, bool)
        for _ in range(ATTEMPTS):
            try:
                self.simulation.advance(action)
            except DivergedError as error:
                last, ids = error, np.asarray(error.worlds)
            else:
                return lost
            self.simulation.undo(before)
            for world in ids.tolist():
                what = Divergence(self.simulation.save(world), np.asarray(action)[world])
                file = what.keep(f"{self.task.name}-{world}-{int(self.episode[world])}")
                warnings.warn(
                    f"The physics of world {world} of task {self.task.name!r} diverged after "
                    f"{int(self.elapsed[world])} steps; it begins anew. Its state and action are in {file}.",
                    RuntimeWarning,
                    stacklevel=3,
                )
            self.reset(ids)
            lost[ids] = True
            before = self.simulation.snapshot()
        raise last

    def state_dict(self) -> dict[str, Array]:
        """All that decides the worlds' future, as arrays."""
        return {
            "simulation": self.simulation.save().rows,
            "elapsed": self.elapsed.copy(),
            "episode": self.episode.copy(),
            **{f"factor.{name}": array.copy() for name, array in self._drawn.items()},
            **({} if self._sensors is None else self._sensors.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue where `state_dict` was taken, bit for bit."""
        self.simulation.restore(SimulationState(np.asarray(state["simulation"])))
        self.elapsed[:], self.episode[:] = state["elapsed"], state["episode"]
        self._drawn = {name.removeprefix("factor."): np.array(array) for name, array in state.items()
                       if name.startswith("factor.")}  # fmt: skip
        self.truth = self.observation = self.simulation.observe()
        if self._sensors is not None:
            self._sensors.load_state_dict(state)
            self.observation = self._sensors.last(self.truth)


def merged(chosen: Array, one: Observation, other: Observation) -> Observation:
    """`one` in the worlds that are `chosen` `[N]`, the `other` elsewhere."""
    both = Observation.stack([other, one])
    return both.map(lambda array: array[chosen.astype(np.int64), np.arange(len(chosen))])


def _remembering(scene: SceneConfig, variation: Variation) -> SceneConfig:
    """The scene with servos that remember commands for as long as the longest delay."""
    longest = variation.servo_delay[1]
    if longest == 0.0:
        return scene
    return replace(scene, servo=remembering(scene.servo, longest))
