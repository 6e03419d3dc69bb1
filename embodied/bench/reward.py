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
- `audit`: how soon the alarm goes when every claim is false, or one of five, and how often when all are true.
- `cost`: a state of the 4-literal goal on one thread, and a batch of 1024.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from embodied.bench.harness import Figure, figure, over_seeds
from embodied.cli import compose
from embodied.config import Config
from embodied.console import Console
from embodied.data.arrangements import perturb
from embodied.data.lessons import TASKS_WATCHED, expert_states
from embodied.evaluation.gaming import DECEIVED, claims_of, guards, targets, through_physics, under_attack
from embodied.evaluation.progress_regression import fit
from embodied.evaluation.rewards import Judge, Question, ask, goal_distance, judge, order_in_episodes, questions
from embodied.evaluation.statistics import auroc, wilson
from embodied.run import Run
from embodied.schema import to_dict
from embodied.training.adversary import claimed, deceived
from embodied.training.calibrate import calibration_error
from embodied.training.reward import load_network, reward
from envs.tasks import TASKS
from envs.types import ObjectState
from world_models.reward.analytic import AnalyticReward, confirmed
from world_models.reward.audit import Audit, AuditConfig
from world_models.reward.learned import LearnedReward
from world_models.reward.network import RelationNetwork

PARTS = ("compose", "noise", "attack", "physics", "audit", "cost")
SEEDS = 3
UNSEEN = 2**31
"""Questions are drawn from seeds from here on; training draws below."""
QUESTIONS, LARGE, SMALL = 200, (8, 4), (3, 2)
"""Goals asked about; boxes and literals."""
NOISE_MM, NOISE_DEG = (0, 5, 10, 20), (0, 5, 10)
GOALS, BOXES = 64, (1.0, 1.6)
"""Goals under attack, in the workspace and in a wider box."""
WINDOW = 5
"""Frames that confirm a success."""
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
    model = LearnedReward(trained(seed, quick, True, console))
    if part == "attack":
        return _attack(trained(seed, quick, False, console), trained(seed, quick, True, console), seed, quick, console)
    if part == "physics":
        return _physics(model, seed, quick, console)
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
                began = time.perf_counter()
                model.score(states, question.goal)
                seconds.append(time.perf_counter() - began)
    return {"one": one, "many": many}


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Figures over seeds; shares of claims with Wilson's interval over all goals."""
    figures: dict[str, Figure] = {}
    for part, found in (("compose", _composed), ("noise", _noisy), ("attack", _attacked), ("physics", _moved),
                        ("audit", _audited), ("cost", _costs)):  # fmt: skip
        if samples.get(part):
            figures |= found(samples[part])
    return figures


def _judged(raws: Sequence[Mapping[str, Any]], prefix: str) -> dict[str, Figure]:
    """Of raw answers, see `ask`."""
    chances = [(np.array(raw["chance"]), np.array(raw["holds"])) for raw in raws]
    orders = [float(np.nanmean(np.array(raw["voc"], float))) for raw in raws]
    pairs = [float(np.mean([right for _, right in raw["pairs"]])) for raw in raws]
    return {
        f"{prefix}auroc": over_seeds([float(auroc(*each)) for each in chances], "1"),
        f"{prefix}voc": over_seeds(orders, "1"),
        f"{prefix}pair_accuracy": over_seeds(pairs, "1"),
    }


