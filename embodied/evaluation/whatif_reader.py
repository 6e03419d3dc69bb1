"""Reads an exported what-if set and scores predictions made elsewhere; needs numpy alone.

    from whatif_reader import load, score
    whatifs = load("DIR")                    # digests are checked
    # per context c: whatifs["history_position"][c], ["action"][c];
    # per case m: whatifs["shown_position"][m] (the edited history), ["plan"][m] (its actions)
    print(score(whatifs, factual, counterfactual))   # positions [C H+1 N 3] and [M H+1 N 3], in metres

Time steps, units, frames and names stand in manifest.json; N are the movable objects, in the order of `movable`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

VERSION = 1
GROUPS = {
    "spillover": ("move", "remove"),
    "physics": ("mass", "friction"),
    "action": ("swap", "hold", "delay", "mirror", "scale"),
}


def load(folder: str | Path) -> dict[str, Any]:
    """All arrays by name, with `manifest`, `kind` (M texts) and `question` (M texts).

    Raises ValueError for another version, or a file that is not what the manifest says.
    """
    folder = Path(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    if manifest["version"] != VERSION:
        raise ValueError(f"This reader is for version {VERSION}; the set is version {manifest['version']}.")
    found: dict[str, Any] = {"manifest": manifest}
    for name, digest in manifest["sha256"].items():
        content = (folder / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(f"{folder / name} is damaged or was changed: its digest is not the manifest's.")
        if name.endswith(".npz"):
            with np.load(folder / name, allow_pickle=False) as arrays:
                found.update({key: arrays[key] for key in arrays.files})
        elif name.endswith(".json"):
            found.update(json.loads(content))
    return found


def score(whatifs: dict[str, Any], factual: Any, counterfactual: Any) -> dict[str, float]:
    """Effect skill per kind, group and stratum, influence AUROC, and errors of predicted positions [m].

    Skill is 1 - sum |imagined effect - true effect|^2 / sum |true effect|^2 over unedited objects and steps after the
    first; NaN where nothing is felt. Raises ValueError for shapes that do not fit and numbers that are not finite.
    """
    context, scored, edge = whatifs["context"], whatifs["scored"], whatifs["manifest"]["edge"]
    truth_f, truth_c = whatifs["factual_position"][context], whatifs["counterfactual_position"]
    given = {"factual": np.asarray(factual, np.float64), "counterfactual": np.asarray(counterfactual, np.float64)}
    for name, array in given.items():
        wanted = whatifs[f"{name}_position"].shape
        if array.shape != wanted:
            raise ValueError(f"{name} has shape {array.shape}; {wanted} is needed.")
    said_f, said_c = given["factual"][context], given["counterfactual"]
    case, entity = scored.nonzero()
    if not (np.isfinite(said_f[case, :, entity]).all() and np.isfinite(said_c[case, :, entity]).all()):
        raise ValueError("A predicted position is not finite.")
    effect = (truth_c - truth_f)[case, :, entity]
    imagined = (said_c - said_f)[case, :, entity]
    energy = (effect[:, 1:] ** 2).sum((1, 2))
    residual = ((imagined - effect)[:, 1:] ** 2).sum((1, 2))
    kind = np.array(whatifs["kind"])[case]
    stratum = whatifs["stratum"][case, entity]
    shown = ~np.isin(kind, whatifs["manifest"]["unshown"])

    def skill(rows: Any) -> float:
        total = float(energy[rows].sum())
        return float(1 - residual[rows].sum() / total) if total > 0 else float("nan")

    found = {f"skill_{name}": skill(kind == name) for name in sorted(set(whatifs["kind"]))}
    found |= {
        f"skill_{name}": skill(np.isin(kind, kinds)) for name, kinds in GROUPS.items() if np.isin(kind, kinds).any()
    }
    for index, name in enumerate(whatifs["manifest"]["strata"]):
        if name in ("direct", "spillover", "multi_hop"):
            found[f"stratum_{name}"] = skill((stratum == index) & shown)
    spilled = np.isin(kind, GROUPS["spillover"])
    size, label = (np.linalg.norm(each[:, -1], axis=-1)[spilled] for each in (imagined, effect))
    found["influence_auroc"] = auroc(size, label > edge)
    found["false_influence"] = float(size[label <= edge].mean()) if (label <= edge).any() else float("nan")
    for name, said, truth in (("factual", said_f, truth_f), ("counterfactual", said_c, truth_c)):
        distance = np.linalg.norm((said - truth)[case, :, entity], axis=-1)[shown]
        found[f"{name}_ade"] = float(distance[:, 1:].mean())
        found[f"{name}_fde"] = float(distance[:, -1].mean())
    return found


def auroc(value: Any, label: Any) -> float:
    """Probability that a positive scores above a negative, ties counting half; NaN without both."""
    positive, negative = np.asarray(value)[label], np.sort(np.asarray(value)[~label])
    if not (len(positive) and len(negative)):
        return float("nan")
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(below.sum() / (2 * len(positive) * len(negative)))
