"""Figures of the reward bench from its raw answers; see `embodied.bench.reward` for what they mean."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, figure, over_seeds
from embodied.evaluation.gaming import DECEIVED
from embodied.evaluation.statistics import auroc, wilson
from embodied.training.calibrate import calibration_error
from world_models.reward.analytic import confirmed

BOXES = (1.0, 1.6)
"""Boxes that states under attack stay in: the workspace, and a wider one."""
AFTER_GUARDS = r"{}_(states|actions_confirmed_\d+mm|policies_confirmed)"
"""Figures of the three adversaries against all guards: of states, of actions, and the learner itself."""
WINDOW = 5
"""Frames that confirm a success."""
RIVALS: Mapping[str, tuple[str, str | None]] = {
    "policy_place": ("place", None),
    "policy_stack": ("stack", None),
    "policy_unseen": ("place", "near(red_cube, target, 0.03) & upright(red_cube) & released(red_cube)"),
}
"""Parts in which policies learn from rewards: the task, and the goal in place of its own."""


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Figures over seeds; shares of claims with Wilson's interval over all goals."""
    figures: dict[str, Figure] = {}
    for part, found in (("compose", _composed), ("noise", _noisy), ("attack", _attacked), ("physics", _moved),
                        ("policy", _paid), ("mining", _mined), ("audit", _audited), ("cost", _costs)):  # fmt: skip
        if samples.get(part):
            figures |= found(samples[part])
    return figures | _worst(figures) | _rivalled({part: samples[part] for part in RIVALS if samples.get(part)})


def _rivalled(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Figure]:
    """True success by what paid, of each part, and over the tasks whose own goals were learned from both."""
    figures: dict[str, Figure] = {}
    together: dict[str, list[bool]] = {}
    for part, raws in samples.items():
        for paid in raws[0]:
            true = [held for raw in raws for held in raw[paid]["true"]]
            name = "unseen_goal" if part == "policy_unseen" else f"{paid}_reward"
            suffix = "" if part == "policy_unseen" else f"_{part.removeprefix('policy_')}"
            figures[f"{name}_success{suffix}"] = _rate(sum(true), len(true), len(raws))
            if part != "policy_unseen":
                together.setdefault(f"{name}_success", []).extend(true)
    if {"policy_place", "policy_stack"} <= samples.keys():
        seeds = min(len(raws) for raws in samples.values())
        figures |= {name: _rate(sum(true), len(true), seeds) for name, true in together.items()}
    return figures


def _worst(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """`false_success` of the most successful adversary after all guards, and the largest violation anyone got."""
    shares = [each for key, each in figures.items() if re.fullmatch(AFTER_GUARDS.format("false"), key)]
    sizes = [each for key, each in figures.items() if re.fullmatch(AFTER_GUARDS.format("false_mm"), key)]
    told = [each for each in shares if each["value"] is not None]
    if not told:
        return {}
    return {
        "false_success": max(told, key=lambda each: each["value"]),
        "false_success_mm": max(sizes, key=lambda each: each["value"]),
    }


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
    return figures | {key: {**each, "seeds": len(raws)} for key, each in _gamed(both, "states").items()}


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


def _paid(raws: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for name in raws[0]:
        each = [raw[name] for raw in raws]
        figures |= _gamed(each, f"policy_{name}")
        if not name.startswith("confirmed_"):
            true = [held for raw in each for held in raw["true"]]
            figures[f"true_policy_{name}"] = _rate(sum(true), len(true), len(raws))
    together = [raw[name] for raw in raws for name in raw if name.startswith("confirmed_")]
    return figures | {key: {**each, "seeds": len(raws)} for key, each in _gamed(together, "policies_confirmed").items()}


def _mined(raws: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for ending in sorted({name.split("_", name.count("_") - 1)[-1] for name in raws[0]}):
        for share in ("recall", "false"):
            means = [float(np.mean([each[share] for name, each in raw.items() if name.endswith(f"_{ending}")]))
                     for raw in raws]  # fmt: skip
            figures[f"mining_{share}_{ending}"] = over_seeds(means, "1")
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
