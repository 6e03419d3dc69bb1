"""The learned reward: does it rank, tell success, see the smallest differences, bear noise, and resist being gamed.

Every seed trains two networks of `embodied reward`, one that an adversary hardened and one that it did not, on up to
four boxes and two literals. Truth is the analytic tier on true states.

- `compose`: goals of 4 literals among 8 boxes (`small_`: 2 among 3), on ways there, on minimal pairs; `voc` is the rank
  correlation of progress with true progress along the way. Beside it minus the distance from a goal state, and two
  regressions of progress trained on states of the same kind (`flat_`, `pooled_`).
- `noise`: the same with poses that are off, beside the analytic tier on the same poses; `false` is the share of claimed
  successes that are none, `recall` that of true ones which are claimed, `confirmed_` with five frames in a row.
- `attack`: what an optimiser of states makes each guard claim (`false_`), and how far off it is; `informed_` is an
  adversary who knows the truth, and counts goals for which he finds a claim that is wrong by more than a millimetre.
- `physics`: the same by actions in MuJoCo, and the order of states in episodes of the experts.
- `policy`: what a policy claims that was paid by the network alone, from noisy poses, in held-out episodes.
- `policy_place`, `policy_stack`: true success of policies paid by the network alone, after one and a half times the
  steps of the same learner paid by stages written by hand (`dense_`); `policy_unseen`: of one after a conjunction of
  three literals, where the network learned from up to two.
- `mining`: goals read off 1, 3 and 10 expert episodes, and off one picture of an end (`picture_1`, through the shipped
  encoder): `recall` of true successes in others, share of `false` ones.
- `audit`: how soon the alarm goes when every claim is false, or one of five, and how often when all are true.
- `cost`: a state of the 4-literal goal, and a batch of 1024, on one thread; in processor time, which other programs do
  not lengthen by taking turns.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from embodied.bench.reward_figures import BOXES, RIVALS, WINDOW, summarise
from embodied.cli import compose
from embodied.config import AgentConfig, Config
from embodied.console import Console
from embodied.data.arrangements import perturb
from embodied.data.lessons import TASKS_WATCHED, expert_states
from embodied.evaluation.gaming import claims_of, guards, targets, through_physics, under_attack
from embodied.evaluation.learned_from import judged, learn_from
from embodied.evaluation.mined import TASKS_MINED, read_off, read_off_pictures
from embodied.evaluation.progress_regression import fit
from embodied.evaluation.rewards import Judge, Question, ask, goal_distance, judge, order_in_episodes, questions
from embodied.evaluation.staged_reward import StagedReward
from embodied.run import Run
from embodied.schema import to_dict
from embodied.training.adversary import claimed, deceived
from embodied.training.pixels import shipped_encoder
from embodied.training.reward import load_network, reward
from envs.tasks import TASKS
from envs.types import ObjectState
from world_models.reward.analytic import AnalyticReward, RewardModel
from world_models.reward.audit import Audit, AuditConfig
from world_models.reward.learned import LearnedReward
from world_models.reward.network import RelationNetwork

__all__ = ["PARTS", "SEEDS", "measure", "summarise"]
PARTS = ("compose", "noise", "attack", "physics", "policy", *RIVALS, "mining", "audit", "cost")
SEEDS = 3
UNSEEN = 2**31
"""Questions are drawn from seeds from here on; training draws below."""
QUESTIONS, LARGE, SMALL = 200, (8, 4), (3, 2)
"""Goals asked about; boxes and literals."""
NOISE_MM, NOISE_DEG = (0, 5, 10, 20), (0, 5, 10)
GOALS = 64
"""Goals under attack."""
PAID = (("push", 0.0, 4000), ("push", 0.003, 4000), ("place", 0.0, 12_000), ("place", 0.003, 12_000))
"""Tasks that policies learn, how far off poses are [m], environment steps."""
DENSE_STEPS, MORE, SHOWN = 24_000, 1.5, 50
"""Environment steps of a policy that is paid by hand-written stages, how many times as many the network's have, and
demonstrations that all begin from."""
EPISODES = 128
"""Held-out episodes that a policy is judged in."""
EXAMPLES = (1, 3, 10)
"""Episodes that a goal is read off."""
LESSONS = 1200
"""Questions that the regressions learn from."""


def configured(seed: int, quick: bool, hardened: bool) -> Config:
    """The configuration of one seed's network, in a run folder of the bench's own."""
    name = f"{'hardened' if hardened else 'plain'}{'_quick' if quick else ''}"
    words = [f"quick={str(quick).lower()}", f"seed={seed}", f"run=runs/bench/reward_runs/{name}{seed}",
             f"reward.hardened={str(hardened).lower()}", *(["reward.steps=60"] if quick else [])]  # fmt: skip
    (config,) = compose("reward", words)
    return config


def trained(seed: int, quick: bool, hardened: bool, console: Console) -> RelationNetwork:
    """A seed's network, trained if it is not."""
    config = configured(seed, quick, hardened)
    with Run.open(config.run, to_dict(config)) as run:
        reward(config, run, console)
        return load_network(run, config)


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Raw answers of one part and seed."""
    torch.set_num_threads(1)
    if part == "audit":
        return _audit(seed, 20 if quick else 400)
    if part == "mining":
        return _mining(seed, quick)
    model = LearnedReward(trained(seed, quick, True, console))
    if part == "attack":
        return _attack(trained(seed, quick, False, console), trained(seed, quick, True, console), seed, quick, console)
    if part == "physics":
        return _physics(model, seed, quick, console)
    if part == "policy":
        return _policies(model, seed, quick, console)
    if part in RIVALS:
        return _rivals(model, *RIVALS[part], seed, quick, console)
    rng = np.random.default_rng((UNSEEN, seed))
    large = questions(rng, 4 if quick else QUESTIONS, *LARGE)
    if part == "cost":
        return _cost(model, large)
    if part == "noise":
        return _noise(model, large, seed)
    small = questions(rng, 4 if quick else QUESTIONS, *SMALL)
    judges: dict[str, Judge] = {
        "": judge(model), "analytic_": judge(AnalyticReward()), "distance_": goal_distance,
    }  # fmt: skip
    console.say("training the regressions")
    lessons = _lessons(seed, 8 if quick else LESSONS)
    for kind in ("flat", "pooled"):
        judges[f"{kind}_"] = fit(kind, lessons, seed, **({"steps": 20} if quick else {}))
    return {
        name: {size: ask(each, asked, seed=seed) for size, asked in (("", large), ("small_", small))}
        for name, each in judges.items()
    }


def _lessons(seed: int, count: int) -> list[Question]:
    """What the regressions learn from: up to as many boxes and literals as the networks."""
    rng = np.random.default_rng((seed, 9))
    return [one for boxes in range(1, 5) for literals in (1, 2)
            for one in questions(rng, -(-count // 8), boxes, literals)]  # fmt: skip


def _noise(model: LearnedReward, asked: Sequence[Question], seed: int) -> Mapping[str, Any]:
    """Per noise the answers of both tiers, and single frames against five of the same states."""
    found: dict[str, Any] = {}
    analytic = AnalyticReward()
    for mm in NOISE_MM:
        for degrees in NOISE_DEG:
            spread, turn = mm / 1000, math.radians(degrees)
            answers = {name: ask(judge(each), asked, spread, turn, seed)
                       for name, each in (("", model), ("analytic_", analytic))}  # fmt: skip
            found[f"{mm}mm_{degrees}deg"] = answers
    rng = np.random.default_rng((seed, 10))
    rows: dict[str, list[Any]] = {"holds": [], "learned": [], "analytic": []}
    for question in asked:
        states = ObjectState.concat([question.path[::4], question.better, question.worse])
        count = states.shape[0]
        frames = [perturb(rng, states, np.full(count, 0.005)) for _ in range(WINDOW)]
        seen = ObjectState.stack(frames, axis=1)
        rows["holds"] += np.asarray(question.goal.satisfied(states)).tolist()
        for name, each in (("learned", model), ("analytic", analytic)):
            rows[name] += np.asarray(each.score(seen, question.goal).success).tolist()
    found["frames"] = rows
    return found


def _attack(
    plain: RelationNetwork, hardened: RelationNetwork, seed: int, quick: bool, console: Console
) -> Mapping[str, Any]:
    """Per guard, adversary and box what was claimed."""
    asked = targets(UNSEEN + seed, 2 if quick else GOALS)
    found: dict[str, Any] = {}
    for name, each in guards(plain, hardened).items():
        console.say(f"attacking: {name}")
        found[name] = {
            kind: {str(box): under_attack(objective(each), claims_of(each), asked, seed, box) for box in BOXES}
            for kind, objective in (("paid", claimed), ("informed", deceived))
        }
    return found


def _physics(model: LearnedReward, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """What actions make it claim, with exact and noisy poses; and how well episodes of experts are ordered."""
    found: dict[str, Any] = {"gamed": {}, "order": {}}
    for mm in (0, 5):
        console.say(f"searching actions, poses off by {mm} mm")
        found["gamed"][str(mm)] = through_physics(model, UNSEEN + seed, 4 if quick else 32, mm / 1000, 3, quick)
    for task in TASKS_WATCHED:
        states = expert_states(task, UNSEEN + seed, 2 if quick else 32, shake=0.0)
        found["order"][task] = {
            name: order_in_episodes(each, TASKS[task].goal, states).tolist()
            for name, each in (("learned", model), ("analytic", AnalyticReward()))
        }
    return found


def _policies(model: LearnedReward, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """What policies claim in single frames and in `WINDOW` in a row, and the truth."""
    found: dict[str, Any] = {}
    agent = AgentConfig(width=16, batch=16, cloning_steps=10) if quick else AgentConfig()
    for name, spread, steps in PAID[1:2] if quick else PAID:
        console.say(f"learning {name}, poses off by {1000 * spread:.0f} mm")
        trainer = learn_from(model, name, seed, 64 if quick else steps, spread, 2 if quick else 50, agent)
        for prefix, window in (("", 1), ("confirmed_", WINDOW)):
            told = judged(trainer.policy, model, name, seed, 8 if quick else EPISODES, spread, window)
            found[f"{prefix}{name}_{1000 * spread:.0f}mm"] = {
                "claimed": told.claimed.tolist(), "violation": told.violation.tolist(), "true": told.true.tolist(),
            }  # fmt: skip
    return found


def _rivals(
    model: LearnedReward, name: str, goal: str | None, seed: int, quick: bool, console: Console
) -> Mapping[str, Any]:
    """Who learned from what truly succeeds in which held-out episodes; a task's own goal has a hand-written rival."""
    agent = AgentConfig(width=16, batch=16, cloning_steps=10) if quick else AgentConfig()
    steps, shown, episodes = (64, 2, 8) if quick else (DENSE_STEPS, SHOWN, EPISODES)
    rivals: dict[str, tuple[RewardModel, int]] = {"learned": (model, round(MORE * steps))}
    if goal is None:
        rivals["dense"] = (StagedReward(), steps)
    found: dict[str, Any] = {}
    for paid, (reward_model, budget) in rivals.items():
        console.say(f"learning {name}, paid by the {paid} reward")
        trainer = learn_from(reward_model, name, seed, budget, 0.0, shown, agent, goal, audited=paid == "learned")
        told = judged(trainer.policy, reward_model, name, seed, episodes, 0.0, 1, goal)
        found[paid] = {"true": told.true.tolist(), "frozen": trainer.frozen}
    return found


