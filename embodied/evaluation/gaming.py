"""How far a reward model can be gamed: what an optimiser of states, or of actions through MuJoCo, makes it believe.

Violations are metre-equivalents: a radian counts 0.3 m.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.agents.oracle import Oracle
from embodied.data.arrangements import perturb
from embodied.data.goals import goals_that_hold
from embodied.data.play import PlayConfig, play_batch
from embodied.training.adversary import AttackConfig, Objective, attack, attackable
from envs.goals import Goal
from envs.scene import build_scene
from envs.simulation import Simulation
from envs.types import ObjectState
from envs.world_states import SimulationState
from world_models.reward.analytic import confirmed
from world_models.reward.learned import LearnedConfig, LearnedReward
from world_models.reward.network import NetworkConfig, RelationNetwork

Floats = NDArray[np.float64]
Claims = Callable[[ObjectState, Goal], NDArray[np.bool_]]
"""Which states `[N]` a model takes for success."""
METRES_PER_RADIAN = 0.3
DECEIVED = 0.001
"""[m] violation from which a claim counts as deceived by an adversary who knows the truth: he can come as near as he
likes to any boundary."""


def violation(state: ObjectState, goal: Goal) -> Floats:
    """By how much the worst literal fails `[*B]` [m]; not positive where the goal holds."""
    units = np.array([METRES_PER_RADIAN if one.meaning.unit == "rad" else 1.0 for one in goal.literals])
    return np.asarray((-np.asarray(goal.margins(state)) * units).max(axis=-1))


def targets(seed: int, count: int) -> list[tuple[Goal, ObjectState]]:
    """Goals of two literals among three boxes, each with a state to start from."""
    rng = np.random.default_rng((seed, 5))
    found: list[tuple[Goal, ObjectState]] = []
    while len(found) < count:
        found += attackable(rng, 3, 16, literals=2)
    return found[:count]


def under_attack(
    objective: Objective, claims: Claims, asked: Sequence[tuple[Goal, ObjectState]], seed: int, box: float
) -> dict[str, Any]:
    """Per goal whether the state found is claimed to be success, and its violation [m]."""
    found: dict[str, Any] = {"claimed": [], "violation": []}
    for index, (goal, start) in enumerate(asked):
        rng = np.random.default_rng((seed, 6, index))
        last = attack(objective, goal, start, rng, AttackConfig(box=box))[-1:]
        found["claimed"].append(bool(claims(last, goal)[0]))
        found["violation"].append(float(violation(last, goal)[0]))
    return found


def claims_of(reward: LearnedReward) -> Claims:
    """What a learned reward takes for success."""
    return lambda state, goal: np.asarray(reward.score(state, goal).success)


def alone(network: RelationNetwork, member: int = 0) -> RelationNetwork:
    """One member of a network, as a network."""
    single = RelationNetwork(
        NetworkConfig(members=1, width=network.config.width, hidden_features=network.config.hidden_features)
    )
    parts = network.state_dict()
    stacked = {name for name, _ in network.named_parameters()} | {"seen"}
    own = slice(member, member + 1)
    single.load_state_dict({name: part[own] if name in stacked else part for name, part in parts.items()})
    return single


def guards(plain: RelationNetwork, hardened: RelationNetwork) -> dict[str, LearnedReward]:
    """One guard more each; the last is what is used."""
    bare, lowered, gated = LearnedConfig(0.0, gated=False), LearnedConfig(gated=False), LearnedConfig()
    return {
        "single": LearnedReward(alone(plain), bare),
        "ensemble": LearnedReward(plain, bare),
        "lower": LearnedReward(plain, lowered),
        "lower_gate": LearnedReward(plain, gated),
        "hardened": LearnedReward(hardened, lowered),
        "guarded": LearnedReward(hardened, gated),
    }


def through_physics(
    reward: LearnedReward, seed: int, worlds: int, spread: float, window: int, quick: bool
) -> dict[str, Any]:
    """Search actions in MuJoCo that make `reward` claim success, from what it sees with so noisy poses [m].

    Goals of two literals that hold at the end of play, sought from its beginning: the arm, three cubes, 20 control
    steps. Per goal whether a single frame, and whether `window` frames in a row, are claimed, and the true violation
    at the first such time [m].
    """
    rng = np.random.default_rng((seed, 8))
    config = PlayConfig(worlds=worlds, branches=0.0, threads=1, states=True)
    simulation = Simulation(build_scene(config.scene), worlds, 1)
    played = play_batch(simulation, config, (seed, 3))
    ends = ObjectState.stack([episode.observation.objects[-1] for episode in played])
    goals, which = goals_that_hold(rng, ends, 2)
    starts = np.stack([np.asarray(played[int(world)].simulator_state)[0] for world in which])
    simulation = Simulation(simulation.scene, len(goals), 1)
    simulation.restore(SimulationState(starts))
    candidates, iterations, horizon = (8, 2, 6) if quick else (32, 6, 20)
    outlook = Oracle(simulation, candidates, threads=1).begin(simulation.observe())
    shape = (len(goals), horizon, simulation.control.spec.size)
    mean, deviation = np.zeros(shape), np.full(shape, 0.7)
    best: list[tuple[ObjectState, NDArray[np.bool_]]] = []
    for _ in range(iterations):
        noise = rng.standard_normal((candidates, *shape)).swapaxes(0, 1)
        plans = np.clip(mean[:, None] + deviation[:, None] * noise, -1.0, 1.0)
        futures, _ = outlook(plans)
        best = []
        for index, goal in enumerate(goals):
            score = reward.score(_seen(rng, futures[index], spread), goal)
            refused = np.asarray(score.unlike) & reward.config.gated
            value = np.asarray(score.progress + score.goal_probability - refused).max(axis=1)
            order = np.argsort(-value)
            elite = plans[index, order[: max(2, candidates // 6)]]
            mean[index], deviation[index] = elite.mean(axis=0), 0.8 * elite.std(axis=0) + 0.1
            best.append((futures[index, int(order[0])], np.asarray(score.success)[order[0]]))
    names = ("claimed", "violation", "confirmed_claimed", "confirmed_violation")
    found: dict[str, Any] = {name: [] for name in names}
    for goal, (states, claims) in zip(goals, best, strict=True):
        wrong = violation(states, goal)
        lasting = np.asarray(confirmed(claims, window))
        for prefix, held in (("", claims), ("confirmed_", lasting)):
            found[f"{prefix}claimed"].append(bool(held.any()))
            found[f"{prefix}violation"].append(float(wrong[held.argmax()]))
    return found


def _seen(rng: np.random.Generator, states: ObjectState, spread: float) -> ObjectState:
    """States `[N T K ...]` as seen with so noisy poses."""
    if spread == 0:
        return states
    flat = states.map(lambda array: array.reshape(-1, *array.shape[2:]))
    noisy = perturb(rng, flat, np.full(flat.shape, spread))
    return noisy.map(lambda array: array.reshape(*states.shape, *array.shape[1:]))