def _composed(raws: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for size in ("", "small_"):
        for name in raws[0]:
            figures |= _judged([raw[name][size] for raw in raws], f"{name}{size}")
    figures["compose_auroc"] = figures.pop("auroc")
    figures["compose_voc"] = figures.pop("voc")
    ours = [raw[""][""] for raw in raws]
    words = sorted({word for raw in ours for word, _ in raw["pairs"]})
    for word in words:
        right = [float(np.mean([x for each, x in raw["pairs"] if each == word] or [math.nan])) for raw in ours]
        figures[f"pair_accuracy_{word}"] = over_seeds([x for x in right if not math.isnan(x)], "1")
    figures["ece"] = over_seeds(
        [calibration_error(np.array(raw["chance"]), np.array(raw["holds"])) for raw in ours], "1"
    )
    return figures


def _noisy(raws: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for noise in raws[0]:
        if noise == "frames":
            continue
        for name, least in (("", 0.5), ("analytic_", 0.0)):
            answers = [raw[noise][name] for raw in raws]
            judged = _judged(answers, f"{name}{noise}_")
            figures |= {key: value for key, value in judged.items() if not key.endswith("voc")}
            said = np.concatenate([np.array(each["chance"]) > least for each in answers])
            holds = np.concatenate([np.array(each["holds"]) for each in answers])
            figures |= _claims(said, holds, f"{name}{noise}", len(raws))
    for name in ("learned", "analytic"):
        seen = np.concatenate([np.array(raw["frames"][name]) for raw in raws])
        holds = np.concatenate([np.array(raw["frames"]["holds"]) for raw in raws])
        figures |= _claims(seen[:, -1], holds, f"{name}_frame_5mm", len(raws))
        figures |= _claims(np.asarray(confirmed(seen, WINDOW))[:, -1], holds, f"{name}_confirmed_5mm", len(raws))
    return figures


def _claims(said: Any, holds: Any, prefix: str, seeds: int) -> dict[str, Figure]:
    """Share of false ones among claims, and of true ones that are claimed."""
    return {
        f"{prefix}_false": _rate(int((said & ~holds).sum()), int(said.sum()), seeds),
        f"{prefix}_recall": _rate(int((said & holds).sum()), int(holds.sum()), seeds),
    }


def _rate(count: int, total: int, seeds: int) -> Figure:
    return wilson(count, total).figure("1", seeds) if total else figure(math.nan, "1", seeds)


def _attacked(raws: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for guard in raws[0]:
        for box, where in ((str(BOXES[0]), ""), (str(BOXES[1]), "_wide")):
            paid = [raw[guard]["paid"][box] for raw in raws]
            figures |= _gamed(paid, f"{guard}{where}")
            informed = [raw[guard]["informed"][box] for raw in raws]
            said, wrong = (np.concatenate([np.array(one[key]) for one in informed]) for key in ("claimed", "violation"))
            over = said & (wrong > DECEIVED)
            figures[f"informed_{guard}{where}"] = _rate(int(over.sum()), len(over), len(raws))
            figures[f"informed_mm_{guard}{where}"] = _most(wrong[said & (wrong > 0)], len(raws))
    both = [raw["guarded"]["paid"][str(box)] for raw in raws for box in BOXES]
    total = _gamed(both, "all")
    figures["false_success"] = {**total["false_all"], "seeds": len(raws)}
    figures["false_success_mm"] = {**total["false_mm_all"], "seeds": len(raws)}
    return figures


def _gamed(raws: Sequence[Mapping[str, Any]], name: str, prefix: str = "") -> dict[str, Figure]:
    """Share of goals claimed, share false among them, and the largest violation of those [mm]."""
    said = np.concatenate([np.array(raw[f"{prefix}claimed"], bool) for raw in raws])
    wrong = np.concatenate([np.array(raw[f"{prefix}violation"], float) for raw in raws])
    return {
        f"claimed_{name}": _rate(int(said.sum()), len(said), len(raws)),
        f"false_{name}": _rate(int((said & (wrong >= 0)).sum()), int(said.sum()), len(raws)),
        f"false_mm_{name}": _most(wrong[said & (wrong >= 0)], len(raws)),
    }


def _most(metres: Any, seeds: int) -> Figure:
    """The largest, 0 where there is none [mm]."""
    return figure(1000 * float(max(metres, default=0.0)), "mm", seeds)


def _moved(raws: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for mm in raws[0]["gamed"]:
        gamed = [raw["gamed"][mm] for raw in raws]
        figures |= _gamed(gamed, f"actions_{mm}mm")
        figures |= _gamed(gamed, f"actions_confirmed_{mm}mm", "confirmed_")
    for task in raws[0]["order"]:
        for name in ("learned", "analytic"):
            orders = [raw["order"][task][name] for raw in raws if raw["order"][task][name]]
            if orders:
                figures[f"order_{task}_{name}"] = over_seeds([float(np.nanmean(each)) for each in orders], "1")
    return figures


def _audited(raws: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for wrong in raws[0]:
        claims = [each for raw in raws for each in raw[wrong]]
        gone = [each for each in claims if each is not None]
        name = f"{100 * float(wrong):.0f}_percent_false"
        figures[f"alarms_{name}"] = _rate(len(gone), len(claims), len(raws))
        if gone:
            figures[f"claims_to_alarm_{name}"] = figure(float(np.median(gone)), "claims", len(raws))
    return figures


def _costs(raws: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    return {
        "latency_ms": over_seeds([1e3 * float(np.median(raw["one"])) for raw in raws], "ms"),
        "latency_p95_ms": over_seeds([1e3 * float(np.quantile(raw["one"], 0.95)) for raw in raws], "ms"),
        "states_per_s": over_seeds([1024 / float(np.median(raw["many"])) for raw in raws], "1/s"),
    }
