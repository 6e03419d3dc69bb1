"""What turns a trained reward network's outputs into probabilities, and says where they are worth nothing.

Temperatures: Guo et al. 2017, one per predicate, of the mean over members. Unlikeness: the Mahalanobis distance of a
pair's features per predicate (Lee et al. 2018), its limit the split-conformal quantile on data held out (Vovk 2005):
of pairs like those of training, a share `REFUSED` is called unlike.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from embodied.data.lessons import Lessons
from world_models.reward.network import RelationNetwork
from world_models.reward.relations import NAMES

REFUSED = 0.005
RIDGE = 1e-3
"""Added to the variance of features, of which some never vary."""
TEMPERATURES = np.geomspace(0.25, 4.0, 33)
_BLOCK = 20_000

Floats = NDArray[np.float64]


@torch.no_grad()
def calibrate(network: RelationNetwork, training: Lessons, held_out: Lessons) -> dict[str, float]:
    """Set the network's temperatures and limits; returns the expected calibration error before and after."""
    logits = _logits(network, held_out)
    holds = held_out.level > 0
    plain = _mean_chance(logits, np.ones(len(holds)))
    chosen = np.ones(len(NAMES))
    for index in range(len(NAMES)):
        rows = held_out.predicate == index
        if holds[rows].any() and not holds[rows].all():
            losses = [_cross_entropy(_mean_chance(logits[:, rows], t), holds[rows]) for t in TEMPERATURES]
            chosen[index] = TEMPERATURES[int(np.argmin(losses))]
    network.temperature.copy_(torch.as_tensor(chosen))
    for index in range(len(NAMES)):
        rows, new = training.predicate == index, held_out.predicate == index
        if rows.sum() > 1 and new.any():
            _gate(network, index, training.features[rows], held_out.features[new])
    tempered = _mean_chance(logits, chosen[held_out.predicate])
    return {"ece_raw": calibration_error(plain, holds), "ece": calibration_error(tempered, holds)}


def calibration_error(chance: Floats, holds: NDArray[np.bool_], bins: int = 15) -> float:
    """The expected calibration error: |said - true| over bins of equal width, weighted by how many fall in."""
    place = np.minimum((chance * bins).astype(int), bins - 1)
    said, true = np.bincount(place, chance, bins), np.bincount(place, holds, bins)
    return float(np.abs(said - true).sum() / len(chance))


def _gate(network: RelationNetwork, index: int, training: NDArray[np.float32], new: NDArray[np.float32]) -> None:
    """Mean, whitening and limit of one predicate's features."""
    centre = training.mean(axis=0, dtype=np.float64)
    value, vector = np.linalg.eigh(np.cov((training - centre).T) + RIDGE * np.eye(training.shape[1]))
    whitening = vector / np.sqrt(value)
    length = np.sort((((new - centre) @ whitening) ** 2).sum(axis=-1))
    rank = int(np.ceil((len(length) + 1) * (1.0 - REFUSED)))
    network.centre[index] = torch.as_tensor(centre)
    network.whitening[index] = torch.as_tensor(whitening)
    network.limit[index] = float(length[rank - 1]) if rank <= len(length) else np.inf


def _logits(network: RelationNetwork, lessons: Lessons) -> Floats:
    """`[E R]`."""
    members, parts = network.config.members, []
    for start in range(0, len(lessons.level), _BLOCK):
        some = slice(start, start + _BLOCK)
        features = torch.as_tensor(lessons.features[some]).expand(members, -1, -1)
        predicate = torch.as_tensor(lessons.predicate[some]).expand(members, -1)
        parts.append(network(features, predicate)[..., 0].numpy())
    return np.asarray(np.concatenate(parts, axis=1), np.float64)


def _mean_chance(logits: Floats, temperature: Floats | float) -> Floats:
    """The members' mean probability `[R]`."""
    return np.asarray((1.0 / (1.0 + np.exp(-np.clip(logits / temperature, -50, 50)))).mean(axis=0))


def _cross_entropy(chance: Floats, holds: NDArray[np.bool_]) -> float:
    likely = np.clip(np.where(holds, chance, 1.0 - chance), 1e-6, 1.0)
    return float(-np.log(likely).mean())