def _mining(seed: int, quick: bool) -> Mapping[str, Any]:
    """Per task, number of examples and noise the goal mined, and how well it tells success."""
    encoder = shipped_encoder()
    found: dict[str, Any] = {}
    for name in TASKS_MINED[:1] if quick else TASKS_MINED:
        for count in EXAMPLES[:1] if quick else EXAMPLES:
            for mm in (0, 3):
                read = read_off(name, count, seed, 4 if quick else 32, mm / 1000)
                found[f"{name}_{count}_{mm}mm"] = {"goal": str(read.goal), "recall": read.recall, "false": read.false}
        reads = read_off_pictures(name, seed, 4 if quick else 32, encoder)
        found[f"{name}_picture_1"] = {
            "goals": [str(read.goal) for read in reads],
            "recall": float(np.mean([read.recall for read in reads])),
            "false": float(np.mean([read.false for read in reads])),
        }
    return found


def _audit(seed: int, streams: int) -> Mapping[str, Any]:
    """Claims until the alarm, by the share of them that are false; null where it did not go in 2000."""
    rng = np.random.default_rng((seed, 11))
    found: dict[str, Any] = {}
    for wrong in (0.0, 0.05, 0.2, 1.0):
        found[str(wrong)] = []
        for _ in range(streams):
            audit, claims = Audit(AuditConfig(), rng), 0
            while claims < 2000 and not audit.alarmed:
                held = rng.random(20) >= wrong
                audit.note(held[audit.choose(np.ones(20, bool))])
                claims += 20
            found[str(wrong)].append(claims if audit.alarmed else None)
    return found


def _cost(model: LearnedReward, asked: Sequence[Question]) -> Mapping[str, Any]:
    """[s] of single states and of batches, by repeat."""
    one: list[float] = []
    many: list[float] = []
    for question in asked[:16]:
        state = question.end
        batch = state.map(lambda array: np.broadcast_to(array, (1024, *array.shape)).copy())
        for seconds, states, repeats in ((one, state, 200), (many, batch, 3)):
            model.score(states, question.goal)
            for _ in range(repeats):
                began = time.thread_time()
                model.score(states, question.goal)
                seconds.append(time.thread_time() - began)
    return {"one": one, "many": many}
